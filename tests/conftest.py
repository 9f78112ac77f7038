import os, shutil
from pathlib import Path
import pytest

os.environ['MPLBACKEND'] = 'agg'
os.environ.setdefault('OMP_NUM_THREADS', '1') # each core has a test of its own, see addopts in pyproject.toml

def needs(*names):
    "Skip a test unless DD_DEBIAS_DATA holds these .npz files"
    root = os.environ.get('DD_DEBIAS_DATA')
    missing = [n for n in names if not root or not Path(root, f'{n}.npz').is_file()]
    return pytest.mark.skipif(bool(missing), reason=f'DD_DEBIAS_DATA does not hold {", ".join(missing)}.npz')

@pytest.fixture(scope='session')
def root(): return Path(__file__).resolve().parents[1]

@pytest.fixture
def project(root, tmp_path):
    "A copy of the project's sources, for commands that write"
    for d in ('nbs', 'dd_debias'): shutil.copytree(root/d, tmp_path/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for f in ('settings.ini', 'pyproject.toml'): shutil.copy(root/f, tmp_path/f)
    return tmp_path

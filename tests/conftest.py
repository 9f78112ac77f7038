"""Settings and fixtures of all tests"""
import os
import shutil
from pathlib import Path

os.environ['MPLBACKEND'] = 'agg'
os.environ.setdefault('OMP_NUM_THREADS', '1') # each core has a test of its own, see addopts in pyproject.toml

import pytest  # noqa: E402

from dd_debias.files import load_tensors  # noqa: E402
from dd_debias.nets import ConvNet  # noqa: E402


@pytest.fixture(scope='session')
def root(): return Path(__file__).resolve().parents[1]

@pytest.fixture
def project(root, tmp_path):
    "A copy of the project's sources, for commands that write"
    ignored = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    for folder in ('nbs', 'dd_debias'): shutil.copytree(root/folder, tmp_path/folder, ignore=ignored)
    for file in ('settings.ini', 'pyproject.toml'): shutil.copy(root/file, tmp_path/file)
    return tmp_path

@pytest.fixture(scope='session')
def authors():
    "A network, images, and what the original authors' public code computes from them; the file says which code"
    tensors = load_tensors(Path(__file__).parent/'fixtures/authors.safetensors')[0]
    # the file was written when a network's backbone was called its body
    tensors = {k.replace('.body.', '.backbone.'): v for k, v in tensors.items()}
    net = ConvNet(3, 3, 16, width=6)
    net.load_state_dict({k.removeprefix('start.'): v for k, v in tensors.items() if k.startswith('start.')})
    return net, tensors

@pytest.fixture(scope='session')
def trainers():
    "What the public code of LfF, DFA and SelecMix computes from the same numbers; the file says which code"
    return load_tensors(Path(__file__).parent/'fixtures/trainers.safetensors')[0]

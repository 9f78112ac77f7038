"The notebooks run, are clean and carry their outputs; the package and README.md are up to date with them"
import ast
import filecmp
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from nbdev.test import test_nb as run_nb
from readme import render

ROOT = Path(__file__).resolve().parents[1]
def is_hidden(path): return any(part[0] in '._' for part in path.relative_to(ROOT).parts)

NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not is_hidden(p))
each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.relative_to(ROOT/'nbs').as_posix())

def run(command, cwd):
    "Run one of nbdev's commands, which do nothing under IN_TEST"
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    subprocess.run([Path(sys.executable).with_name(command)], cwd=cwd, env=env, check=True)

def changed(a, b, pattern):
    "Names of the files that are not the same below `a` and `b`"
    names = {p.relative_to(d) for d in (a, b) for p in d.rglob(pattern) if '.ipynb_checkpoints' not in p.parts}
    def same(n): return (a/n).exists() and (b/n).exists() and filecmp.cmp(a/n, b/n, shallow=False)
    return sorted(str(n) for n in names if not same(n))

def tables(nb):
    "What the cells show as text, tables above all"
    outputs = [o for c in nb.cells for o in c.get('outputs', []) if 'image/png' not in o.get('data', {})]
    return [''.join(o['data']['text/plain']) for o in outputs if 'text/plain' in o.get('data', {})]

@each_notebook
def test_notebook_runs(path, monkeypatch):
    """Every cell runs and its assertions hold, as under `nbdev-test`. A page of experiments, which reads records, shows
    what is stored"""
    ran = []
    monkeypatch.setattr('nbdev.test.write_nb', lambda nb, _: ran.append(nb))
    with pd.option_context('display.max_columns', 20): # as in Jupyter
        ok, _ = run_nb(path, skip_flags=['notest'], basepath=ROOT, save=True)
    plt.close('all')
    assert ok, 'the traceback is above'
    if path.parent.name == 'experiments':
        same = tables(ran[0]) == tables(nbformat.read(path, 4))
        assert same, f'run: python tools/refresh.py {path.relative_to(ROOT)}'

@each_notebook
def test_notebook_carries_outputs(path):
    "What each cell shows is stored, so that the notebook reads well where it cannot run"
    for c in nbformat.read(path, 4).cells:
        if c.cell_type == 'code' and ends_on_a_value(c.source):
            assert c.outputs, f'run: python tools/refresh.py {path.relative_to(ROOT)}\n{c.source}'

def ends_on_a_value(source):
    "Whether a cell that is run shows something: its last line is an expression, and no call of what returns nothing"
    if source.startswith('#| export') or '#| eval: false' in source: return False
    last = [None, *ast.parse(source).body][-1]
    if not isinstance(last, ast.Expr) or source.rstrip().endswith(';'): return False
    called = getattr(getattr(last.value, 'func', None), 'id', '')
    return not called.startswith(('check_', 'end_with_parent'))

def test_package_matches_the_notebooks(root, project):
    "`nbdev-export` changes nothing in dd_debias/"
    run('nbdev-export', project)
    assert not changed(root/'dd_debias', project/'dd_debias', '*.py'), 'run nbdev-export and commit what it writes'

def test_notebooks_are_clean(root, project):
    "`nbdev-clean` changes nothing in nbs/"
    run('nbdev-clean', project)
    assert not changed(root/'nbs', project/'nbs', '*.ipynb'), 'run nbdev-clean and commit what it writes'

def test_readme_matches_the_index_notebook(root):
    "README.md and its pictures are what nbs/index.ipynb shows"
    text, pictures = render(root/'nbs/index.ipynb')
    assert (root/'README.md').read_text(encoding='utf-8') == text, 'run: python tools/refresh.py nbs/index.ipynb'
    assert {p.relative_to(root).as_posix(): p.read_bytes() for p in (root/'nbs/images').glob('index-*.png')} == pictures

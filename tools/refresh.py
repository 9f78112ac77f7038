"""Bring all that is made from the notebooks up to date: the package, their stored outputs, and README.md.

    python tools/refresh.py                      # every notebook
    python tools/refresh.py nbs/23_kde.ipynb     # only this one

A notebook run twice is the same file twice, so what changes in a commit is what changed."""
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export, nbglob
from readme import render

root = Path(__file__).resolve().parents[1]

def kept(outputs, client):
    "What of `outputs` is worth storing: no progress bars, no addresses, and of a widget what it shows at first"
    for o in outputs:
        data = o.get('data', {})
        if widget := data.get('application/vnd.jupyter.widget-view+json'):
            children = client.widget_state[widget['model_id']].get('children', [])
            screens = [client.comm_objects.get(c.removeprefix('IPY_MODEL_')) for c in children]
            for s in filter(None, screens): yield from kept(s.outputs, client)
        elif o.get('name') != 'stderr':
            if 'image/png' in data and data.get('text/plain', '').startswith('<'): del data['text/plain']
            yield o

def merged(outputs):
    "The same outputs, a run of printed pieces as one"
    whole = []
    for o in outputs:
        if o.output_type == 'stream' and whole and whole[-1].output_type == 'stream': whole[-1].text += o.text
        else: whole.append(o)
    return whole

def execute(path):
    "Run the notebook in a fresh kernel and store its outputs; cells marked `eval: false` keep the outputs they have"
    nb = nbformat.read(path, 4)
    code = [c for c in nb.cells if c.cell_type == 'code']
    for c in code:
        if re.search(r'^#\|\s*eval:\s*false', c.source, re.M): c.metadata.tags = ['skip-execution']
    client = NotebookClient(nb, kernel_name='python3', timeout=600, extra_arguments=['--log-level=CRITICAL'],
                            resources={'metadata': {'path': path.parent}})
    client.execute()
    for c in code: c.outputs = merged(kept(c.outputs, client))
    nb.metadata.pop('widgets', None)
    nbformat.write(nb, path)
    nbdev_clean(str(path))

def main():
    paths = [Path(p).resolve() for p in sys.argv[1:]]
    os.chdir(root)
    os.environ.update(PYTHONPATH=str(root), PYTHONHASHSEED='0')
    os.environ.setdefault('GOMP_SPINCOUNT', '1000') # as dd_debias does, which many notebooks import after torch
    os.environ.pop('MPLBACKEND', None) # the kernel's own backend stores the figures
    nbdev_export.__wrapped__()
    for path in paths or sorted(nbglob(as_path=True)):
        start = time.time()
        print(os.path.relpath(path), end=' ', flush=True)
        execute(path)
        print(f'{time.time()-start:.0f} s')
    text, pictures = render('nbs/index.ipynb')
    for old in Path('nbs/images').glob('index-*.png'): old.unlink()
    for name, png in pictures.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(png)
    Path('README.md').write_text(text, encoding='utf-8')

if __name__ == '__main__': main()

"""Render the documentation site with Sphinx: no Quarto needed, and no network.

    python nbs/_sphinx/build.py            # writes _docs/, open _docs/index.html

nbdev first processes the notebooks exactly as `nbdev-docs` has them processed for Quarto: hidden and exported cells go,
`show_doc` cells come, symbols in backticks become links. What is left in Quarto's terms (`#|` options, front matter,
links to the published site) is put here in the terms of MyST-NB. The sidebar is nbs/sidebar.yml."""
import ast
import gc
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import yaml
from docutils.nodes import make_id
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import _build_modidx
from nbdev.serve import proc_nbs
from nbformat.v4 import new_markdown_cell, new_notebook

here = Path(__file__).resolve().parent

def page(path):
    "The page of a notebook, named as nbdev's links name it: tutorials/01_minute.ipynb is tutorials/minute"
    return nbpath2html(path).with_suffix('').as_posix()

def slug(title):
    "The anchor that Quarto gives a heading: nbdev's links to symbols end in it"
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', title.strip().lower())))

def links(md, folder, cfg):
    """Links to notebooks and to the published site become links within this one; links to other files become links to
    the repository"""
    site = cfg.doc_url.rstrip('/')+'/'
    def link(m):
        url, hash, anchor = m[1].partition('#')
        path = posixpath.normpath(posixpath.join(folder, url))
        if url.startswith(site): return f'](/{url.removeprefix(site).removesuffix(".html")}.ipynb{hash}{anchor})'
        if not url or ':' in url: return f']({m[1]})'
        if path.endswith('.ipynb'): return f'](/{page(path)}.ipynb{hash}{anchor})'
        if path.startswith('../'): return f']({cfg.git_url}/blob/{cfg.branch}/{path[3:]})'
        return f']({m[1]})'
    md = re.sub(r'\[\[(`[^`]+`)\]\([^)]*\)\]', r'[\1]', md) # nbdev links symbols within our links
    parts = re.split(r'(^```.*?^```$)', md, flags=re.M|re.S)
    parts[::2] = [re.sub(r'\]\(([^)\s]+)\)(?:\{[^}]*\})?', link, p) for p in parts[::2]]
    return ''.join(parts)

def notebook_links(path, cfg):
    "A line that offers the notebook of a page: to keep, to run, to change"
    root = '../'*len(path.parent.parts)
    repo = cfg.git_url.removeprefix('https://github.com/')
    file = f'{cfg.branch}/{cfg.nbs_path.name}/{path.as_posix()}'
    return '\n'.join([
        '<p class="nb-links">',
        f'<a href="{root}notebooks/{path.as_posix()}" download="{path.name}">Download the notebook</a>',
        f'<a href="https://colab.research.google.com/github/{repo}/blob/{file}" '
        f'title="There run first: %pip install git+{cfg.git_url}">Open in Colab</a>',
        f'<a href="{cfg.git_url}/edit/{file}">Edit</a>',
        '</p>'])

def only_imports(code): return all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in ast.parse(code).body)

def options(source):
    "Split the source of a code cell into its `#|` options and its code"
    m = re.match(r'(?:#\|.*\n?)*', source)
    return dict(re.findall(r'#\|\s*([\w-]+):\s*(.*)', m[0])), source[m.end():].strip('\n')

def plain(heading):
    "A heading without its marks: for the index, and for those who cannot see a picture"
    return re.sub(r'[`*$\\#]', '', heading).strip()

def api(doc, names):
    """Heading, link to the source and signature, from what `show_doc` shows; if the code that follows defines `names`,
    their headings and no signature"""
    source = re.search(r'\[source\]\(([^)]+)\)', doc)
    marks, name, signature = re.search(r'^(#+) ([^\n]*)\n+(.*)', doc, re.M|re.S).groups()
    headings = '\n\n'.join(f'```{{index}} {plain(n)}\n```\n\n{marks} {n}' for n in names or [name])
    link = f'<a class="nb-source" href="{source[1]}">source</a>' if source else ''
    return '\n\n'.join([headings, link, '' if names else signature])

def translate(nb, path, cfg):
    "The cells of a processed notebook, as MyST-NB wants them"
    folder = path.parent.as_posix()
    first_code = next((c for c in nb.cells if c.cell_type == 'code'), None)
    opts = [options(c.source) if c.cell_type == 'code' else ({}, c.source) for c in nb.cells]
    headed = [] # names that have their heading
    section = '' # the last heading, which says what a picture without `#| fig-alt` is about
    for c, (o, source), (after, code) in zip(nb.cells, opts, opts[1:]+[({}, '')], strict=True):
        c.source, c.metadata = source, {}
        if c.cell_type == 'raw': # the front matter: nbdev has moved the title and the line below it here
            fm = yaml.safe_load(source.strip('-\n'))
            lead = f"\n\n:::{{container}} nb-lead\n{fm['description']}\n:::" if 'description' in fm else ''
            yield new_markdown_cell(links(f"# {fm['title']}{lead}", folder, cfg)+f'\n\n{notebook_links(path, cfg)}')
        elif c.cell_type == 'markdown':
            section = (re.findall(r'^#+ (.*)', source, re.M) or [section])[-1]
            if 'AUTOGENERATED!' not in source: yield new_markdown_cell(links(source, folder, cfg))
        elif o.get('output') == 'asis': # of `show_doc`
            if re.search(r'[\w.]+', source.removeprefix('show_doc'))[0] in headed: continue
            names = re.findall(r'^(?:def|class) ([A-Za-z]\w*)', code, re.M) if 'exports' in after else []
            headed += names
            yield new_markdown_cell(links(api(c.outputs[0].data['text/markdown'], names), folder, cfg))
        else:
            tags = {'echo: false': 'remove-input', 'output: false': 'remove-output', 'code-fold: true': 'hide-input'}
            alt = o.get('fig-alt') or f'Figure: {plain(section)}'
            c.metadata['mystnb'] = dict(image=dict(alt=alt))
            c.metadata['tags'] = [tag for option, tag in tags.items() if option in {f'{k}: {v}' for k, v in o.items()}]
            if c is first_code and only_imports(source):
                c.metadata['tags'] = ['hide-input']
                c.metadata['mystnb'].update(code_prompt_show='Imports', code_prompt_hide='Imports')
            yield c

def arguments(node):
    "Of a function or class, what a call of it takes: names and defaults, without types"
    if isinstance(node, ast.ClassDef):
        for f in node.body:
            if isinstance(f, ast.FunctionDef) and f.name == '__init__':
                del f.args.args[0] # self
                return arguments(f)
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)] # of a record
        return ', '.join(ast.unparse(f.target)+(f'={ast.unparse(f.value)}' if f.value else '') for f in fields)
    for a in ast.walk(node.args):
        if isinstance(a, ast.arg): a.annotation = None
    return ast.unparse(node.args)

def first_sentence(node):
    "Of the docstring. A sentence may go on in the next line"
    doc = ast.get_docstring(node) or ''
    return ' '.join(re.split(r'\n(?=[A-Z])|(?<=\.)\n', doc)[0].split())

def public_names(path):
    "(name, what follows it where it is called or defined, docstring) of each public name of a module"
    defined, listed = {}, []
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                defined[node.name] = f'({arguments(node)})', first_sentence(node)
            case ast.Assign(targets=[ast.Name('__all__')]): listed = ast.literal_eval(node.value)
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                defined[name] = f' = {textwrap.shorten(ast.unparse(node.value), 80, placeholder=" …")}', ''
    for name in listed: yield name, *defined[name]

NAMES = 'api' # the page that lists all names

def names_page(modules):
    "All public names of the modules that have a page, in the order of the alphabet: names.js filters them"
    rows = []
    for path in modules:
        for name, rest, doc in public_names(path):
            anchor = f'#{make_id(name)}' if rest.startswith('(') else '' # a constant has no heading
            code = f'<a href="{path.stem}.html{anchor}">{name}</a>{html.escape(rest)}'
            text = re.sub('`(.+?)`', r'<code>\1</code>', html.escape(doc))
            rows.append((name.lower(), f'<div><dt><span>{path.stem}</span>{code}</dt><dd>{text}</dd></div>'))
    lines = [
        '# All names', '<input class="nb-filter" type="search" placeholder="Filter" aria-label="Filter the names">',
        '\n'.join(['<dl class="nb-names">', *(row for _, row in sorted(rows)), '</dl>']),
        '<script src="_static/names.js"></script>']
    return new_notebook(cells=[new_markdown_cell('\n\n'.join(lines))])

def as_markdown(nb):
    "A page as plain Markdown, for those who read it elsewhere: nbdev links to it in the docstring of each module"
    return '\n\n'.join(c.source if c.cell_type == 'markdown' else f'```python\n{c.source}\n```' for c in nb.cells)

def toctree(items, caption=None):
    "A list of sidebar.yml as hidden tables of contents, one for each section"
    pages = ['Home <self>' if i == 'index.ipynb' else page(i) for i in items if isinstance(i, str)]
    head = ['```{toctree}', ':hidden:'] + ([f':caption: {caption}'] if caption else [])
    own = '\n'.join(head + pages + ['```\n'])
    return own + ''.join(toctree(i['contents'], i['section']) for i in items if not isinstance(i, str))

def main():
    cfg = get_config(here)
    os.chdir(cfg.config_path)
    sys.path.insert(0, str(cfg.config_path)) # nbdev runs the exported cells to ask them for their signatures
    work = cfg.config_path/'build'/'sphinx' # not in _docs/: MyST-NB writes beside its output too
    src, out = work/'src', work/'html'
    shutil.rmtree(work, ignore_errors=True)
    _build_modidx() # what symbols in backticks are looked up in
    proc = proc_nbs(n_workers=0, force=True) # in this process: each other one would import PyTorch first
    sidebar = yaml.safe_load((cfg.nbs_path/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    shutil.copytree(proc, src, ignore=shutil.ignore_patterns('_*', '*.ipynb', '*.yml', '*.css')) # pictures
    sidebar.append(dict(section='Reference', contents=[f'{NAMES}.ipynb']))
    notebooks = [path.relative_to(proc) for path in sorted(proc.rglob('*.ipynb'))]
    for name in notebooks:
        nb = nbformat.read(proc/name, 4)
        nb.cells = list(translate(nb, name, cfg))
        if page(name) == 'index': nb.cells.append(new_markdown_cell(toctree(sidebar)))
        nb.metadata.pop('widgets', None) # a page has no kernel to move them
        nbformat.write(nb, src/f'{page(name)}.ipynb')
    modules = [path for path in sorted(cfg.lib_path.glob('*.py')) if (src/f'{path.stem}.ipynb').exists()]
    nbformat.write(names_page(modules), src/f'{NAMES}.ipynb')
    sphinx = [sys.executable, '-m', 'sphinx', '-q', '-c', here, '-d', work/'doctrees', src, out, *sys.argv[1:]]
    if rc := subprocess.call(sphinx): return rc
    for name in notebooks:
        (out/'notebooks'/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cfg.nbs_path/name, out/'notebooks'/name)
        text = as_markdown(nbformat.read(src/f'{page(name)}.ipynb', 4))
        (out/f'{page(name)}.html.md').write_text(text, encoding='utf-8')
    shutil.rmtree(cfg.doc_path, ignore_errors=True)
    shutil.move(out, cfg.doc_path)
    print(cfg.doc_path/'index.html')
    gc.freeze() # at exit, each notebook's shell collects garbage, which takes a third of a second otherwise

if __name__ == '__main__': sys.exit(main())

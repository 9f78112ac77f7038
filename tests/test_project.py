"The project's settings, imports, linters and site"
import ast
import builtins
import dis
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from common import ROOT
from nbdev.config import get_config, nbpath2html

import dd_debias


def test_settings_agree(root):
    "settings.ini, which setup.py and nbdev 2 read, and pyproject.toml, which nbdev 3 reads, say the same"
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(root/'settings.ini', encoding='utf-8')
    ini, cfg = parser['DEFAULT'], get_config(root)
    assert ini['version'] == cfg.version # of dd_debias/__init__.py
    assert f"\nversion: {ini['version']}\n" in (root/'CITATION.cff').read_text()
    workflow = (root/'.github/workflows/test.yml').read_text()
    assert str(ini['pythons'].split()) in workflow and ini['pythons'].startswith(ini['min_python'])
    ruff, = re.findall(r'ruff==(\S+)', ini['dev_requirements'])
    assert f'rev: v{ruff}\n' in (root/'.pre-commit-config.yaml').read_text()
    texts = (
        'lib_name', 'title', 'description', 'min_python', 'git_url', 'doc_host', 'doc_baseurl', 'branch', 'tst_flags',
        'readme_nb')
    for key in texts: assert ini[key] == cfg[key], key
    for key in ('lib_path', 'nbs_path', 'doc_path'): assert root/ini[key] == cfg[key], key
    for key in ('recursive', 'put_version_in_init', 'update_pyproject', 'custom_sidebar'):
        assert ini.getboolean(key) == cfg[key], key

def test_modules_import_what_they_use():
    "No global name is used that only unexported cells of a notebook define"
    def codes(code):
        yield code
        for c in code.co_consts:
            if hasattr(c, 'co_code'): yield from codes(c)
    for m in pkgutil.iter_modules(dd_debias.__path__):
        module = importlib.import_module(f'dd_debias.{m.name}')
        source = Path(module.__file__).read_text(encoding='utf-8')
        compiled = compile(source, module.__file__, 'exec')
        instructions = [i for code in codes(compiled) for i in dis.get_instructions(code)]
        names = {i.argval for i in instructions if i.opname == 'LOAD_GLOBAL'}
        assert not names-set(vars(module))-set(dir(builtins)), m.name

LEAVES = {'arguments', 'files', 'pages', 'pixels', 'plots', 'runtime'} # every module may import them

def test_modules_import_only_earlier_notebooks(root):
    "So there are no import cycles, and the notebooks can be read in order"
    notebooks = {} # file name by module; the names begin with numbers
    for path in (root/'nbs').glob('[0-9]*.ipynb'):
        module = re.search(r'default_exp (\w+)', path.read_text(encoding='utf-8'))[1]
        notebooks[module] = path.name
    for module, notebook in notebooks.items():
        source = (root/f'dd_debias/{module}.py').read_text(encoding='utf-8')
        for imported in re.findall(r'^from (?:dd_debias)?\.(\w+) import', source, re.M):
            if imported.startswith('_') or imported in LEAVES-{module}: continue
            assert notebooks[imported] < notebook, f'{module} imports {imported}'

@pytest.mark.parametrize('command', ['ruff check .', 'mypy'])
def test_linters_find_nothing(command, root):
    done = subprocess.run([sys.executable, '-m', *command.split()], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr

def test_site_builds(project):
    "without a warning; its links resolve, and its pages load nothing from other sites"
    subprocess.run([sys.executable, 'nbs/_sphinx/build.py', '-W'], cwd=project, check=True)
    site = project/'_docs'
    pages = {p: p.read_text(encoding='utf-8') for p in site.rglob('*.html')}
    ids = {p: set(re.findall(r'\bid="([^"]+)"', html)) for p, html in pages.items()}
    for path, html in pages.items():
        assert not re.search(r'<(script|link|img|iframe|source)\b[^>]*\b(src|href)="(https?:)?//', html), path
        assert '#| ' not in html and 'show_doc(' not in html, path
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', html):
            if ':' in link: continue
            page, _, anchor = unquote(link).partition('#')
            target = (path.parent/page).resolve() if page else path
            assert target.exists(), (path, link)
            if anchor: assert anchor in ids[target], (path, link)
        for file in re.findall(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="([^"?#]+)', html):
            assert file.startswith('data:') or (path.parent/unquote(file)).exists(), (path, file)
    external = re.compile(r'(url\(|@import)\s*["\']?(https?:)?//')
    for css in site.rglob('*.css'): assert not external.search(css.read_text(encoding='utf-8')), css
    check_notebooks_are_offered(pages, site, project/'nbs')
    check_all_names_are_listed(pages[site/'api.html'], site)
    check_docstrings_lead_to_a_page(site)

def check_notebooks_are_offered(pages, site, nbs):
    for path in nbs.rglob('*.ipynb'):
        name = path.relative_to(nbs)
        html = pages[site/nbpath2html(name).with_suffix('.html')]
        assert f'notebooks/{name.as_posix()}" download' in html
        assert f'colab.research.google.com/github/dd-debias/dd-debias/blob/main/nbs/{name.as_posix()}"' in html
        assert f'/edit/main/nbs/{name.as_posix()}"' in html
        assert (site/'notebooks'/name).read_bytes() == path.read_bytes()

def check_docstrings_lead_to_a_page(site):
    for m in pkgutil.iter_modules(dd_debias.__path__):
        doc = importlib.import_module(f'dd_debias.{m.name}').__doc__ or ''
        for link in re.findall(r'Docs: https://dd-debias.github.io/dd-debias/(\S+)', doc):
            assert '# ' in (site/link).read_text(encoding='utf-8'), link

def check_all_names_are_listed(html, site):
    "with the arguments of each function"
    listed = re.findall(r'<dt><span>(\w+)</span><a href="[^"]+">(\w+)</a>(.*)</dt>', html)
    names = set()
    for m in pkgutil.iter_modules(dd_debias.__path__):
        if not (site/f'{m.name}.html').exists(): continue
        names |= {(m.name, name) for name in importlib.import_module(f'dd_debias.{m.name}').__all__}
    assert {(module, name) for module, name, _ in listed} == names
    for module, name, rest in listed:
        value = getattr(importlib.import_module(f'dd_debias.{module}'), name)
        if not inspect.isfunction(value): continue
        for argument in inspect.signature(value).parameters: assert re.search(rf'\b{argument}\b', rest), (name, rest)

SCRIPTS = sorted([*ROOT.glob('benchmarks/*.py'), *ROOT.glob('tools/*.py')])

@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.stem)
def test_scripts_fit_the_package(path):
    "What they import of it is there, and takes the arguments that they name"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('dd_debias'):
            module = importlib.import_module(node.module)
            known |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name): continue
        f, given = node.func.id, [k.arg for k in node.keywords if k.arg]
        if f == 'partial' and node.args and isinstance(node.args[0], ast.Name): f = node.args[0].id
        if not callable(known.get(f)): continue
        takes = inspect.signature(known[f]).parameters
        if any(p.kind is p.VAR_KEYWORD for p in takes.values()): continue
        assert set(given) <= set(takes), (path.name, node.lineno, f, given)

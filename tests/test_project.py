"The project's settings and its site"
import builtins
import dis
import importlib
import pkgutil
import re
import subprocess
import sys
from configparser import ConfigParser
from urllib.parse import unquote

import pytest
from nbdev.config import get_config

import dd_debias


def test_settings_agree(root):
    "settings.ini, which setup.py and nbdev 2 read, and pyproject.toml, which nbdev 3 reads, say the same"
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(root/'settings.ini', encoding='utf-8')
    ini, cfg = parser['DEFAULT'], get_config(root)
    assert ini['version'] == cfg.version # of dd_debias/__init__.py
    for key in ('lib_name', 'title', 'description', 'min_python', 'git_url', 'doc_host', 'doc_baseurl', 'branch', 'tst_flags', 'readme_nb'):
        assert ini[key] == cfg[key], key
    for key in ('lib_path', 'nbs_path', 'doc_path'): assert root/ini[key] == cfg[key], key
    for key in ('recursive', 'put_version_in_init', 'update_pyproject', 'custom_sidebar'): assert ini.getboolean(key) == cfg[key], key

def test_modules_import_what_they_use():
    "A name that only a notebook's own cells know is missing from the package"
    def codes(code):
        yield code
        for c in code.co_consts:
            if hasattr(c, 'co_code'): yield from codes(c)
    for m in pkgutil.iter_modules(dd_debias.__path__):
        module = importlib.import_module(f'dd_debias.{m.name}')
        source = compile(open(module.__file__, encoding='utf-8').read(), module.__file__, 'exec')
        names = {i.argval for code in codes(source) for i in dis.get_instructions(code) if i.opname == 'LOAD_GLOBAL'}
        assert not names-set(vars(module))-set(dir(builtins)), m.name

LEAVES = {'pixels', 'runtime', 'plots'} # know nothing of data sets, so all may import them

def test_imports_go_down(root):
    "A room imports only rooms of a lower number, so that there are no circles and the notebooks can be read in order"
    numbers = {re.search(r'default_exp (\w+)', path.read_text(encoding='utf-8'))[1]: path.name for path in (root/'nbs').glob('[0-9]*.ipynb')}
    for room, number in numbers.items():
        source = (root/f'dd_debias/{room}.py').read_text(encoding='utf-8')
        for imported in re.findall(r'^from (?:dd_debias)?\.(\w+) import', source, re.M):
            if imported.startswith('_') or imported in LEAVES-{room}: continue
            assert numbers[imported] < number, f'{room} imports {imported}'

@pytest.mark.parametrize('command', ['ruff check .', 'mypy'])
def test_linters_find_nothing(command, root):
    done = subprocess.run([sys.executable, '-m', *command.split()], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr

def test_site(project):
    "The site renders without a warning, its links lead somewhere, and reading it asks nothing of any other site"
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
    for css in site.rglob('*.css'): assert not re.search(r'(url\(|@import)\s*["\']?(https?:)?//', css.read_text(encoding='utf-8')), css

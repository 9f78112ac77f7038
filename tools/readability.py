"""How dense the package is to read: python tools/readability.py [TREE ...], each a checkout; without one, this one.

Lines of code are those of `dd_debias/*.py` without blank lines, comments and docstrings. The goals are in
CONTRIBUTING.md."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd

SETTINGS = str(Path(__file__).resolve().parents[1]/'pyproject.toml') # of the linters, the same for every tree
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

def is_code(line): return bool(line.strip()) and not line.lstrip().startswith('#')

def exported_cells(tree):
    "(notebook, lines of code) of each exported cell"
    for path in sorted((tree/'nbs').glob('*.ipynb')):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == 'code' and re.match(r'#\|\s*exports?\b', cell.source):
                yield path.stem, sum(is_code(line) for line in cell.source.splitlines())

def modules(tree): return [p for p in sorted((tree/'dd_debias').glob('*.py')) if p.stem not in ('__init__', '_modidx')]

def docstring_lines(module):
    "Line numbers of docstrings"
    bodies = [n.body for n in ast.walk(module) if isinstance(n, (ast.Module, ast.FunctionDef, ast.ClassDef)) and n.body]
    firsts = [body[0] for body in bodies if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)]
    return {line for first in firsts for line in range(first.lineno, first.end_lineno+1)}

def code_lines(source):
    skipped = docstring_lines(ast.parse(source))
    lines = enumerate(source.splitlines(), 1)
    return sum(is_code(line) and number not in skipped for number, line in lines)

def is_tuple_assignment(node):
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)

def is_nested_comprehension(node):
    if not isinstance(node, COMPREHENSIONS): return False
    inside = (inner for inner in ast.walk(node) if inner is not node)
    return len(node.generators) > 1 or any(isinstance(inner, COMPREHENSIONS) for inner in inside)

def public_names(source):
    "How many names are in `__all__`"
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__': return len(node.value.elts)
    return 0

def findings(tree, tool, *args):
    "Lines that a linter prints about the package, which are its findings"
    run = subprocess.run([sys.executable, '-m', tool, *args, 'dd_debias'], cwd=tree, capture_output=True, text=True)
    return sum(1 for line in run.stdout.splitlines() if re.match(r'\S+\.py:\d+', line) and ': note:' not in line)

def measure(tree):
    sources = [p.read_text(encoding='utf-8') for p in modules(tree)]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    lines = sum(map(code_lines, sources))
    cells = list(exported_cells(tree))
    return {
        'modules': len(sources),
        'lines of code': lines,
        'lines of the longest exported cell': max(n for _, n in cells),
        'exported cells over 40 lines': sum(n > 40 for _, n in cells),
        'expressions a line': sum(isinstance(n, ast.expr) for n in nodes)/lines,
        'tuple assignments in 1,000 lines': 1000*sum(map(is_tuple_assignment, nodes))/lines,
        'nested comprehensions in 1,000 lines': 1000*sum(map(is_nested_comprehension, nodes))/lines,
        'public names of the largest module': max(map(public_names, sources)),
        'ruff findings': findings(tree, 'ruff', 'check', '--output-format', 'concise', '--config', SETTINGS),
        'mypy findings': findings(tree, 'mypy', '--config-file', SETTINGS)}

def main():
    trees = [Path(a).resolve() for a in sys.argv[1:]] or [Path(__file__).resolve().parents[1]]
    table = pd.DataFrame({tree.name: measure(tree) for tree in trees})
    print(table.map('{:.4g}'.format).to_string())

if __name__ == '__main__': main()

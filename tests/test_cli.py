"The command line: what it prints, and how it reports mistakes"
import shlex
import time

import nbformat
import pytest
from common import COMMAND, ROOT

from dd_debias.bias import color_digits
from dd_debias.cli import main
from dd_debias.distilled import load
from dd_debias.paper import SETS, cell_command, cells


def test_printed_command_selects_its_cell(capsys):
    "The command printed beside a table selects that cell and no other"
    for c in cells().iloc[::7].itertuples():
        for how in (dict(), dict(recipe='paper', seeds=3)):
            assert main(shlex.split(cell_command(c, **how))[1:]+['--list']) == 0
            assert capsys.readouterr().out == cell_command(c, **how)+'\n'

@pytest.mark.parametrize('arguments,says', [
    ('dem', 'Did you mean "demo"?'),
    ('run cmnits', "no 'cmnits'; choose one of"),
    ('run color_digits --conflict x', 'unable to convert "x" into float'),
    ('run color_digits --train.net ResNet', 'cannot be imported'),
    ('run color_digits --lr 1', 'Unknown option: --lr. See dd-debias run --help'),
    ('export nothing.safetensors out', 'nothing.safetensors does not exist'),
])
def test_bad_arguments_are_reported_in_one_sentence(arguments, says, capsys, tmp_path, monkeypatch):
    "Exit status 2, a sentence, no traceback, no files"
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())

def test_distiller_from_a_users_file(tmp_path, monkeypatch, capsys):
    "The tutorial's distiller, named on the command line as module:function"
    notebook = nbformat.read(ROOT/'nbs/tutorials/your_own_distiller.ipynb', 4)
    cells = [c.source for c in notebook.cells if c.cell_type == 'code']
    own = next(c for c in cells if c.startswith('def distill_mean'))
    (tmp_path/'mine.py').write_text(cells[0]+'\n\n'+own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = [
        'run', 'color_digits', '--distill', 'mine:distill_mean', '--ipc', '2', '--weigh', 'none', '--train.net', 'MLP',
        '--epochs', '2', '--networks', '1', '--out', 'out']
    assert main(arguments) == 0
    assert 'conflicting' in capsys.readouterr().out
    assert len(load(next(tmp_path.glob('out/*/distilled.safetensors')))) == 20

def test_sweep_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SETS, 'CMNIST', color_digits)
    command = [
        'sweep', '--part', 'table3', '--set', 'color_digits', '--method', 'Random', '--conflict', '.05', '--ipc', '1',
        '--device', 'cpu', '--out', str(tmp_path)]
    for n in (1, 0):
        assert main(command) == 0 and f'{n} new runs' in capsys.readouterr().out
    assert main([token.replace('cpu', 'nowhere') for token in command]) == 2
    assert 'nowhere cannot be used' in capsys.readouterr().err
    assert main([*command, '--budget', 'soon']) == 2
    assert 'write seconds, or 90s' in capsys.readouterr().err

def test_unwritable_output_folder(tmp_path, capsys):
    "Reported before anything is computed, in one sentence and without a traceback"
    (tmp_path/'file').write_text('')
    begun = time.perf_counter()
    assert main([*COMMAND, '--out', str(tmp_path/'file')]) == 2
    assert time.perf_counter()-begun < 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'choose another folder' in said

"The command line: what it prints, and how it reports mistakes"
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from common import COMMAND, ROOT
from torchvision.transforms.functional import to_pil_image

import dd_debias
from dd_debias.bias import color_digits
from dd_debias.cli import COMMANDS, main
from dd_debias.distilled import load
from dd_debias.paper import METHODS, SETS, Method, cell_command, cells
from dd_debias.records import read_records


def test_printed_command_selects_its_cell(capsys):
    "The command printed beside a table selects that cell and no other"
    for c in cells().iloc[::7].itertuples():
        for how in (dict(), dict(recipe='paper', seeds=3, out='again')):
            assert main(shlex.split(cell_command(c, **how))[1:]+['--list']) == 0
            assert capsys.readouterr().out == cell_command(c, **how)+'\n'

@pytest.mark.parametrize('arguments,says', [
    ('sweep --ipc', '--ipc needs a value'),
    ('sweep --method MTTT', '--method must be one of Full, Random'),
    ('sweep --set CMNIST', '--set must be one of cmnist, bg_fmnist, corrupted_cifar10, got CMNIST'),
    ('sweep --part table5 --method DFA', 'no cell has all of these'),
    ('run color_digits --encoder-steps none --steps 0', 'steps must be a whole number of at least 1'), # none is read
    ('run color_digits --ipc none', "'none' is not a whole number"),
    ('run color_digits --ipc 1000', 'ipc: 1000 images per class asked for, but class 0 has 125'),
    ('run color_digits --momentum 5 --distill none', 'momentum must be a finite number of at least 0 and below 1'),
    ('run color_digits --networks 0', 'networks must be a whole number of at least 1'),
    ('run color_digits --shard 1', 'Unknown option'),
    ('run color_digits --distill none --weigh propensity', 'no distiller draws by these weights'),
    ('audit .', '. is a folder; write load_images --source .'),
    ('audit color_digits --out a.csv', 'let its name end in .html'),
    ('run load_images --source .', 'lies in ., whose folders are classes of images'),
    ('distill nothing --size 30', 'size must be a multiple of 8'),
    ('distill nothing --train.epochs 3', '--train.epochs is for an evaluation; add --test FOLDER'),
    ('run --dry-run load_images', '--source FOLDER'),
    ('run --ipc=1 load_images', '--source FOLDER'),
    ('run --no-anneal load_images', '--source FOLDER'),
    ('audit load_images --source . --out look/audit.html', 'look lies in ., whose folders are classes of images'),
    ('distill mine --cache mine/dec', 'cache: mine/dec lies in mine'),
    ('distill nothing --held-out .3 --test more', 'there are images to test on already'),
    ('dem', 'Did you mean "demo"?'),
    ('run cmnits', "no 'cmnits' (did you mean 'cmnist'?); choose one of"),
    ('run load_images', '--source FOLDER'),
    ('demo --threads 0', 'Invalid value "0" for --threads'),
    ('run color_digits --conflict x', 'unable to convert "x" into float'),
    ('run color_digits --train.net ResNet1', "did you mean 'ResNet18'?"),
    ('run color_digits --lr 1', 'Unknown option: --lr. See dd-debias run --help'),
    ('export nothing.safetensors out', 'nothing.safetensors does not exist'),
    ('run color_digits --ipc 1.5', "'1.5' is not a whole number"),
    ('run color_digits --device meta', 'device: meta cannot be used here'),
    ('run color_digits --distill math:pi', 'math:pi is not a function'),
    ('run color_digits --distill math:sin', 'does not take what is given to it'),
    ('run color_digits --train.net math:pi', 'math:pi is not a function'),
    ('run color_digits --distill :', 'cannot be imported'),
    ('run color_digits --distill ..:x', 'cannot be imported'),
    ('audit color_digits --device meta', 'device: meta cannot be used here'),
    ('audit color_digits --out .', 'out: . is a folder'),
    ('sweep --seeds 0', 'Must be >= 1'),
    ('sweep --seeds -1 --list', 'Must be >= 1'),
    ('sweep --device meta', 'device: meta cannot be used here'),
])
def test_bad_arguments_are_reported_in_one_sentence(arguments, says, capsys, tmp_path, monkeypatch):
    "Exit status 2, a sentence, no traceback, no files"
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())

@pytest.mark.parametrize('source,says', [
    ('import sys; sys.exit(0)', 'SystemExit: 0'),
    ('def f(:', 'SyntaxError: invalid syntax (theirs.py, line 1)'),
    ('1/0', 'ZeroDivisionError'),
    ('def f(): pass', 'does not take what is given to it'),
])
def test_faulty_module_of_the_user(source, says, tmp_path, monkeypatch, capsys):
    "Whatever a module does when it is imported, the command ends with status 2 and a sentence"
    (tmp_path/'theirs.py').write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'theirs', raising=False)
    assert main(['run', 'color_digits', '--distill', 'theirs:f']) == 2
    said = capsys.readouterr().err
    assert says in said and said.count('\n') == 1

@pytest.mark.parametrize('error,status,says', [
    (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20 GiB'), 2, 'out of memory; lower batch'),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, 'out of memory; lower batch'),
    (MemoryError(), 2, 'out of memory; lower batch'),
    (OSError(28, 'No space left on device'), 2, 'cannot read or write the output: No space left on device'),
    (SystemExit(0), 2, 'SystemExit: 0 (in test_cli.py, line'),
    (KeyError('a'), 2, "KeyError: 'a' (in test_cli.py, line"),
    (ValueError('ipc: one\nsentence'), 2, 'ipc: one sentence'),
    (KeyboardInterrupt(), 130, 'stopped; what was begun goes on'),
    (BrokenPipeError(), 141, ''),
])
def test_what_fails_in_a_command_is_one_sentence(error, status, says, monkeypatch, capsys):
    def demo(): raise error
    monkeypatch.setitem(COMMANDS, 'demo', demo)
    assert main(['demo']) == status
    said = capsys.readouterr().err
    assert says in said and said.count('\n') == (status != 141)

@pytest.mark.parametrize('command,options', [
    ('audit load_images', ['--source', '--fit', '--size', '--cache', '--exclude']),
    ('run cmnist', ['--root', '--conflict', '--ipc', '--repeat', '--reference', '--networks']),
])
def test_arguments_are_options(command, options, capsys):
    assert main([*command.split(), '--help']) == 0
    printed = capsys.readouterr().out
    assert all(f' {option} ' in printed for option in options)

def test_debugging_shows_the_traceback(monkeypatch):
    def demo(): raise KeyError('a')
    monkeypatch.setitem(COMMANDS, 'demo', demo)
    monkeypatch.setenv('DD_DEBIAS_DEBUG', '1')
    with pytest.raises(KeyError): main(['demo'])

def test_help_whatever_the_width(monkeypatch, capsys):
    for width in ('wide', '', '-5', '0', '10000000'):
        monkeypatch.setenv('COLUMNS', width)
        assert main(['--help']) == 0 and 'Usage' in capsys.readouterr().out

def broken(images, labels, weights=None, *, ipc=1, seed=0): raise ValueError('ipc: it never works')

def test_sweep_whose_cells_fail(tmp_path, monkeypatch, capsys):
    "The others are recorded, and the exit status tells"
    monkeypatch.setitem(SETS, 'CMNIST', color_digits)
    monkeypatch.setitem(METHODS, 'DM', Method(broken))
    command = [
        'sweep', '--part', 'table1', 'table3', '--set', 'color_digits', '--method', 'DM', 'Random', '--conflict', '.05',
        '--ipc', '1', '--device', 'cpu', '--out', str(tmp_path)]
    for n in (2, 1): # the second time the one that failed is all there is to do
        assert main(command) == 2 and f'1 of {n} runs failed' in capsys.readouterr().err
        assert len(read_records(tmp_path)) == 1

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

def command_line(*arguments, **how):
    "The command in a process of its own, which Ctrl-C ends even where the tests run in the background"
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONIOENCODING='ascii', PYTHONUNBUFFERED='')
    return subprocess.Popen([sys.executable, '-m', 'dd_debias', *arguments], env=env, stderr=subprocess.PIPE,
                            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL), **how)

def test_output_that_nobody_can_read(tmp_path):
    "An ASCII terminal, a full disk, a reader that has gone: no traceback after the work"
    command = ['run', 'color_digits', '--distill', 'random', '--weigh', 'none', '--ipc', '1', '--train.net', 'MLP',
               '--epochs', '1', '--networks', '2', '--device', 'cpu', '--out', str(tmp_path)]
    ascii_terminal = command_line(*command, stdout=subprocess.PIPE)
    out, err = ascii_terminal.communicate()
    assert ascii_terminal.returncode == 0 and rb'\xb1' in out and b'Traceback' not in err
    reader, writer = os.pipe()
    os.close(reader)
    closed = command_line('sweep', '--list', stdout=writer)
    assert closed.communicate()[1] == b'' and closed.returncode == 141
    if not Path('/dev/full').exists(): return
    with open('/dev/full', 'w') as disk: full = command_line('sweep', '--list', stdout=disk)
    said = full.communicate()[1]
    assert full.returncode == 2 and said.count(b'\n') == 1 and b'No space left' in said

@pytest.mark.parametrize('options,said', [
    ('--device cpu,cpu', 'a sweep works on one; .* --cluster local --gpus-per-task 1'),
    ('--gpus-per-task 1', 'are for a cluster; for this machine add --cluster local'),
    ('--cluster auto --threads 2', 'a task has --cpus-per-task of them'),
    ('--cluster auto --cpus-per-task 0', 'Must be >= 1')])
def test_where_a_sweep_works(options, said, capsys):
    assert main(['sweep', '--method', 'DM', *options.split()]) == 2
    assert re.search(said, capsys.readouterr().err)

def test_dry_run_says_all_and_records_nothing(tmp_path, capsys):
    command = ['run', 'color_digits', '--ipc', '2', '--steps', '30', '--distill.net', 'MLP', '--train.net', 'MLP',
               '--epochs', '40', '--networks', '2', '--device', 'cpu', '--out', str(tmp_path)]
    assert main([*command, '--dry-run']) == 0 and not list(tmp_path.iterdir())
    out = capsys.readouterr().out
    assert 'distill_dm(ipc=2, steps=30' in out and 'weigh_kde(' in out and f'would be in {tmp_path}' in out
    table = {line.split()[0]: line.split()[1:] for line in out.partition('s in all')[2].splitlines() if line.strip()}
    assert table['distill'][0] == '30' and table['train'][0] == '40' and float(table['train'][-1]) > 0
    assert main(command) == 0 and main([*command, '--dry-run']) == 0
    assert f'is recorded in {tmp_path}' in capsys.readouterr().out

def test_unknown_bias_is_compared_with_no_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i, (image, label) in enumerate(zip(*color_digits()[:300].xy, strict=True)):
        file = Path('mine', f'digit {label}', f'{i}.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(file)
    Path('mine/digit 0/notes.txt').touch()
    command = 'run load_images --source mine --size 16 --cache c --distill random --ipc 2 --epochs 1 --networks 1'
    assert main(command.split()) == 0
    out, err = capsys.readouterr()
    assert err.count('left out in mine: 1 .txt') == 1
    assert 'chance is 10.0\n' in out and '--test FOLDER' in out
    heading, *rows = out.splitlines()[1:5]
    assert heading.split() == ['with', 'weights', 'without']
    assert [row.split()[0] for row in rows] == ['all', 'common', 'rare']
    assert main([*command.split(), '--no-baseline']) == 0
    assert 'with weights' not in capsys.readouterr().out
    made, = Path('results').glob('*-kde-*/distilled.safetensors')
    assert main(['export', str(made), 'small']) == 0
    assert sorted(p.name for p in Path('small/images').iterdir()) == [f'digit {c}' for c in range(10)]

def test_version_without_importing_torch():
    code = ('import sys; from dd_debias.__main__ import main; sys.argv[1:] = ["--version"]; main(); '
            'print("torch" in sys.modules)')
    version, imported = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.split()
    assert version == dd_debias.__version__ and imported == 'False'

def test_threads_that_wait_do_not_spin():
    "Unless the user has said how long they shall"
    code = 'import os, dd_debias; print(os.environ["GOMP_SPINCOUNT"])'
    def spins(**env):
        env = {name: value for name, value in os.environ.items() if name != 'GOMP_SPINCOUNT'} | env
        return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env).stdout.strip()
    assert spins() == '1000' and spins(GOMP_SPINCOUNT='5') == '5'

def write_digits(folder, start=0):
    for i, (image, label) in enumerate(zip(*color_digits()[start:start+100].xy, strict=True)):
        file = Path(folder, f'digit {label}', f'{i}.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(file)

def test_changed_images_are_not_taken_for_recorded_ones(tmp_path, monkeypatch, capsys):
    "A list of what to exclude is another list where its name is the same"
    monkeypatch.chdir(tmp_path)
    write_digits('mine')
    command = 'run --ipc 1 load_images --source mine --size 16 --cache c --distill random --epochs 1 --networks 1'
    command = f'{command} --no-baseline --exclude bad.txt'.split()
    some = [f'{path}\n' for path in sorted(Path('mine/digit 0').iterdir())[:2]]
    Path('bad.txt').write_text(some[0])
    for _ in range(2): assert main(command) == 0
    assert 'done before' in capsys.readouterr().err
    Path('bad.txt').write_text(''.join(some))
    assert main(command) == 2
    assert 'delete that folder, or choose another out' in capsys.readouterr().err
    Path('mine').rename('elsewhere')
    assert main(command) == 0 # its record stays

def test_a_folder_with_parts_is_distilled_in_part(tmp_path, monkeypatch, capsys):
    "Its training images; it is evaluated on the others. The folder may be the present one"
    monkeypatch.chdir(tmp_path)
    write_digits('mine/train')
    write_digits('mine/test', start=100)
    monkeypatch.chdir('mine')
    how = '--size 16 --cache ../c --ipc 1 --steps 2 --distill.batch 4 --epochs 1 --networks 1'
    assert main(f'distill . {how} --out ../small'.split()) == 0
    assert 'of the test images right' in capsys.readouterr().out
    card = Path('../small/README.md').read_text()
    assert 'distilled from 100 real ones' in card and '| class digit 9 |' in card

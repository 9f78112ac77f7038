"Runs that are killed, interrupted, or shared between processes and devices"
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common import COMMAND, left

from dd_debias.artifacts import read_losses
from dd_debias.bias import color_digits
from dd_debias.coresets import distill_random
from dd_debias.distilled import Distilled, load
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.files import Checkpoint, load_tensors, save_tensors
from dd_debias.groups import weigh_groups
from dd_debias.nets import MLP, ConvNet
from dd_debias.parallel import distill_shared
from dd_debias.records import read_records, run_config, run_name
from dd_debias.run import make_sets, run, run_lock, sweep
from dd_debias.runtime import derive_seed
from dd_debias.train import train_classifier


def start(out):
    env = {**os.environ, 'OMP_NUM_THREADS': '1'} # one number of threads, so that sums are added up in one order
    program = 'import sys; from dd_debias.cli import main; sys.exit(main())'
    command = [sys.executable, '-c', program, *COMMAND, '--out', str(out)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed')
    assert start(out).wait() == 0
    return out

def test_killed_command_resumes_to_the_same_bits(undisturbed, tmp_path):
    "SIGKILL as soon as there is a checkpoint; then the same command ends with the same images and accuracies"
    process = start(tmp_path)
    while not list(tmp_path.glob('*/checkpoint.safetensors')) and process.poll() is None: time.sleep(.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not list(tmp_path.glob('*/record.json'))
    assert start(tmp_path).wait() == 0
    a, b = (load(next(Path(d).glob('*/distilled.safetensors'))) for d in (undisturbed, tmp_path))
    assert a.images.equal(b.images) and a.mean.equal(b.mean)
    a, b = (json.loads(next(Path(d).glob('*.jsonl')).read_text()) for d in (undisturbed, tmp_path))
    assert a['accuracy'] == b['accuracy'] and a['name'] == b['name']

def of_digits(out, **how):
    "A small run, and its folder"
    narrow = partial(ConvNet, width=8)
    distill = partial(distill_dm, ipc=2, steps=60, batch=8, net=narrow)
    evaluator = partial(evaluate, networks=1, train=partial(train_classifier, net=narrow, epochs=5))
    parts = (color_digits, distill, weigh_groups, evaluator)
    return partial(run, *parts, out=out, **how), Path(out)/run_name(run_config(*parts, 0))

def killed_at(name, moment, go):
    "In a process of its own, SIGKILL before or after a file gets its name"
    def replace_and_die(old, new):
        if moment == 'after' or Path(new).name != name: rename(old, new)
        if Path(new).name == name: os.kill(os.getpid(), signal.SIGKILL)

    rename = os.replace
    child = os.fork()
    if not child:
        os.replace = replace_and_die
        try: go()
        finally: os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

FILES = ['config.json', 'seconds.json', 'weights.safetensors', 'checkpoint.safetensors', 'distilled.safetensors',
         'image_grid.png', 'record.json']

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    one, folder = of_digits(tmp_path_factory.mktemp('whole'))
    return one(), folder

@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
@pytest.mark.skipif(torch.cuda.is_available(), reason='where there is a GPU, a forked process cannot differentiate')
@pytest.mark.parametrize('moment', ['before', 'after'])
@pytest.mark.parametrize('name', FILES)
def test_killed_at_any_file_and_started_again(name, moment, whole, tmp_path):
    "The same bits, one line, and the same files: no checkpoint and no temporary file is left"
    one, folder = of_digits(tmp_path)
    killed_at(name, moment, one)
    record = one()
    assert record['accuracy'] == whole[0]['accuracy'] and record['reused_from'] is None
    assert load(folder/'distilled.safetensors').images.equal(load(whole[1]/'distilled.safetensors').images)
    files = [file for file in left(folder) if file != '.lock'] # stays where the kill came after the record
    assert files == left(whole[1]) and len(next(tmp_path.glob('*.jsonl')).read_text().splitlines()) == 1

def test_sweep_out_of_budget_continues_later(tmp_path):
    one, folder = of_digits(tmp_path)
    whole = of_digits(tmp_path/'whole')[0]()
    for i in range(20):
        if sweep([one], budget=.1*1.5**i): break
    else: pytest.fail('it never ended')
    again, whole = (load(f/'distilled.safetensors') for f in (folder, tmp_path/'whole'/whole['name']))
    assert again.images.equal(whole.images) and len(read_records(tmp_path)) == 1

def test_sweep_skips_a_run_locked_by_another_process(tmp_path):
    one, folder = of_digits(tmp_path)
    with run_lock(folder):
        with pytest.raises(BlockingIOError, match='another process; wait'): one()
        assert sweep([one]) == []
    assert not folder.exists() # nothing came of it
    assert len(sweep([one])) == 1

def test_classes_split_over_devices_are_the_same_run(tmp_path):
    alone, shared = of_digits(tmp_path/'a')[0](), of_digits(tmp_path/'b', device='cpu,cpu')[0]()
    assert alone['name'] == shared['name'] and alone['accuracy'] == shared['accuracy']

@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try: yield
    finally: torch.set_default_dtype(torch.float32)

def interrupt(*_): raise KeyboardInterrupt

def slow_digits(split='train', *, seed=0):
    time.sleep(.2)
    return color_digits(split=split, seed=seed)

def test_seconds_are_those_of_all_attempts(tmp_path):
    quick = partial(evaluate, networks=1, train=partial(train_classifier, net=partial(ConvNet, width=8), epochs=1))
    one = partial(run, slow_digits, partial(distill_random, ipc=1), None, quick, out=tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): one(on_step=interrupt)
    assert one()['seconds']['data'] > 1.2 # three attempts, two splits each

def test_who_made_a_set_survives_a_kill(tmp_path):
    one, folder = of_digits(tmp_path)
    one()
    parts = (*one.args[:3], partial(one.args[3], networks=2))
    go = partial(run, *parts, out=tmp_path)
    with pytest.raises(KeyboardInterrupt): go(on_step=interrupt) # in the evaluation, since the set is there
    assert (tmp_path/run_name(run_config(*parts, 0))/'distilled.safetensors').exists()
    assert go()['reused_from'] == folder.name

@pytest.mark.parametrize('name', ['config.json', 'record.json', 'distilled.safetensors', 'weights.safetensors'])
def test_damaged_files_of_another_run_stop_nothing(name, whole, tmp_path):
    "They are not considered, with a warning that names the file, and what is in them is made anew"
    folder = tmp_path/'another'
    shutil.copytree(whole[1], folder)
    (folder/name).write_bytes((folder/name).read_bytes()[:40])
    one, _ = of_digits(tmp_path)
    parts = (*one.args[:3], partial(one.args[3], networks=2))
    warned = f'another/{name}' if name != 'record.json' else None # nobody reads that of another run
    with pytest.warns(UserWarning, match=warned) if warned else nullcontext(): record = run(*parts, out=tmp_path)
    assert record['reused_from'] == (None if name == 'distilled.safetensors' else whole[1].name)

@pytest.mark.parametrize('name', ['distilled.safetensors', 'weights.safetensors'])
def test_files_of_another_run_are_refused(name, whole, tmp_path):
    "A file that does not belong to the run is not used, nor weights that are none"
    one, folder = of_digits(tmp_path)
    with pytest.raises(KeyboardInterrupt): one(on_step=interrupt)
    tensors, meta = load_tensors(whole[1]/name)
    of_other = meta.get('config', meta)
    of_other['seed'] = 5
    save_tensors(folder/name, tensors, meta)
    with pytest.raises(ValueError, match=f'{name} was made by a run with another seed; delete it'): one()
    of_other['seed'] = 0
    save_tensors(folder/name, {k: -v if v.is_floating_point() else v for k, v in tensors.items()}, meta)
    with pytest.raises(ValueError, match=f'{name} .*(std must be positive|non-negative weights)'): one()

def test_finished_by_another_process_meanwhile(tmp_path, monkeypatch):
    "between the look for a record and the lock: its record is returned, and no second line is written"
    one, _ = of_digits(tmp_path)
    @contextmanager
    def late_lock(folder):
        monkeypatch.undo()
        one()
        with run_lock(folder): yield
    monkeypatch.setattr('dd_debias.run.run_lock', late_lock)
    assert one()['name'] and len(next(tmp_path.glob('*.jsonl')).read_text().splitlines()) == 1

def test_removed_folder_does_not_hide_the_error(tmp_path):
    def remove(*_):
        shutil.rmtree(tmp_path/'out')
        raise FloatingPointError('the true error')
    one, _ = of_digits(tmp_path/'out')
    with pytest.raises(FloatingPointError, match='the true error'): one(on_step=remove)

def test_unwritable_records_are_known_before_the_work(tmp_path):
    one, _ = of_digits(tmp_path)
    (tmp_path/'color_digits.jsonl').mkdir()
    with pytest.raises(OSError, match='cannot write .*color_digits.jsonl; choose another out'): one(on_step=interrupt)

def distill_alike(images, labels, weights=None, *, ipc=1, seed=0):
    "What a user may return: mean and std are one tensor, and the configuration holds NumPy numbers"
    syn = distill_random(images, labels, weights, ipc=ipc, seed=seed)
    return Distilled(syn.images.double(), syn.labels.int(), syn.std, syn.std, config=dict(a=np.float32(1)))

def distill_nothing(images, labels, weights=None, *, ipc=1, seed=0): return images, labels

def test_what_a_distiller_returns_is_converted_or_refused(tmp_path):
    quick = partial(evaluate, networks=1, train=partial(train_classifier, net=MLP, epochs=1))
    assert run(color_digits, distill_alike, None, quick, out=tmp_path)['accuracy']
    with pytest.raises(ValueError, match='distill_nothing must return a Distilled, it returned a tuple'):
        run(color_digits, distill_nothing, None, quick, out=tmp_path)

@pytest.mark.parametrize('setting', [torch.no_grad, torch.inference_mode, float64])
def test_settings_around_a_run_change_nothing(setting, whole, tmp_path):
    with setting(): assert of_digits(tmp_path)[0]()['accuracy'] == whole[0]['accuracy']
    assert torch.get_default_dtype() == torch.float32

ENDLESS = """
import sys
from functools import partial
from dd_debias.bias import color_digits
from dd_debias.dm import distill_dm
from dd_debias.nets import ConvNet
from dd_debias.run import run
distill = partial(distill_dm, ipc=2, steps=100000, batch=8, net=partial(ConvNet, width=8), compiled=False)
if __name__ == '__main__': run(color_digits, distill, None, out=sys.argv[1], device='cpu,cpu')
"""

def test_workers_end_with_their_parent_and_leave_checkpoints(tmp_path):
    "SIGKILL of the parent ends them at once; the next call goes on from the checkpoints of the shards"
    (tmp_path/'go.py').write_text(ENDLESS)
    parent = subprocess.Popen([sys.executable, tmp_path/'go.py', tmp_path/'out'], start_new_session=True)
    try:
        while len(list(tmp_path.glob('out/*/checkpoint-*.safetensors'))) < 2 and parent.poll() is None: time.sleep(.02)
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        for _ in range(250):
            time.sleep(.02)
            try: os.killpg(parent.pid, 0)
            except ProcessLookupError: break
        else: pytest.fail('workers go on')
    finally:
        with suppress(ProcessLookupError): os.killpg(parent.pid, signal.SIGKILL)

def test_shards_go_on_from_their_checkpoints(tmp_path):
    "The state of the shards makes the same set; a shard of another number of devices is not taken"
    images, labels = color_digits()[:100].xy
    distill = partial(distill_dm, ipc=1, steps=4, batch=4, net=partial(ConvNet, width=4))
    checkpoint = Checkpoint(tmp_path/'c.safetensors', every=2)
    one = distill_shared(images, labels, ipc=1, distill=distill, devices=['cpu'], checkpoint=checkpoint)
    assert left(tmp_path) == ['c-0of1.safetensors']
    again = distill_shared(images, labels, ipc=1, distill=distill, devices=['cpu'], checkpoint=checkpoint)
    assert again.images.equal(one.images)
    with pytest.raises(ValueError, match='distill_random cannot share its classes'):
        distill_shared(images, labels, distill=distill_random, devices=['cpu', 'cpu'])

def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path):
    "and not from the beginning, which would end in the same images"
    seen = []
    def stop_at_30(step, steps, state):
        if state['phase'] != 'distill': return
        seen.append(step)
        if len(seen) == 30: raise KeyboardInterrupt
    one, _ = of_digits(tmp_path, on_step=stop_at_30)
    with pytest.raises(KeyboardInterrupt): one()
    one()
    assert seen == [*range(1, 31), *range(21, 61)]

def test_a_run_made_again_is_not_the_one_before(tmp_path):
    "A deleted folder, and an interruption: the line of the earlier run is not taken for the record of this one"
    one, folder = of_digits(tmp_path)
    first = one()
    shutil.rmtree(folder)
    def stop(step, steps, state):
        if state['phase'] == 'distill': raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): one(on_step=stop)
    again = one()
    assert load(folder/'distilled.safetensors').ipc == 2 and again['accuracy'] == first['accuracy']
    assert again['begun'] > first['begun'] and again['begun'] == json.loads((folder/'config.json').read_text())['begun']

def test_a_sweep_keeps_the_hook_of_a_run(tmp_path):
    phases = []
    one, _ = of_digits(tmp_path, on_step=lambda step, steps, state: phases.append(state['phase']))
    assert len(sweep([one])) == 1 and phases.count('distill') == 60

def test_what_a_first_shard_tells(tmp_path):
    "The hook of a run sees its steps and losses; when it raises, the processes end, long before their last step"
    told = []
    def note(step, steps, state):
        if state['phase'] == 'distill': told.append((step, steps, state['loss']))
    one, folder = of_digits(tmp_path/'a', device='cpu,cpu', on_step=note)
    one()
    assert [step for step, _, _ in told] == [*range(1, 61)] and told[0][2] > 0
    assert len(read_losses(folder/'losses.csv').query('phase == "distill"')) == 60

    def stop(*_): raise KeyboardInterrupt
    endless = partial(distill_dm, steps=10**6, batch=4, net=partial(ConvNet, width=4))
    before = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt):
        distill_shared(*color_digits()[:100].xy, ipc=1, distill=endless, devices=['cpu']*2, on_step=stop)
    assert multiprocessing.active_children() == before

def fail_in_the_second(images, labels, weights=None, *, ipc=1, seed=0, shard=(0, 1)):
    if shard[0] == 1: raise ValueError('this shard fails')
    return distill_dm(images, labels, ipc=ipc, steps=10**6, batch=4, net=partial(ConvNet, width=4), shard=shard)

def test_a_shard_that_fails_ends_the_others():
    with pytest.raises(ValueError, match='this shard fails'):
        distill_shared(*color_digits()[:100].xy, ipc=1, distill=fail_in_the_second, devices=['cpu']*2)

def test_a_shard_goes_on_from_its_checkpoint(tmp_path):
    seen = []
    def stop_at_3(step, steps, state):
        seen.append(step)
        if len(seen) == 3: raise KeyboardInterrupt
    distill = partial(distill_dm, steps=5, batch=4, net=partial(ConvNet, width=4), on_step=stop_at_3)
    checkpoint = Checkpoint(tmp_path/'c.safetensors', every=2)
    one = partial(distill_shared, *color_digits()[:100].xy, ipc=1, distill=distill, checkpoint=checkpoint)
    with pytest.raises(KeyboardInterrupt): one(devices=['cpu'])
    one(devices=['cpu'])
    assert seen == [1, 2, 3, 3, 4, 5]

NOTED = {}

def weigh_noted(images, labels, *, seed):
    NOTED['weigh'] = seed
    return 1.+torch.arange(len(labels))%3

def distill_noted(images, labels, weights=None, *, ipc=1, seed=0):
    NOTED['distill'] = seed
    return distill_random(images, labels, weights, ipc=ipc, seed=seed)

def train_noted(images, labels, weights=None, *, seed):
    NOTED['train'] = seed
    return train_classifier(images, labels, seed=seed, net=MLP, epochs=1)

def test_each_part_of_a_run_gets_its_seed(tmp_path):
    evaluator = partial(evaluate, train=train_noted, networks=1)
    record = run(color_digits, distill_noted, weigh_noted, evaluator, seed=7, out=tmp_path)
    assert dict(weigh=7, distill=7, train=derive_seed(7, 'network', 0)) == NOTED
    train, _ = make_sets(color_digits, 7)
    weights = weigh_noted(*train.xy, seed=7)
    on_conflicting = weights[train.bias != train.labels].sum()/weights.sum()
    assert record['conflict_share'] == pytest.approx(on_conflicting.item(), rel=1e-5)

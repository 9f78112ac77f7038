"Runs that are killed, interrupted, or shared between processes and devices"
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from common import COMMAND, left

from dd_debias.bias import color_digits
from dd_debias.distilled import load
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.nets import ConvNet
from dd_debias.records import read_records, run_config, run_name
from dd_debias.run import run, run_lock, sweep
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

@pytest.mark.parametrize('seen', ['config.json', 'checkpoint.safetensors', 'distilled.safetensors'])
def test_killed_run_resumes_to_the_same_bits(undisturbed, tmp_path, seen):
    "SIGKILL as soon as a file appears; then the same command ends with the same images and accuracies"
    process = start(tmp_path)
    while not list(tmp_path.glob(f'*/{seen}')) and process.poll() is None: time.sleep(.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not list(tmp_path.glob('*/record.json'))
    assert start(tmp_path).wait() == 0
    a, b = (load(next(Path(d).glob('*/distilled.safetensors'))) for d in (undisturbed, tmp_path))
    assert a.images.equal(b.images) and a.mean.equal(b.mean)
    a, b = (json.loads(next(Path(d).glob('*.jsonl')).read_text()) for d in (undisturbed, tmp_path))
    assert a['accuracy'] == b['accuracy'] and a['name'] == b['name']
    assert 'checkpoint.safetensors' not in left(tmp_path)

def of_digits(out, **how):
    "A small run, and its folder"
    narrow = partial(ConvNet, width=8)
    distill = partial(distill_dm, ipc=2, steps=60, batch=8, net=narrow)
    evaluator = partial(evaluate, networks=1, train=partial(train_classifier, net=narrow, epochs=5))
    parts = (color_digits, distill, None, evaluator)
    return partial(run, *parts, out=out, **how), Path(out)/run_name(run_config(*parts, 0))

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

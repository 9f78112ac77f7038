"Hooks that watch, and the losses that a run keeps"
import sys
import time
from contextlib import redirect_stderr
from functools import partial

import pytest
import torch
from common import few, short

from dd_debias.artifacts import keep_losses, read_losses
from dd_debias.bias import color_digits
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.evaluate import evaluate
from dd_debias.mtt import distill_mtt
from dd_debias.nets import ConvNet
from dd_debias.run import run
from dd_debias.runtime import progress_bar
from dd_debias.train import train_classifier
from dd_debias.watch import tensorboard_log, trackio_log, watch

narrow = partial(ConvNet, width=16)
DISTILLERS = {
    'dm': partial(distill_dm, ipc=2, steps=3, batch=8, net=narrow),
    'shard': partial(distill_dm, ipc=2, steps=3, batch=8, net=narrow, shard=(1, 3)),
    'dsa': partial(distill_dsa, ipc=2, rounds=1, outer=2, inner=1, batch=8, net=narrow),
    'mtt': partial(distill_mtt, ipc=2, steps=3, net=narrow, max_start_epoch=1, expert_epochs=1, experts=short)}

@pytest.mark.parametrize('name', DISTILLERS)
def test_the_state_gives_the_set_as_it_is(name):
    seen = []
    def keep(step, steps, state): seen.append(state['distilled']())
    made = DISTILLERS[name](*few.xy, on_step=keep)
    assert len(seen) > 1 and not seen[0].images.equal(made.images)
    assert seen[-1].images.equal(made.images) and seen[-1].labels.equal(made.labels) and seen[-1].lr == made.lr

def test_a_run_tells_phase_and_test_set(tmp_path):
    seen = {}
    def note(step, steps, state): seen.setdefault(state['phase'], []).append((len(state['test']), step, steps))
    weigh = partial(run, color_digits, DISTILLERS['dm'], out=tmp_path)
    evaluator = partial(evaluate, train=partial(train_classifier, net=narrow, epochs=2), networks=2)
    record = weigh(evaluate=evaluator, on_step=note)
    assert list(seen) == ['weigh', 'distill', 'evaluate']
    assert seen['distill'] == [(len(color_digits(split='test')), step, 3) for step in (1, 2, 3)]
    losses = read_losses(tmp_path/record['name']/'losses.csv')
    last = losses.groupby('phase').step.max()
    assert last.distill == 3 and last.evaluate == 2 and last.weigh == seen['weigh'][-1][1]
    assert losses.groupby('phase').size().max() <= 200

def test_torn_losses(tmp_path):
    file = tmp_path/'losses.csv'
    assert read_losses(file).empty
    keep_losses(file, 'distill')(1, 2, dict(loss=torch.tensor([1., 3.])))
    keep_losses(file, 'own')(1, 1, dict(loss=3)) # of a distiller of one's own, which may give a number
    with open(file, 'a') as f: f.write('distill,2\nweigh,1,2,3\ndis')
    assert read_losses(file).to_dict('records') == [
        dict(phase='distill', step=1, loss=2.), dict(phase='own', step=1, loss=3.)]

def test_accuracy_needs_a_test_set():
    hook = watch(lambda values, step: None, accuracy_every=1)
    with pytest.raises(ValueError, match='test: give the set to evaluate on'): DISTILLERS['dm'](*few.xy, on_step=hook)
    with pytest.raises(ValueError, match='loss_every must be a whole number of at least 1'):
        watch(lambda values, step: None, loss_every=0)

@pytest.mark.parametrize('missing,log', [('torch.utils.tensorboard', tensorboard_log), ('trackio', trackio_log)])
def test_what_is_missing_is_named(missing, log, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    name = missing.split('.')[-1]
    with pytest.raises(ModuleNotFoundError, match=f'{name} is missing; pip install {name}'): log(str(tmp_path))

def test_trackio_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path))
    trackio = pytest.importorskip('trackio')
    DISTILLERS['dm'](*few.xy, on_step=watch(trackio_log('one'), loss_every=1))
    trackio.finish()
    assert list(tmp_path.rglob('*'))

def test_a_progress_bar_leaves_few_lines_in_a_file(tmp_path):
    log = tmp_path/'log'
    with open(log, 'w') as file, redirect_stderr(file):
        draw = progress_bar('walk')
        for step in range(1, 7):
            draw(step, 6, {})
            time.sleep(.15) # on a terminal it is drawn every tenth of a second
    lines = log.read_text().replace('\r', '\n').split('\n')
    assert [line.split('|')[0].split() for line in lines if line] == [['walk', ':', '0%'], ['walk', ':', '100%']]

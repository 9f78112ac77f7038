"A GPU gives the same each time, and nearly what a CPU gives. Without one, what else can be shown of it"
import warnings
from functools import partial

import pytest
import torch

from dd_debias.bias import color_digits
from dd_debias.bias_only import weigh_bias_only
from dd_debias.distilled import check_distiller
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.files import Checkpoint
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet, build_net
from dd_debias.runtime import repeatable, seeded
from dd_debias.train import check_trainer, train_classifier
from dd_debias.weights import check_weights

NET = partial(ConvNet, width=16)
DM = partial(distill_dm, steps=3, batch=8, net=NET)
EXPERTS = partial(expert_trajectories, experts=1, epochs=2, steps=2, batch=8)
DISTILLERS = dict(
    dm=DM, canvases=partial(DM, factor=2), dsa=partial(distill_dsa, rounds=1, outer=2, inner=1, batch=8, net=NET),
    mtt=partial(distill_mtt, steps=2, syn_steps=2, max_start_epoch=1, experts=EXPERTS, net=NET))
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

@pytest.fixture
def digits(): return color_digits()[:200].to('cuda')

@on_gpu
@pytest.mark.parametrize('name', DISTILLERS)
def test_distillers_repeat(digits, name):
    with warnings.catch_warnings():
        warnings.simplefilter('error') # of an operation that is not repeatable
        check_distiller(DISTILLERS[name], *digits.xy)

@on_gpu
def test_dm_is_near_that_of_a_cpu(digits):
    here, there = DM(*digits.to('cpu').xy, ipc=2).images, DM(*digits.xy, ipc=2).images.cpu()
    assert (here-there).norm() < .05*here.norm() # .009 on an H200

@on_gpu
@pytest.mark.parametrize('weigh', [weigh_kde, weigh_propensity, partial(weigh_bias_only, encoder_steps=20)])
def test_weights_repeat(digits, weigh): check_weights(weigh, *digits.xy)

@on_gpu
@pytest.mark.parametrize('stacked', [False, True])
def test_trainers_repeat(digits, stacked):
    def train(*data, seed):
        return train_classifier(*data, seeds=[seed, seed+9], stacked=stacked, net=NET, epochs=2)[1]
    check_trainer(train, *digits.xy)

def settings():
    return (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark)

@pytest.mark.parametrize('strict', [False, True])
def test_repeatable_algorithms_are_chosen_where_a_gpu_is_in_use(monkeypatch, strict):
    with repeatable(): assert settings() == (False, False, True, False)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', True)
    torch.use_deterministic_algorithms(strict)
    try:
        before = settings()
        with pytest.raises(KeyError), repeatable():
            assert settings() == (True, not strict, False, False) # who asked for errors gets them
            raise KeyError
        assert settings() == before
    finally: torch.use_deterministic_algorithms(False)

def test_an_untrained_network_does_not_depend_on_the_default_device():
    images = color_digits().images[:2]
    def parameters():
        with seeded(1): return torch.cat([p.flatten() for p in build_net(ConvNet, images, 10).parameters()])
    plain = parameters()
    with torch.device('meta'): assert parameters().equal(plain)

def test_checkpoints_take_a_twentieth_of_the_time_at_most(tmp_path, monkeypatch):
    seconds = 0.
    def save(*args):
        nonlocal seconds
        seconds += 1
        saved.append(args[2]['step'])
    saved = []
    monkeypatch.setattr('dd_debias.files.time.perf_counter', lambda: seconds)
    monkeypatch.setattr('dd_debias.files.save_tensors', save)
    checkpoint = Checkpoint(tmp_path/'c.safetensors', every=2)
    for step in range(1, 60):
        seconds += 1
        checkpoint(step, 60, dict(x=torch.ones(2)))
    assert saved == [2, 22, 42]

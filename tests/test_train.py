"Every trainer on every kind of set, and stacks of networks"
import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from common import any_set, close, few, some_set, with_batch_norm
from torch import nn

from dd_debias.bias import color_digits
from dd_debias.dfa import train_dfa
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.lff import train_lff
from dd_debias.nets import MLP, VGG11, AlexNet, ConvNet, LeNet, ResNet18
from dd_debias.pixels import channel_stats, standardize
from dd_debias.runtime import derive_seed, seeded
from dd_debias.selecmix import train_selecmix
from dd_debias.train import train_classifier
from dd_debias.weights import normalize_weights

FUNCTIONS = (
    train_classifier, train_lff, train_dfa, train_selecmix, train_reweighted, train_clusterdro, train_groupdro)
TRAINERS = {f.__name__: partial(f, net=partial(ConvNet, width=4), epochs=2, batch=9) for f in FUNCTIONS}

@any_set
@pytest.mark.parametrize('name', TRAINERS)
def test_any_set_can_be_trained_on(name, channels, size, sizes):
    "by every trainer, here with an image of weight zero"
    images, labels = some_set(channels, size, sizes)
    weights = torch.ones(len(labels))
    weights[0] = 0
    known = dict(bias=labels%2) if name == 'train_groupdro' else {}
    out = TRAINERS[name](images, labels, weights, **known)(images)
    assert out.shape == (len(labels), len(sizes)) and out.isfinite().all()

class Double(torch.nn.Module):
    "A network in float64, so that rounding does not decide whether a ReLU is on"
    def __init__(self, net, *shape):
        super().__init__()
        self.inner = net(*shape).double()
    def forward(self, x): return self.inner(x.double())

narrow = partial(ConvNet, width=8)

@pytest.mark.parametrize('net,sampling', [
    (narrow, 'importance'), (narrow, 'weighted'),
    *((net, 'weighted') for net in (MLP, LeNet, AlexNet, VGG11, ResNet18))])
def test_stacked_networks_match_networks_trained_alone(net, sampling):
    "within rounding"
    images, labels = color_digits()[:12].images, torch.arange(12)%3
    w = normalize_weights(torch.rand(12, generator=torch.Generator().manual_seed(1)), labels)
    quick = partial(
        train_classifier, images, labels, w, net=partial(Double, net), epochs=1, batch=6, sampling=sampling, bf16=False)
    several = quick(seeds=(3, 4), stacked=True)
    for alone, stacked in zip([quick(seed=s) for s in (3, 4)], several, strict=True):
        assert all(close(b, a) for a, b in zip(alone.parameters(), stacked.parameters(), strict=True))

@pytest.mark.parametrize('batch,bf16', [(6, False), (256, False), (256, True)])
def test_networks_side_by_side_are_the_same_as_alone_with_as_many_threads(batch, bf16):
    "bit for bit, and torch's threads are left as they were"
    train = partial(train_classifier, *color_digits()[:90].xy, net=narrow, epochs=2, batch=batch, bf16=bf16)
    seeds, before = (3, 4, 5), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [train(seed=s) for s in seeds]
        torch.set_num_threads(len(seeds))
        side_by_side = train(seeds=seeds)
        assert torch.get_num_threads() == len(seeds)
    finally: torch.set_num_threads(before)
    for a, b in zip(alone, side_by_side, strict=True):
        assert all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))

def test_networks_with_batch_norm_train_side_by_side():
    train = partial(train_classifier, *color_digits()[:60].xy, net=with_batch_norm, epochs=1, batch=20)
    for model, seed in zip(train(seeds=(3, 4)), (3, 4), strict=True):
        alone = train(seed=seed).state_dict()
        assert all(close(value.float(), alone[name].float()) for name, value in model.state_dict().items())

def replaced(net): net.backbone[0] = nn.Conv2d(3, 8, 3, padding=2, dilation=2)
def other_norm(net): net.backbone[1] = nn.BatchNorm2d(8)
def pre_hook(net): net.backbone[0].register_forward_pre_hook(lambda layer, x: (2*x[0]+1,))
def hook(net): net.backbone[1].register_forward_hook(lambda layer, x, out: out+1)
def unchanged(net): pass

@pytest.mark.parametrize('change', [unchanged, replaced, other_norm, pre_hook, hook])
def test_a_convnet_calls_its_layers(change):
    "or computes the same, also on a CPU and in a copy"
    with seeded(0): net = ConvNet(size=16, width=8)
    change(net)
    expected = few.images/255
    for layer in net.backbone: expected = layer(expected)
    for same in (net, copy.deepcopy(net)): assert torch.allclose(same.backbone(few.images/255), expected, atol=1e-4)

@pytest.mark.parametrize('schedule, rates', [('step', (1, 1, .1, .1)), ('cosine', (1, .853553, .5, .146447))])
def test_training_matches_the_plain_loop(schedule, rates):
    "SGD with momentum and decay, a weighted loss, and a rate for each epoch, in float32 and without chunks"
    w = normalize_weights(torch.rand(100, generator=torch.Generator().manual_seed(1)), few.labels).float()
    net, lr = partial(ConvNet, width=4), .05
    model = train_classifier(*few.xy, w, net=net, epochs=4, lr=lr, batch=40, schedule=schedule, augment='', bf16=False)
    stats = channel_stats(few.images, w)
    with seeded(derive_seed(0, 'train')):
        naive = net(3, 10, 16)
        rng = torch.Generator().set_state(torch.get_rng_state())
    params = list(naive.parameters())
    velocity = [torch.zeros_like(p) for p in params]
    for rate in rates:
        batches = []
        for idx in torch.randperm(100, generator=rng).split(40):
            torch.randint(2**31, (), generator=rng) # the seed of an augmentation
            batches.append(idx)
        for idx in batches:
            out = naive(standardize(few.images[idx], stats))
            loss = (w[idx]*F.cross_entropy(out, few.labels[idx], reduction='none')).mean()
            for p, v, gradient in zip(params, velocity, torch.autograd.grad(loss, params), strict=True):
                v.mul_(.9).add_(gradient+5e-4*p.detach())
                with torch.no_grad(): p -= lr*rate*v
    for ours, plain in zip(model.net.parameters(), params, strict=True): assert torch.allclose(ours, plain, atol=2e-5)

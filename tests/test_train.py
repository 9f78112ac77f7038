"Any set can be trained on, by one network or by a stack"
from functools import partial

import pytest
import torch
from common import any_set, close, some_set

from dd_debias.bias import color_digits
from dd_debias.dfa import train_dfa
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.lff import train_lff
from dd_debias.nets import MLP, VGG11, AlexNet, ConvNet, LeNet, ResNet18
from dd_debias.selecmix import train_selecmix
from dd_debias.train import train_classifier
from dd_debias.weights import normalize_weights

TRAINERS = {f.__name__: partial(f, net=partial(ConvNet, width=4), epochs=2, batch=9) for f in (train_classifier, train_lff, train_dfa, train_selecmix, train_reweighted, train_clusterdro, train_groupdro)}

@any_set
@pytest.mark.parametrize('name', TRAINERS)
def test_any_set_can_be_trained_on(name, channels, size, sizes):
    "And by each trainer with some of its images weighing nothing"
    images, labels = some_set(channels, size, sizes)
    weights = torch.ones(len(labels))
    weights[0] = 0
    known = dict(bias=labels%2) if name == 'train_groupdro' else {}
    out = TRAINERS[name](images, labels, weights, **known)(images)
    assert out.shape == (len(labels), len(sizes)) and out.isfinite().all()

class Double(torch.nn.Module):
    "A network in float64, where rounding decides no rectifier"
    def __init__(self, net, *shape):
        super().__init__()
        self.inner = net(*shape).double()
    def forward(self, x): return self.inner(x.double())

@pytest.mark.parametrize('net,sampling', [(partial(ConvNet, width=8), 'importance'), *((n, 'weighted') for n in (partial(ConvNet, width=8), MLP, LeNet, AlexNet, VGG11, ResNet18))])
def test_a_stack_is_its_networks(net, sampling):
    "Each network of a stack is what it would be if trained by itself, within rounding"
    images, labels = color_digits()[:12].images, torch.arange(12)%3
    w = normalize_weights(torch.rand(12, generator=torch.Generator().manual_seed(1)), labels)
    quick = partial(train_classifier, images, labels, w, net=partial(Double, net), epochs=1, batch=6, sampling=sampling, bf16=False)
    for alone, stacked in zip([quick(seed=s) for s in (3, 4)], quick(seeds=(3, 4))):
        assert all(close(b, a) for a, b in zip(alone.parameters(), stacked.parameters()))

"Evaluation: stacked networks, group accuracies, confidence intervals"
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from scipy.stats import t as student

from dd_debias.bias import color_digits
from dd_debias.coresets import distill_random
from dd_debias.evaluate import accuracy, confidence_interval, evaluate, group_accuracy, rare_images
from dd_debias.nets import MLP
from dd_debias.train import train_classifier


def test_stacked_evaluation_matches_one_by_one():
    "The same rows, in the same order"
    train, test = color_digits()[:100], color_digits(split='test')
    trainer = partial(train_classifier, net=MLP, epochs=3)
    evaluator = partial(evaluate, train, test, train=trainer, networks=3, bf16=False)
    assert (evaluator(stacked=True)-evaluator(stacked=False)).abs().max().max() < 1

def test_group_accuracy_matches_the_plain_loop():
    "Accuracy of every (label, bias) group, the worst of them, and the spread within a class"
    test = color_digits(split='test')
    model = train_classifier(*color_digits()[:300].xy, net=MLP, epochs=5)
    with torch.no_grad(): right = model(test.images).argmax(1) == test.labels
    naive = torch.zeros(10, 10).tolist() # a row per class, a column per bias
    for c in range(10):
        for g in range(10):
            samples = zip(right.tolist(), test.labels, test.bias, strict=True)
            hits = [r for r, y, b in samples if (y, b) == (c, g)]
            naive[c][g] = 100*sum(hits)/len(hits)
    assert torch.allclose(group_accuracy(right, test), torch.tensor(naive).double())
    row, spread = accuracy(model, test), [max(g)-min(g) for g in naive]
    assert row['worst_group'] == pytest.approx(min(map(min, naive)))
    assert row['deo_max'] == pytest.approx(max(spread)) and row['deo_mean'] == pytest.approx(sum(spread)/10)

def test_confidence_interval_is_students_t():
    seeds = [pd.DataFrame({'all': a}) for a in ([80., 82, 84], [90., 91, 92], [70., 71, 72])]
    found, means = confidence_interval(*seeds, level=.9).loc['all'], torch.tensor([82., 91, 71])
    low, high = student.interval(.9, 2, means.mean(), means.std()/3**.5)
    assert found.low == pytest.approx(low, rel=1e-5) and found.high == pytest.approx(high, rel=1e-5)
    assert found.networks == 9

def test_epochs_are_counted_over_all_networks():
    "Of a trainer that counts none, its networks are"
    data, test = color_digits()[:100], color_digits(split='test')[:100]
    def watched(train, **how):
        seen = []
        evaluate(data, test, train=train, networks=2, on_epoch=lambda i, n, state: seen.append((i, n)), **how)
        return seen

    def uncounted(images, labels, weights=None, *, seed):
        return train_classifier(images, labels, seed=seed, epochs=1, net=MLP)

    three = partial(train_classifier, net=MLP, epochs=3)
    for stacked in (None, True): assert watched(three, stacked=stacked) == [(1, 3), (2, 3), (3, 3)]
    assert watched(uncounted) == [(1, 2), (2, 2)]

def test_rare_images_are_the_heaviest_of_each_class():
    train, test = color_digits(conflict=.05), color_digits(conflict=.05)[:150]
    rare = rare_images(train[150:], test)
    for c in range(10): assert rare[test.labels == c].sum() == max(1, round((1-.9)*(test.labels == c).sum().item()))
    row = accuracy(train_classifier(*train.xy, net=MLP, epochs=1), test, rare=rare)
    n = rare.sum().item()
    assert row['all']*len(test) == pytest.approx(row['rare']*n+row['common']*(len(test)-n), rel=1e-5)
    assert (~test.aligned)[rare].float().mean() > 4*(~test.aligned).float().mean()

def test_a_learnt_rate_is_for_sgd():
    "and goes after one that is chosen"
    syn = replace(distill_random(*color_digits().xy, ipc=1), lr=.25)
    given = []
    def by_sgd(images, labels, weights=None, *, seed, lr=.01, learnt_lr=None):
        given.append((lr, learnt_lr))
        return train_classifier(images, labels, seed=seed, epochs=1, net=MLP)

    def by_adam(images, labels, weights=None, *, seed, lr=.001):
        given.append(lr)
        return train_classifier(images, labels, seed=seed, epochs=1, net=MLP)

    for train in (by_sgd, partial(by_sgd, lr=.5), by_adam):
        evaluate(syn, color_digits(split='test'), train=train, networks=1)
    assert given == [(.01, .25), (.5, None), .001]
    x, y = syn.xy
    by_rate = [train_classifier(x, y, net=MLP, epochs=2, **rate)(x) for rate in (dict(learnt_lr=.25), dict(lr=.25))]
    assert by_rate[0].equal(by_rate[1])

def test_each_network_has_a_seed_of_its_own():
    "which follows that of the evaluation, and a row of its own"
    data, test = color_digits()[:100], color_digits(split='test')[:100]
    def one_by_one(images, labels, weights=None, *, seed):
        nets[seed] = train_classifier(images, labels, seed=seed, epochs=1, net=MLP)
        return nets[seed]

    found = {}
    for seed in (0, 0, 1):
        nets = {}
        scores = evaluate(data, test, train=one_by_one, networks=3, seed=seed)
        assert scores['all'].tolist() == [accuracy(net, test)['all'] for net in nets.values()]
        found.setdefault(seed, list(nets))
        assert list(nets) == found[seed]
    assert len({*found[0], *found[1]}) == 6

"""How soon distribution matching reaches an accuracy, and what makes it sooner. Adds lines to results/sooner.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/sooner.py              # one and a half hours on one core
    DD_DEBIAS_DATA=.data python benchmarks/sooner.py cmnist 1     # one set, the second seed

With KDE weights at 5% conflicting, ten images per class. The clock runs while images are distilled and stops while they
are evaluated, by one network of 100 steps."""
import sys
import time
from functools import partial

import torch
from recorded import add

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.distilled import Distilled
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde
from dd_debias.nets import ConvNet
from dd_debias.pixels import channel_stats, unstandardize
from dd_debias.train import train_classifier

STEPS = (10, 25, 50, 100, 200)
VARIANTS = { # a list of learning rates has one for the steps up to each of STEPS
    "authors' settings": dict(lr=1., batch=256, sampling='weighted', init='uniform', anneal=False),
    '+ batches drawn by weight, a quarter as large': dict(lr=1., init='uniform', anneal=False),
    '+ first images drawn by weight': dict(lr=1., anneal=False),
    '+ learning rate 10': dict(anneal=False),
    '+ falling to nothing (our default)': {},
    '+ falling from 30 to 3 instead': dict(lr=[30., 20., 10., 5., 3.], anneal=False),
    '+ mean of the last half of the steps instead': dict(mean=True, anneal=False),
    '+ networks of width 48': dict(net=partial(ConvNet, width=48))}

def curve(train, test, weights, variant, seed):
    how = VARIANTS[variant].copy()
    lr = how.pop('lr', 10.)
    rates = lr if isinstance(lr, list) else [lr]*len(STEPS)
    averaged = how.pop('mean', False)
    stats = channel_stats(train.images, weights)
    state, states, marks, seconds = None, [], [], 0.
    def keep(step, steps, state):
        marks.append(time.perf_counter())
        states.append(dict(images=state['images'].clone(), velocity=state['velocity'].clone(), step=step))
    for step, rate in zip(STEPS, rates, strict=True):
        if how.get('anneal', True): # then each of STEPS needs a run of its own, from the first step
            states.clear()
            marks.clear()
            state, seconds = None, 0.
        begun = len(states)
        distill_dm(*train.xy, weights, seed=seed, steps=step, resume_from=state, lr=rate, on_step=keep, **how)
        state = states[-1]
        seconds += (step-begun)*torch.tensor(marks[begun:], dtype=torch.float64).diff().median().item()
        images = torch.stack([s['images'] for s in states[step//2:]]).mean(0) if averaged else state['images']
        syn = Distilled(unstandardize(images, stats), torch.arange(10).repeat_interleave(10), *stats)
        scores = evaluate(syn, test, train=partial(train_classifier, epochs=100), networks=1, seed=seed).iloc[0]
        accuracies = {k: round(scores[k], 2) for k in ('all', 'aligned', 'conflicting')}
        yield dict(variant=variant, seed=seed, step=step, seconds=round(seconds, 1), **accuracies)

if __name__ == '__main__':
    seeds = [int(a) for a in sys.argv[1:] if a.isdecimal()] or [0]
    wanted = tuple(a for a in sys.argv[1:] if not a.isdecimal()) or ''
    for seed in seeds:
        for name, data in dict(cmnist=cmnist, bg_fmnist=bg_fmnist).items():
            if not name.startswith(wanted): continue
            train, test = data(.05, seed=seed), data(split='test', seed=seed)[:5000]
            weights = weigh_kde(*train.xy, seed=seed)
            for variant in VARIANTS:
                for point in curve(train, test, weights, variant, seed): add('sooner.jsonl', dict(set=name, **point))

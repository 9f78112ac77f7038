"""What evaluation costs, how other architectures score on the recorded sets, and how many of their images conflict.

    export DD_DEBIAS_DATA=.data
    python benchmarks/evaluation.py        # twenty networks on a hundred images: one by one, side by side, stacked
    python benchmarks/evaluation.py across # six architectures on the recorded sets, an hour on one core
    python benchmarks/evaluation.py shown  # share of the recorded sets' images that show another class's colour

Adds lines to results/evaluation.jsonl, across.jsonl and shown.jsonl."""
import sys
import time
from functools import partial

import torch
from recorded import RESULTS, add

from dd_debias.bias import cmnist
from dd_debias.distilled import load
from dd_debias.evaluate import conflict_rate, evaluate_across, train_bias_classifier
from dd_debias.nets import MLP, ConvNet, LeNet
from dd_debias.paper import cells, load_cell
from dd_debias.train import train_classifier

STEPS = 3
NETS = {'ConvNet, width 128': ConvNet, 'ConvNet, width 32': partial(ConvNet, width=32), 'LeNet': LeNet, 'MLP': MLP}

def kept_sets():
    "The recorded sets of the headline: DM without and with weights, the first seed"
    for cell in cells('part == "table1" and dataset == "CMNIST" and ipc == 10 and conflict == .05').itertuples():
        yield cell.method.replace('+KDE', ' + KDE'), load_cell(cell, RESULTS/'paper')

def cost(networks=20):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    syn, test = next(kept_sets())[1].to(device), cmnist(split='test')[:1000].to(device)
    seeds = tuple(range(networks))
    def seconds(f):
        f(1) # once, for what is set up once
        clock = time.perf_counter()
        f(STEPS)
        if device == 'cuda': torch.cuda.synchronize()
        return time.perf_counter()-clock
    def relative_difference(a, b): return ((a(test.images)-b(test.images)).norm()/b(test.images).norm()).item()
    for name, net in NETS.items():
        train = partial(train_classifier, *syn.xy, net=net, **syn.training)
        def as_stack(epochs, train=train, **options): return train(seeds=seeds, stacked=True, epochs=epochs, **options)
        def by_side(epochs, train=train): return train(seeds=seeds, stacked=False, epochs=epochs)
        def alone(epochs, train=train, **options): return [train(seed=s, epochs=epochs, **options) for s in seeds]
        stack_seconds, side_seconds = seconds(as_stack), seconds(by_side)
        alone_seconds = seconds(alone)
        pairs = list(zip(as_stack(1, bf16=False), alone(1, bf16=False), strict=True))
        with torch.no_grad(): apart = max(relative_difference(a, b) for a, b in pairs)
        line = dict(
            net=name, networks=networks, images=len(syn), steps=STEPS,
            alone_seconds=round(alone_seconds, 2), side_seconds=round(side_seconds, 2),
            stack_seconds=round(stack_seconds, 2), apart=apart)
        add('evaluation.jsonl', line, device)

def across():
    test = cmnist(split='test')
    for name, syn in kept_sets():
        scores = evaluate_across(syn, test, train=partial(train_classifier, epochs=300))
        for net, rows in scores.groupby('net', sort=False):
            accuracies = {k: rows[k].round(2).tolist() for k in ('all', 'aligned', 'conflicting')}
            add('across.jsonl', dict(set=name, net=net, epochs=300, **accuracies))

def shown():
    classifier, right = train_bias_classifier(cmnist(split='test'))
    for path in sorted(RESULTS.glob('**/cmnist-c0.05-*/distilled.safetensors')):
        rate = conflict_rate(load(path), classifier)
        add('shown.jsonl', dict(name=path.parent.name, shown=round(rate, 3), reader_percent=round(right, 1)))

if __name__ == '__main__': dict(across=across, shown=shown).get(sys.argv[-1], cost)()

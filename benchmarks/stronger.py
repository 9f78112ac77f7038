"""What makes distribution matching stronger at equal storage and equal training? Adds lines to results/stronger.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/stronger.py            # about an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/stronger.py bg_fmnist  # only the sets whose name begins so

With KDE weights at 5% conflicting, ten images per class, networks of width 48. Every set is evaluated by networks that
are trained for 200 steps."""
import json
import sys
import time
from functools import partial
from pathlib import Path

import torch

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde
from dd_debias.nets import ConvNet
from dd_debias.records import append_line
from dd_debias.run import git_commit
from dd_debias.train import train_classifier

SETS = dict(cmnist=cmnist, bg_fmnist=bg_fmnist)
VARIANTS = { # by their names in results/stronger.jsonl: parts is factor today
    'DM': {},
    'kernel': dict(distance=kernel_distance),
    'parts=2': dict(factor=2),
    'parts=2, kernel': dict(factor=2, distance=kernel_distance)}
NET = partial(ConvNet, width=48)

def measure(train, test, weights, variant, seed):
    clock, how = time.perf_counter(), VARIANTS[variant]
    syn = distill_dm(*train.xy, weights, seed=seed, net=NET, **how)
    seconds = time.perf_counter()-clock
    batches = -(-len(syn.xy[0])//256) # in an epoch
    trainer = partial(train_classifier, net=NET, epochs=200//batches)
    scores = evaluate(syn, test, train=trainer, networks=2, seed=seed)
    accuracies = {k: scores[k].round(2).tolist() for k in ('all', 'aligned', 'conflicting')}
    return dict(
        variant=variant, seed=seed, score=accuracies, seconds=round(seconds, 1),
        threads=torch.get_num_threads(), torch=torch.__version__, commit=git_commit())

if __name__ == '__main__':
    for seed in range(2):
        for name, data in SETS.items():
            if not name.startswith(tuple(sys.argv[1:] or [''])): continue
            train, test = data(.05, seed=seed), data(split='test', seed=seed)
            weights = weigh_kde(*train.xy, seed=seed)
            for variant in VARIANTS:
                line = json.dumps(dict(set=name, **measure(train, test, weights, variant, seed)))
                print(line, flush=True)
                append_line(Path(__file__).resolve().parents[1]/'results/stronger.jsonl', line)

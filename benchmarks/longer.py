"""What longer distilling gives, and gradient matching with the original authors' width: ten images per class, weights
of true groups. Adds lines to results/longer.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/longer.py 0        # two hours on one core
    DD_DEBIAS_DATA=.data python benchmarks/longer.py 0 dsa    # only these

5% conflicting. Accuracies are on validation images of Colored MNIST and of Corrupted CIFAR-10, which are in no training
set, with the shortcut independent of the label. What has been recorded is not measured again."""
import sys
import time
from functools import partial

from recorded import add, is_recorded

from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.evaluate import evaluate
from dd_debias.groups import group_weights
from dd_debias.mtt import distill_mtt
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.train import train_classifier

SETS = dict(cmnist=cmnist, corrupted_cifar10=corrupted_cifar10)
WIDE = partial(ConvNet, width=128)
VARIANTS = dict(
    dm=[partial(distill_dm, steps=steps) for steps in (100, 1000)],
    dsa=[partial(distill_dsa, rounds=rounds, **net) for net in ({}, dict(net=WIDE)) for rounds in (10, 30)],
    mtt=[partial(distill_mtt, steps=60, syn_lr=.1), partial(distill_mtt, steps=100, syn_lr=.1),
         partial(distill_mtt, steps=100, syn_lr=None)]) # None: as `first_step_size` says

def recorded_options(distill):
    options = dict(distill.keywords)
    net = options.pop('net', None)
    return options | (net.keywords if net else {})

def measure(how, name, seed):
    cells = [dict(set=name, distill=how, **recorded_options(distill), seed=seed) for distill in VARIANTS[how]]
    missing = [(cell, distill) for cell, distill in zip(cells, VARIANTS[how], strict=True)
               if not is_recorded('longer.jsonl', cell)]
    if not missing: return
    train, valid = SETS[name](.05, seed=seed), SETS[name](.05, 'valid', seed=seed)[:5000]
    weights = group_weights(train.labels, train.bias)
    for cell, distill in missing:
        start = time.perf_counter()
        syn = distill(*train.xy, weights, seed=seed)
        seconds = time.perf_counter()-start
        scores = evaluate(syn, valid, train=apply_recipe(train_classifier, 'quick'), networks=2, seed=seed)
        add('longer.jsonl', cell | dict(all=scores['all'].round(2).tolist(), seconds=round(seconds, 1)))

if __name__ == '__main__':
    seed, *chosen = sys.argv[1:]
    for how in chosen or VARIANTS:
        for name in SETS: measure(how, name, int(seed))

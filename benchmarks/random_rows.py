"""Which sets are the paper's? Its Random row, which no method touches, on variants of two sets. Adds lines to
results/random_rows.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/random_rows.py corrupted_cifar10 0 1 2  # severities, three seeds
    DD_DEBIAS_DATA=.data python benchmarks/random_rows.py bg_fmnist 0              # backgrounds, the first seed

To reproduce a row of the paper is to compare with its test accuracy, so this is measured on 5,000 test images."""
import sys
from functools import partial
from itertools import product

from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.coresets import distill_random
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.evaluate import evaluate
from dd_debias.train import train_classifier

VARIANTS = dict(
    corrupted_cifar10={f'severity {s}': partial(corrupted_cifar10, severity=s) for s in (4, 5, 3)},
    bg_fmnist={'400 scenes': bg_fmnist} | {
        f'{scenes} scenes, brightness {brightness}': partial(
            bg_fmnist, per_kind=scenes, brightness=brightness, test_scenes='same')
        for scenes, brightness in ((1, .5), (1, .4), (3, .5), (10, .5), (10, .4), (400, .5), (1, 1.), (10, 1.))})
JUDGE = partial(train_classifier, lr=.05, schedule='onecycle')
NETWORKS_AND_EPOCHS = {1: (5, 300), 10: (2, 100), 50: (1, 60)} # by images per class

def measure(name, variant, seed):
    "A line for each share of conflicting images and each number of images per class, but for what has been recorded"
    data = VARIANTS[name][variant]
    test = data(split='test', seed=seed)[:5000]
    for conflict in (.05, .02, .01):
        train = data(conflict, seed=seed)
        for ipc, (networks, epochs) in NETWORKS_AND_EPOCHS.items():
            cell = dict(set=name, variant=variant, conflict=conflict, ipc=ipc, seed=seed)
            if is_recorded('random_rows.jsonl', cell): continue
            syn = distill_random(*train.xy, ipc=ipc, seed=seed)
            scores = evaluate(syn, test, train=partial(JUDGE, epochs=epochs), networks=networks, seed=seed)
            add('random_rows.jsonl', cell | dict(all=scores['all'].round(2).tolist()))

if __name__ == '__main__':
    name, *seeds = sys.argv[1:]
    for seed, variant in product(seeds, VARIANTS[name]): measure(name, variant, int(seed))

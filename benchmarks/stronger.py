"""What makes distilling stronger at equal storage and equal training? Adds lines to results/stronger.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/stronger.py .05 0             # an hour and a half on one core
    DD_DEBIAS_DATA=.data python benchmarks/stronger.py .01 0 DM both     # only these variants
    DD_DEBIAS_DATA=.data python benchmarks/stronger.py .05 0 both --ipc 50

Without labels of the shortcut: `weigh_propensity`. DM and the judge have width 64; DSA is that of the recipe `quick`.
Every judge is trained for the same number of steps: a canvas of four is four images, so it has a quarter of the epochs.
Accuracies are on images that are in no training set: the validation images of CMNIST and of Corrupted CIFAR-10, with
the shortcut independent of the label; on BG-FMNIST the first half of the test images, which chooses nothing. What has
been recorded is not measured again."""
import argparse
import time
from functools import partial

from held_out import DM, DM2X2, judge
from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dm import kernel_distance
from dd_debias.dsa import distill_dsa
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_propensity
from dd_debias.recipes import apply_recipe

SETS = dict(cmnist=cmnist, bg_fmnist=bg_fmnist, corrupted_cifar10=partial(corrupted_cifar10, severity=4))
DSA = apply_recipe(distill_dsa, 'quick')
VARIANTS = {
    'DM': DM,
    'kernel': partial(DM, distance=kernel_distance),
    'factor=2': partial(DM, factor=2),
    'both': DM2X2,
    'DSA': DSA,
    'DSA, factor=2': partial(DSA, factor=2)}

def measure(name, conflict, seed, variants, ipc, groups):
    weigher = 'true groups' if groups else 'propensity'
    shared = dict(set=name, conflict=conflict, ipc=ipc, weights=weigher, seed=seed)
    missing = [v for v in variants if not is_recorded('stronger.jsonl', shared | dict(variant=v))]
    if not missing: return
    train = SETS[name](conflict, seed=seed)
    test = SETS[name](conflict, 'test' if name == 'bg_fmnist' else 'valid', seed=seed)[:5000]
    weights = group_weights(train.labels, train.bias) if groups else weigh_propensity(*train.xy, seed=seed)
    for variant in missing:
        distill = VARIANTS[variant]
        start = time.perf_counter()
        syn = distill(*train.xy, weights, ipc=ipc, seed=seed)
        seconds = time.perf_counter()-start
        scores = judge(syn, test, seed)
        accuracies = {key: scores[key].round(2).tolist() for key in ('all', 'aligned', 'conflicting')}
        add('stronger.jsonl', shared | dict(variant=variant) | accuracies | dict(seconds=round(seconds, 1)))

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('conflict', type=float)
    parser.add_argument('seed', type=int)
    parser.add_argument('variants', nargs='*', default=list(VARIANTS))
    parser.add_argument('--ipc', type=int, default=10)
    parser.add_argument('--groups', action='store_true', help='weights of true groups')
    chosen = parser.parse_args()
    for name in SETS:
        measure(name, chosen.conflict, chosen.seed, chosen.variants, chosen.ipc, chosen.groups)

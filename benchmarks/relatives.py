"""Weights without group labels beside FairDD and COBRA, on their own sets. Adds lines to results/c_mnist.jsonl,
results/c_fmnist.jsonl and results/cifar10_s.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/relatives.py              # ten images per class: five hours on one core
    DD_DEBIAS_DATA=.data python benchmarks/relatives.py 1 --ipc 50   # another seed, fifty images

DM and the stronger DM under the recipe `quick` with no weights, both of ours, which need no labels, and those of true
groups, which are what FairDD and COBRA match; DM with the paper's, too. CIFAR10-S, whose shortcut has two values, also
with those of two shared clusters and of what is measured. Nothing is chosen here. Started again, it continues with what
is not recorded."""
import argparse
from functools import partial
from itertools import product

from recorded import RESULTS, unrecorded

from dd_debias.bias_only import weigh_bias_only
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.evaluate import evaluate
from dd_debias.fairdd_sets import c_fmnist, c_mnist, cifar10_s
from dd_debias.groups import weigh_clusters, weigh_groups, weigh_property
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.recipes import apply_recipe
from dd_debias.run import run, sweep
from dd_debias.train import train_classifier

SETS = [c_mnist, partial(c_mnist, ground='background'), cifar10_s, c_fmnist, partial(c_fmnist, ground='background')]
DM2X2 = partial(distill_dm, factor=2, distance=kernel_distance)
METHODS = [(distill_dm, weigh_kde),
           *product((distill_dm, DM2X2), (None, weigh_propensity, weigh_bias_only, weigh_groups))]
TWO_CLUSTERS = partial(weigh_clusters, num_clusters=2) # grey or in colour
TWO_VALUES = [*product((distill_dm, DM2X2), (TWO_CLUSTERS, weigh_property))]
CELLS = [*product(SETS, METHODS), *product([cifar10_s], TWO_VALUES)]

def evaluator_of(distill):
    "Two networks; of a canvas as many steps as of one image"
    images = getattr(distill, 'keywords', {}).get('factor', 1)**2 # of a canvas
    train = apply_recipe(train_classifier, 'quick')
    return partial(evaluate, networks=2, train=partial(train, epochs=train.keywords['epochs']//images))

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('seeds', type=int, nargs='*', default=[0], metavar='seed')
    parser.add_argument('--ipc', type=int, nargs='+', default=[10])
    chosen = parser.parse_args()
    sweep(unrecorded(
        partial(run, data, partial(distill, ipc=ipc), weigh, evaluator_of(distill), seed=seed, out=RESULTS)
        for seed, ipc, (data, (distill, weigh)) in product(chosen.seeds, chosen.ipc, CELLS)))

"""How sharp should weights be? A set of few conflicting images is also a set of few images that count. Adds lines to
results/tempered.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/tempered.py 0        # three hours on one core
    DD_DEBIAS_DATA=.data python benchmarks/tempered.py 0 1 --set corrupted_cifar10

The stronger DM with no weights, with propensities and with weights of true groups, both as they are and tempered: at
temperature T a weight is its T-th root. Distilled and judged as `held_out.py` does it. What has been recorded is not
measured again."""
import argparse
from functools import partial
from itertools import product

from held_out import DM2X2, measure, split_tenth, split_valid

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_propensity
from dd_debias.weights import normalize_weights

SETS = dict(corrupted_cifar10=partial(split_valid, corrupted_cifar10), cmnist=partial(split_valid, cmnist),
            bg_fmnist=partial(split_tenth, bg_fmnist))
TEMPERATURES = (1., 2., 4.)

def tempered(weights, temperature, labels): return normalize_weights(weights**(1/temperature), labels)

def measure_all(name, conflict, seed):
    train, judges = SETS[name](conflict, seed)
    of_groups = group_weights(train.labels, train.bias)
    propensities = weigh_propensity(*train.xy, seed=seed)
    def add(weights, w, temperature=1.):
        cell = dict(set=name, conflict=conflict, weights=weights, temperature=temperature, seed=seed)
        measure('tempered.jsonl', cell, lambda train: w, train, judges, DM2X2)
    add('none', None)
    for temperature in TEMPERATURES:
        add('propensity', tempered(propensities, temperature, train.labels), temperature)
        add('true groups', tempered(of_groups, temperature, train.labels), temperature)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('seeds', type=int, nargs='+', metavar='seed')
    parser.add_argument('--set', choices=list(SETS), nargs='+', default=list(SETS))
    chosen = parser.parse_args()
    for seed, name, conflict in product(chosen.seeds, chosen.set, (.01, .05)): measure_all(name, conflict, seed)

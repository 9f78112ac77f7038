"""How wide a kernel on photographs? On images that are in no training set. Adds lines to results/kernel_width.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py cifar10_s          # half an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py cifar10_s .4 1     # these variances
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py corrupted_cifar10
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py corrupted_cifar10 propensity .1 .2  # of `weigh_propensity`

Distilled and judged as `held_out.py` does it. Corrupted CIFAR-10 has 5% conflicting images. What has been recorded is
not measured again."""
import sys
from functools import partial

from held_out import measure, split_cifar10_s, split_valid

from dd_debias.corruptions import corrupted_cifar10
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_kde, weigh_propensity

SETS = dict(cifar10_s=split_cifar10_s, corrupted_cifar10=partial(split_valid, corrupted_cifar10, .05))
VARIANCES = (.1, .2, .4)

if __name__ == '__main__':
    dataset, *rest = sys.argv[1:]
    form = rest.pop(0) if rest[:1] == ['propensity'] else ''
    weigh_by = weigh_propensity if form else weigh_kde
    seed = 0
    train, judges = SETS[dataset](seed)
    def measure_form(weights, weigh):
        measure('kernel_width.jsonl', dict(set=dataset, weights=weights, seed=seed), weigh, train, judges)
    for variance in map(float, rest or VARIANCES):
        def weigh(train, variance=variance): return weigh_by(*train.xy, variance=variance, seed=seed)
        measure_form(f'{form} variance {variance:g}'.strip(), weigh)
    measure_form('true groups', lambda train: group_weights(train.labels, train.bias))
    if not form: measure_form('none', lambda train: None)

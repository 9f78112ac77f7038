"""Which weights where there are few images? On images that are in no training set. Adds lines to
results/small_sets.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/small_sets.py 0 1     # seeds; less than an hour each

Of each set 100 or 300 images for each class, 5% of them conflicting, distilled and judged as `held_out.py` does it. Of
each set also what a glance tells, see `find_shortcut`, and how sure bias-only networks are. What has been recorded is
not measured again."""
import sys
from functools import partial

from held_out import JUDGES, measure, split_painted, split_tenth, split_valid
from recorded import add, is_recorded
from shortcuts import drawn, padded, paint_border

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist, paint_color
from dd_debias.bias_only import bias_only_probabilities, weigh_bias_only
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import FrameEncoder
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.shortcut import find_shortcut
from dd_debias.sources import cifar10, fashion_mnist

FILE = 'small_sets.jsonl'

SETS = {
    'Colored MNIST': partial(split_valid, cmnist, .05),
    'Fashion-MNIST in colours': partial(split_painted, lambda part: padded(fashion_mnist(part)), paint_color),
    'CIFAR-10 with borders': partial(split_painted, cifar10, paint_border),
    'Corrupted CIFAR-10': partial(split_valid, corrupted_cifar10, .05),
    'BG-FMNIST': partial(split_tenth, bg_fmnist, .05)}

WEIGHTS = {
    'densities': weigh_kde, 'propensity': weigh_propensity,
    'bias-only': partial(weigh_bias_only, encoder=FrameEncoder)}

def measure_set(name, size, seed):
    whole, judges = SETS[name](seed)
    train = drawn(whole, 10*size, seed) # all have ten classes
    judges = judges[:JUDGES]
    glance = dict(set=name, what='glance', seed=seed, size=size)
    if not is_recorded(FILE, glance):
        verdict = find_shortcut(*train.xy, seed=seed)
        p = bias_only_probabilities(*train.xy, encoder=FrameEncoder, seed=seed)
        add(FILE, glance | dict(answer=verdict['answer'], accuracy=round(verdict['accuracy'], 3),
                                sure=round(p.mean().item(), 3)))
    def measure_form(form, weigh):
        measure(FILE, dict(set=name, weights=form, seed=seed, size=size), weigh, train, judges)
    for form, weigh in WEIGHTS.items():
        def weigh_train(train, weigh=weigh): return weigh(*train.xy, seed=seed)
        measure_form(form, weigh_train)
    measure_form('true groups', lambda train: group_weights(train.labels, train.bias))
    measure_form('none', lambda train: None)

if __name__ == '__main__':
    for seed in map(int, sys.argv[1:]):
        for size in (100, 300):
            for name in SETS: measure_set(name, size, seed)

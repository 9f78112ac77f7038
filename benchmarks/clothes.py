"""Which weights without labels where the shortcut is in the object, and where it is not? On images that are in no
training set. Adds lines to results/clothes.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/clothes.py 0 1     # seeds; an hour each on one core

Distilled and judged as `held_out.py` does it: a tenth of the clothes judges, in colours or before scenes that are drawn
anew; Colored MNIST and Corrupted CIFAR-10, 5% conflicting, are judged by their validation images. Of each set also how
sure bias-only networks are. What has been recorded is not measured again."""
import sys
from functools import partial

from held_out import measure, split_tenth, split_valid
from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.bias_only import bias_only_probabilities, weigh_bias_only
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import FrameEncoder, GlanceEncoder
from dd_debias.fairdd_sets import c_fmnist
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_propensity

FILE = 'clothes.jsonl'

SETS = {
    'C-FMNIST (FG)': partial(split_tenth, partial(c_fmnist, ground='foreground'), .1),
    'C-FMNIST (BG)': partial(split_tenth, partial(c_fmnist, ground='background'), .1),
    'cmnist': partial(split_valid, cmnist, .05),
    'bg_fmnist': partial(split_tenth, bg_fmnist, .05),
    'corrupted_cifar10': partial(split_valid, corrupted_cifar10, .05)}

WEIGHTS = {
    'propensity': weigh_propensity, 'propensity, no frame': partial(weigh_propensity, encoder=GlanceEncoder),
    'bias-only': weigh_bias_only, 'bias-only, frame': partial(weigh_bias_only, encoder=FrameEncoder)}

def measure_set(name, seed):
    train, judges = SETS[name](seed)
    sure = dict(set=name, what='sure', seed=seed)
    if not is_recorded(FILE, sure):
        p = bias_only_probabilities(*train.xy, seed=seed)
        add(FILE, sure | dict(p=round(p.mean().item(), 3)))
    def measure_form(form, weigh): measure(FILE, dict(set=name, weights=form, seed=seed), weigh, train, judges)
    for form, weigh in WEIGHTS.items():
        def weigh_train(train, weigh=weigh): return weigh(*train.xy, seed=seed)
        measure_form(form, weigh_train)
    measure_form('true groups', lambda train: group_weights(train.labels, train.bias))

if __name__ == '__main__':
    for seed in map(int, sys.argv[1:]):
        for name in SETS: measure_set(name, seed)

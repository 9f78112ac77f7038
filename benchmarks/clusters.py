"""Pseudo-groups: clusters within each class, or so many that classes share? On images that are in no training set. Adds
lines to results/clusters.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/clusters.py 0 1     # seeds; half an hour each on one core

Distilled and judged as `held_out.py` does it. CIFAR10-S has a shortcut of two values for ten classes, which a
measurement tells, too; Colored MNIST, BG-FMNIST and Corrupted CIFAR-10, 5% conflicting, have one of ten. Of parts of
CIFAR10-S also how well the weights tell conflicting images. What has been recorded is not measured again."""
import sys
from functools import partial

from held_out import measure, split_cifar10_s, split_tenth, split_valid
from recorded import add, is_recorded
from sklearn.metrics import roc_auc_score

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.groups import group_weights, weigh_clusters, weigh_property
from dd_debias.kde import weigh_propensity

SETS = { # with how many shared clusters
    'CIFAR10-S': (split_cifar10_s, (2, 3, 10)),
    'Corrupted CIFAR-10': (partial(split_valid, corrupted_cifar10, .05), (10,)),
    'BG-FMNIST': (partial(split_tenth, bg_fmnist, .05), (10,)),
    'Colored MNIST': (partial(split_valid, cmnist, .05), (10,))}

def measure_part(train, images, seed):
    cell = dict(set='CIFAR10-S', what='part', images=images, seed=seed)
    if is_recorded('clusters.jsonl', cell): return
    part = train[:images] # they are in random order
    def auc(weights): return round(roc_auc_score(~part.aligned, weights), 3)
    add('clusters.jsonl', cell | {
        '2 shared clusters': auc(weigh_clusters(*part.xy, num_clusters=2, seed=seed)),
        'a measurement': auc(weigh_property(*part.xy))})

if __name__ == '__main__':
    for seed in map(int, sys.argv[1:]):
        for name, (split, numbers) in SETS.items():
            train, judges = split(seed)
            weighers = {f'{n} shared clusters': partial(weigh_clusters, num_clusters=n) for n in numbers}
            weighers |= {'clusters of a class': weigh_clusters, 'propensity': weigh_propensity}
            if name == 'CIFAR10-S': weighers['a measurement'] = weigh_property
            forms = {form: lambda train, weigh=weigh, seed=seed: weigh(*train.xy, seed=seed)
                     for form, weigh in weighers.items()}
            forms |= {'true groups': lambda train: group_weights(train.labels, train.bias), 'none': lambda train: None}
            for form, weigh in forms.items():
                measure('clusters.jsonl', dict(set=name, weights=form, seed=seed), weigh, train, judges)
            if name == 'CIFAR10-S':
                for images in (5000, 10000, 20000): measure_part(train, images, seed)

"""Which weights without labels where the shortcut is in the object, and where it is not? On images that are in no
training set. Adds lines to results/clothes.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/clothes.py 0 1     # seeds; an hour each on one core

DM with ten images per class, networks of width 64, the judge of the recipe `quick`. A tenth of the clothes takes no
part in anything but the accuracy, where their colours or scenes are drawn anew, independent of the class. Colored
MNIST and Corrupted CIFAR-10, 5% conflicting, are judged by their validation images. Of each set also how sure
bias-only networks are. What has been recorded is not measured again."""
import sys
from functools import partial

import torch
from kernel_width import measure, split_corrupted_cifar10
from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.bias_only import bias_only_probabilities, weigh_bias_only
from dd_debias.encoder import FrameEncoder, GlanceEncoder
from dd_debias.fairdd_sets import c_fmnist
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_propensity


def split_clothes(data, conflict, seed):
    "What is distilled, and what judges it"
    train, unbiased = (data(share, seed=seed) for share in (conflict, .9)) # the same clothes
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    held_out, kept = order[:len(train)//10], order[len(train)//10:]
    return train[kept], unbiased[held_out]

def split_cmnist(seed): return cmnist(.05, seed=seed), cmnist(.05, 'valid', seed=seed)

SETS = {
    'C-FMNIST (FG)': partial(split_clothes, partial(c_fmnist, ground='foreground'), .1),
    'C-FMNIST (BG)': partial(split_clothes, partial(c_fmnist, ground='background'), .1),
    'cmnist': split_cmnist, 'bg_fmnist': partial(split_clothes, bg_fmnist, .05),
    'corrupted_cifar10': split_corrupted_cifar10}

WEIGHTS = {
    'propensity': weigh_propensity, 'propensity, no frame': partial(weigh_propensity, encoder=GlanceEncoder),
    'bias-only': weigh_bias_only, 'bias-only, frame': partial(weigh_bias_only, encoder=FrameEncoder)}

if __name__ == '__main__':
    for seed in map(int, sys.argv[1:]):
        for name, split in SETS.items():
            train, judges = split(seed)
            sure = dict(set=name, what='sure', seed=seed)
            if not is_recorded('clothes.jsonl', sure):
                p = bias_only_probabilities(*train.xy, seed=seed)
                add('clothes.jsonl', sure | dict(p=round(p.mean().item(), 3)))
            for form, weigh in WEIGHTS.items():
                def weigh_train(train, weigh=weigh, seed=seed): return weigh(*train.xy, seed=seed)
                measure(name, form, weigh_train, train, judges, seed, 'clothes.jsonl')
            measure(name, 'true groups', lambda train: group_weights(train.labels, train.bias), train, judges, seed,
                    'clothes.jsonl')

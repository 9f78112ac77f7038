"""What do weights without labels lack on coloured clothes? On images that are in no training set. Adds lines to
results/clothes.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/clothes.py 0 1     # seeds; half an hour on one core

DM with ten images per class, networks of width 64, the judge of the recipe `quick`. A tenth of FairDD's training images
takes no part in anything but the accuracy, where its colours are drawn anew, independent of the class. The sets of the
paper, 5% conflicting, are judged by their validation images. What has been recorded is not measured again."""
import sys
from functools import partial

import torch
from kernel_width import measure, split_corrupted_cifar10
from torch import nn
from torch.nn import functional as F

from dd_debias.bias import cmnist
from dd_debias.encoder import GlanceEncoder
from dd_debias.fairdd_sets import c_fmnist
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_propensity
from dd_debias.runtime import seeded


def split_clothes(ground, seed):
    "What is distilled, and what judges it"
    train, unbiased = (c_fmnist(conflict, ground=ground, seed=seed) for conflict in (.1, .9)) # the same images
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    held_out, kept = order[:len(train)//10], order[len(train)//10:]
    return train[kept], unbiased[held_out]

def split_cmnist(seed): return cmnist(.05, seed=seed), cmnist(.05, 'valid', seed=seed)

SETS = {
    'C-FMNIST (FG)': partial(split_clothes, 'foreground'), 'C-FMNIST (BG)': partial(split_clothes, 'background'),
    'cmnist': split_cmnist, 'corrupted_cifar10': split_corrupted_cifar10}

def guess(images, labels, *, steps, seed): # (N,C,H,W), (N,) -> (N,) classes
    "What networks that have hardly begun to train take each third of the images for, at a glance, by the others"
    encoder = GlanceEncoder(images.shape[1])
    with torch.no_grad(): glances = torch.cat([encoder.glance(some.float()/255) for some in images.split(512)])
    guesses = torch.empty_like(labels)
    with seeded(seed):
        third = torch.randint(3, labels.shape)
        for this in range(3):
            others = (third != this).nonzero().flatten()
            head = GlanceEncoder(images.shape[1]).head
            head[-1] = nn.Linear(head[-1].in_features, int(labels.max())+1)
            opt = torch.optim.AdamW(head.parameters(), lr=.001)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
            for _ in range(steps):
                batch = others[torch.randint(len(others), (256,))]
                loss = F.cross_entropy(head(glances[batch]), labels[batch])
                opt.zero_grad()
                loss.backward()
                opt.step()
                schedule.step()
            head.eval()
            with torch.no_grad(): guesses[third == this] = head(glances[third == this]).argmax(1)
    return guesses

def weigh_guesses(images, labels, *, steps, seed):
    return group_weights(labels, guess(images, labels, steps=steps, seed=seed))

WEIGHTS = {
    'propensity': weigh_propensity, 'propensity, no frame': partial(weigh_propensity, encoder=GlanceEncoder),
    'guesses, 50 steps': partial(weigh_guesses, steps=50), 'guesses, 150 steps': partial(weigh_guesses, steps=150)}

if __name__ == '__main__':
    for seed in map(int, sys.argv[1:]):
        for name, split in SETS.items():
            train, judges = split(seed)
            for form, weigh in WEIGHTS.items():
                def weigh_train(train, weigh=weigh, seed=seed): return weigh(*train.xy, seed=seed)
                measure(name, form, weigh_train, train, judges, seed, 'clothes.jsonl')
            measure(name, 'true groups', lambda train: group_weights(train.labels, train.bias), train, judges, seed,
                    'clothes.jsonl')

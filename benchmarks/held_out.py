"""Biased sets of which some training images are held out, and DM with weights as these judge it: ten images per class,
networks of width 64, the judge of the recipe `quick`.

Each `split_…` gives what is distilled, and what judges it: images whose bias is independent of the class."""
from functools import partial

import torch
from recorded import add, is_recorded
from sklearn.metrics import roc_auc_score

from dd_debias.bias import biased
from dd_debias.dataset import BiasedDataset
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.evaluate import evaluate
from dd_debias.fairdd_sets import cifar10_s, paint_grey
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.sources import cifar10
from dd_debias.train import train_classifier
from dd_debias.weights import conflict_share, effective_size

NET = partial(ConvNet, width=64)
DM = partial(distill_dm, net=NET)
DM2X2 = partial(DM, factor=2, distance=kernel_distance)
JUDGES = 2000 # images of `split_painted` that judge

def split_valid(data, conflict, seed):
    "For a set that has validation images"
    return data(conflict, seed=seed), data(conflict, 'valid', seed=seed)

def split_tenth(data, conflict, seed):
    "For a set that has none: a tenth of the training images judges, painted anew"
    train, unbiased = (data(share, seed=seed) for share in (conflict, .9)) # the same images
    held_out, kept = _tenth(len(train), seed)
    return train[kept], unbiased[held_out]

def split_painted(source, paint, seed):
    "For images without a bias: the last ones judge"
    images, labels = source('train')
    return (biased(images[:-JUDGES], labels[:-JUDGES], paint, .05, seed=seed),
            biased(images[-JUDGES:], labels[-JUDGES:], paint, split='valid', seed=seed))

def split_cifar10_s(seed):
    "A tenth of the training images judges, each in colour and in grey as in the test set"
    train = cifar10_s(seed=seed)
    held_out, kept = _tenth(len(train), seed)
    images, labels = (part[held_out] for part in cifar10('train'))
    is_grey = torch.arange(2*len(labels)) >= len(labels)
    images, labels = torch.cat([images, images]), torch.cat([labels, labels])
    bias = labels.where(is_grey == (labels < 5), 10+(~is_grey).long()) # as in `cifar10_s`
    return train[kept], BiasedDataset(paint_grey(images, bias), labels, bias, train.classes)

def _tenth(n, seed): # numbers of a tenth of n images, and of the others
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[:n//10], order[n//10:]

def judge(syn, judges, seed):
    "Two networks; of a canvas as many steps as of one image"
    train = apply_recipe(train_classifier, 'quick')
    train = partial(train, net=NET, epochs=train.keywords['epochs']//syn.factor**2)
    return evaluate(syn, judges, train=train, networks=2, seed=seed)

def measure(file, cell, weigh, train, judges, distill=DM):
    "Distil and judge, and add a line to results/<file> unless it has one of this cell; `cell` has the seed"
    if is_recorded(file, cell): return
    seed = cell['seed']
    weights = weigh(train)
    syn = distill(*train.xy, weights, seed=seed)
    scores = judge(syn, judges, seed)
    line = {key: scores[key].round(2).tolist() for key in ('all', 'deo_max', 'deo_mean')}
    if weights is not None:
        line['share'] = round(conflict_share(weights, ~train.aligned), 3)
        line['auc'] = round(roc_auc_score(~train.aligned, weights), 3)
        line['effective_size'] = round(effective_size(weights, train.labels).median().item())
    add(file, cell | line)

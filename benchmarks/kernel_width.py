"""How wide a kernel on photographs? On images that are in no training set. Adds lines to results/kernel_width.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py cifar10_s          # half an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py cifar10_s .4 1     # these variances
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py corrupted_cifar10
    DD_DEBIAS_DATA=.data python benchmarks/kernel_width.py corrupted_cifar10 propensity .1 .2  # of `weigh_propensity`

DM with ten images per class, networks of width 64, the judge of the recipe `quick`. CIFAR10-S has no validation images:
a tenth of its training images, in colour and in grey as in the test set, takes no part in anything but the accuracy.
Corrupted CIFAR-10 has 5% conflicting images. What has been recorded is not measured again."""
import sys
from functools import partial

import torch
from recorded import add, is_recorded
from sklearn.metrics import roc_auc_score

from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dataset import BiasedDataset
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.fairdd_sets import cifar10_s, paint_grey
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.sources import cifar10
from dd_debias.train import train_classifier
from dd_debias.weights import conflict_share, effective_size

NET = partial(ConvNet, width=64)
JUDGE = partial(evaluate, networks=2, train=partial(apply_recipe(train_classifier, 'quick'), net=NET))
VARIANCES = (.1, .2, .4)

def split_corrupted_cifar10(seed): return corrupted_cifar10(.05, seed=seed), corrupted_cifar10(.05, 'valid', seed=seed)

def split_cifar10_s(seed):
    "What is distilled, and what judges it: each image that is held out, in colour and in grey"
    train = cifar10_s(seed=seed)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    held_out, kept = order[:len(train)//10], order[len(train)//10:]
    images, labels = (part[held_out] for part in cifar10('train'))
    is_grey = torch.arange(2*len(labels)) >= len(labels)
    images, labels = torch.cat([images, images]), torch.cat([labels, labels])
    bias = labels.where(is_grey == (labels < 5), 10+(~is_grey).long()) # as in `cifar10_s`
    return train[kept], BiasedDataset(paint_grey(images, bias), labels, bias, train.classes)

def measure(dataset, name, weigh, train, judges, seed, file='kernel_width.jsonl', **more):
    cell = dict(set=dataset, weights=name, seed=seed) | more
    if is_recorded(file, cell): return
    weights = weigh(train)
    syn = distill_dm(*train.xy, weights, net=NET, seed=seed)
    scores = JUDGE(syn, judges, seed=seed)
    line = {key: scores[key].round(2).tolist() for key in ('all', 'deo_max', 'deo_mean')}
    if weights is not None:
        line['share'] = round(conflict_share(weights, ~train.aligned), 3)
        line['auc'] = round(roc_auc_score(~train.aligned, weights), 3)
        line['effective_size'] = round(effective_size(weights, train.labels).median().item())
    add(file, cell | line)

SETS = dict(cifar10_s=split_cifar10_s, corrupted_cifar10=split_corrupted_cifar10)

if __name__ == '__main__':
    dataset, *rest = sys.argv[1:]
    form = rest.pop(0) if rest[:1] == ['propensity'] else ''
    weigh_by = weigh_propensity if form else weigh_kde
    seed = 0
    train, judges = SETS[dataset](seed)
    for variance in map(float, rest or VARIANCES):
        def weigh(train, variance=variance): return weigh_by(*train.xy, variance=variance, seed=seed)
        measure(dataset, f'{form} variance {variance:g}'.strip(), weigh, train, judges, seed)
    measure(dataset, 'true groups', lambda train: group_weights(train.labels, train.bias), train, judges, seed)
    if not form: measure(dataset, 'none', lambda train: None, train, judges, seed)

"""Is the verdict right? On ten sets without a shortcut and ten into which one is planted. Adds lines to
results/shortcuts.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/shortcuts.py 0      # ten minutes on one core
    DD_DEBIAS_DATA=.data python benchmarks/shortcuts.py 0 mark # only sets with this word in their names
    DD_DEBIAS_DATA=.data python benchmarks/shortcuts.py weights 0 # which weights find the conflicting images, into
                                                                  # results/planted.jsonl

Sets without: whole test sets and parts of them, whose classes may differ in simple ways by nature. Planted: what goes
with the class is the colour of the object, its background, a corruption, a coloured border, or a mark in one of nine
places. What has been recorded is not measured again."""
import sys
import time
from functools import partial

import numpy as np
import torch
from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import biased, cmnist, paint_color
from dd_debias.bias_only import weigh_bias_only
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dataset import BiasedDataset
from dd_debias.encoder import FrameEncoder
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.pixels import pad
from dd_debias.shortcut import find_shortcut
from dd_debias.sources import cifar10, data_root, fashion_mnist, mnist
from dd_debias.weights import conflict_share

BORDERS = torch.tensor([
    [200, 30, 30], [30, 30, 200], [30, 160, 30], [230, 160, 0], [130, 0, 190], [0, 180, 180], [250, 110, 180],
    [120, 70, 20], [128, 128, 128], [240, 240, 0], [0, 0, 90], [255, 255, 255]], dtype=torch.uint8)

def in_rgb(data): return data[0].expand(-1, 3, -1, -1).contiguous(), data[1]

def scenes(): # 6,000 photographs of 64x64, twelve places
    with np.load(data_root()/'miniplaces.npz') as f: images, labels = f['images'], f['labels']
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels).long()

def paint_border(images, bias, *, seed=0):
    edge = images.shape[-1]//16
    painted = BORDERS[bias][:, :, None, None].expand_as(images).clone()
    painted[:, :, edge:-edge, edge:-edge] = images[:, :, edge:-edge, edge:-edge]
    return painted

def paint_mark(images, bias, *, seed=0): # a black and white square, an eighth of the image, in one of nine places
    size = images.shape[-1]
    edge = size//8
    painted = images.clone()
    for i, place in enumerate(bias.tolist()):
        row, column = divmod(place%9, 3)
        y = row*(size-edge)//2
        x = column*(size-edge)//2
        painted[i, :, y:y+edge, x:x+edge] = 255
        painted[i, :, y+edge//4:y+edge-edge//4, x+edge//4:x+edge-edge//4] = 0
    return painted

def classes(data, *numbers): # only these, numbered from 0
    images, labels = data
    numbers = torch.tensor(numbers)
    chosen = torch.isin(labels, numbers)
    return images[chosen], torch.searchsorted(numbers, labels[chosen])

def first(data, n): return data[0][:n], data[1][:n]

def drawn(data, n, seed): # n images of a set, at random
    return data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n]]

def padded(data): return pad(data[0]), data[1]

def plant(data, paint, conflict, seed):
    images, labels = data
    return biased(images, labels, paint, conflict=conflict, seed=seed)

SETS = { # name -> what is planted, share of conflicting images, the set
    'MNIST': ('', None, lambda s: padded(mnist('test'))),
    'MNIST, 1,500 images': ('', None, lambda s: first(padded(mnist('test')), 1500)),
    'Colored MNIST, any colour': ('', None, lambda s: drawn(cmnist(.9, seed=s), 10000, s)),
    'Fashion-MNIST': ('', None, lambda s: padded(fashion_mnist('test'))),
    'Fashion-MNIST, tops': ('', None, lambda s: classes(padded(fashion_mnist('test')), 0, 2, 4, 6)),
    'CIFAR-10': ('', None, lambda s: cifar10('test')),
    'CIFAR-10, animals': ('', None, lambda s: classes(cifar10('test'), 2, 3, 4, 5, 6, 7)),
    'CIFAR-10, vehicles': ('', None, lambda s: classes(cifar10('test'), 0, 1, 8, 9)),
    'CIFAR-10, cats and dogs': ('', None, lambda s: classes(cifar10('test'), 3, 5)),
    'scenes': ('', None, lambda s: scenes()),
    'Colored MNIST': ('colour', .02, lambda s: drawn(cmnist(.02, seed=s), 10000, s)),
    'Fashion-MNIST in colours': (
        'colour', .05, lambda s: plant(padded(fashion_mnist('test')), paint_color, .05, s)),
    'BG-FMNIST': ('background', .05, lambda s: bg_fmnist(.05, seed=s)),
    'BG-FMNIST, 5,000 images': ('background', .02, lambda s: drawn(bg_fmnist(.02, seed=s), 5000, s)),
    'Corrupted CIFAR-10': ('corruption', .02, lambda s: drawn(corrupted_cifar10(.02, seed=s), 10000, s)),
    'Corrupted CIFAR-10, 5,000 images': ('corruption', .05, lambda s: drawn(corrupted_cifar10(.05, seed=s), 5000, s)),
    'CIFAR-10 with borders': ('border', .05, lambda s: plant(cifar10('test'), paint_border, .05, s)),
    'scenes with borders': ('border', .02, lambda s: plant(scenes(), paint_border, .02, s)),
    'CIFAR-10 animals with marks': (
        'mark', .05, lambda s: plant(classes(cifar10('test'), 2, 3, 4, 5, 6, 7), paint_mark, .05, s)),
    'MNIST with marks': ('mark', .02, lambda s: plant(in_rgb(padded(mnist('test'))), paint_mark, .02, s)),
}

def measure(name, seed):
    planted, conflict, make = SETS[name]
    cell = dict(set=name, planted=planted, conflict=conflict, seed=seed)
    if is_recorded('shortcuts.jsonl', cell): return
    data = make(seed)
    images, labels = data.xy if isinstance(data, BiasedDataset) else data
    start = time.perf_counter()
    verdict = find_shortcut(images, labels, seed=seed)
    seconds = time.perf_counter()-start
    numbers = {key: value if isinstance(value, (str, int)) else round(value, 4) for key, value in verdict.items()}
    add('shortcuts.jsonl', cell | numbers | dict(seconds=round(seconds, 1)))

WEIGHERS = dict(
    kde=weigh_kde, propensity=weigh_propensity, bias_only=weigh_bias_only,
    bias_only_frame=partial(weigh_bias_only, encoder=FrameEncoder))

def measure_weights(name, seed): # the share of the weight on conflicting images
    planted, conflict, make = SETS[name]
    if not planted: return
    data = make(seed)
    for weigher, weigh in WEIGHERS.items():
        cell = dict(set=name, planted=planted, conflict=conflict, seed=seed, weights=weigher)
        if is_recorded('planted.jsonl', cell): continue
        start = time.perf_counter()
        share = conflict_share(weigh(*data.xy, seed=seed), ~data.aligned)
        seconds = time.perf_counter()-start
        add('planted.jsonl', cell | dict(share=round(share, 4), seconds=round(seconds, 1)))

if __name__ == '__main__':
    do = measure_weights if sys.argv[1] == 'weights' else measure
    seed, *words = sys.argv[2:] if do is measure_weights else sys.argv[1:]
    for name in SETS:
        if all(word in name for word in words): do(name, int(seed))

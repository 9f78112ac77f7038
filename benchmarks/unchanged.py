"""Is the fast code as accurate as plain torch? DM + KDE on Colored MNIST, 5% conflicting, ten images per class, over
seeds. Adds lines to results/unchanged.jsonl.

    export DD_DEBIAS_DATA=.data
    python benchmarks/unchanged.py            # with this package, twenty minutes on one core
    python benchmarks/unchanged.py reference  # plain torch: float32, torch's own layers, chunks of 256; an hour

Both sides get the same weights and the same seeds, so they see the same images in the same order."""
import contextlib
import sys
import time
from functools import partial
from unittest.mock import patch

from recorded import add
from torch import nn

import dd_debias.dm
import dd_debias.nets
import dd_debias.train
from dd_debias.bias import cmnist
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde
from dd_debias.nets import map_chunks
from dd_debias.train import train_classifier


def map_large_chunks(f, x, size=None, **how): return map_chunks(f, x, size or 256, **how)

@contextlib.contextmanager
def plain_torch():
    def in_turn(x, conv, norm): return norm(conv(x))
    layers = patch.multiple(dd_debias.nets, conv_norm=in_turn, AvgPool2x2=partial(nn.AvgPool2d, 2))
    in_dm = patch.object(dd_debias.dm, 'map_chunks', map_large_chunks)
    in_train = patch.object(dd_debias.train, 'map_chunks', map_large_chunks)
    with layers, in_dm, in_train: yield

if __name__ == '__main__':
    side = 'reference' if 'reference' in sys.argv[1:] else 'ours'
    for seed in range(5):
        train, test = cmnist(.05, seed=seed), cmnist(split='test', seed=seed)
        weights = weigh_kde(*train.xy, seed=seed)
        with plain_torch() if side == 'reference' else contextlib.nullcontext():
            clock = time.perf_counter()
            bf16 = False if side == 'reference' else None
            syn = dd_debias.dm.distill_dm(*train.xy, weights, seed=seed, bf16=bf16)
            seconds = time.perf_counter()-clock
            scores = evaluate(syn, test, train=partial(train_classifier, epochs=100), networks=1, seed=seed, bf16=bf16)
        accuracies = {k: scores[k].round(2).tolist() for k in ('all', 'aligned', 'conflicting')}
        add('unchanged.jsonl', dict(side=side, seed=seed, seconds=round(seconds, 1), **accuracies))

"""The same weights without distilling: one small network trained on the whole of Corrupted CIFAR-10, 5% conflicting,
severity 4. Adds lines to results/whole_set.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/whole_set.py 0            # the seed
    DD_DEBIAS_DATA=.data python benchmarks/whole_set.py 0 plain lff  # only these

A ConvNet of width 32, ten epochs, crops and flips; on the last step, on test images. Nothing is chosen here. What has
been recorded is not measured again."""
import sys
import time
from functools import partial

from recorded import add, is_recorded

from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import FrameEncoder, GlanceEncoder
from dd_debias.evaluate import accuracy
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_kde
from dd_debias.lff import train_lff
from dd_debias.nets import ConvNet
from dd_debias.selecmix import train_selecmix
from dd_debias.train import train_classifier

OPTIONS = dict(net=partial(ConvNet, width=32), epochs=10, augment='crop_flip')
BY_WEIGHT = partial(train_classifier, sampling='importance', batch=128, schedule='cosine')
WEIGH = { # no entry: no weights
    'inverse': partial(weigh_kde, encoder=GlanceEncoder),
    'propensity': partial(weigh_kde, encoder=GlanceEncoder, normalizer='propensity'),
    'propensity, frame': partial(weigh_kde, encoder=FrameEncoder, normalizer='propensity')}
TRAINERS = dict(lff=train_lff, selecmix=train_selecmix) # no entry: plain training on images drawn by weight
ROWS = ('plain', *WEIGH, 'true groups', *TRAINERS)

def weights_of(row, train, seed):
    if row == 'true groups': return group_weights(train.labels, train.bias)
    return WEIGH[row](*train.xy, seed=seed) if row in WEIGH else None

def measure(row, seed):
    cell = dict(set='corrupted_cifar10', conflict=.05, row=row, seed=seed)
    if is_recorded('whole_set.jsonl', cell): return
    train = corrupted_cifar10(.05, severity=4, seed=seed)
    test = corrupted_cifar10(split='test', severity=4, seed=seed)
    start = time.perf_counter()
    weights = weights_of(row, train, seed)
    weighed = time.perf_counter()
    model = TRAINERS.get(row, BY_WEIGHT)(*train.xy, weights, seed=seed, **OPTIONS)
    trained = time.perf_counter()
    scores = accuracy(model, test)
    add('whole_set.jsonl', cell | {part: round(scores[part], 2) for part in ('all', 'aligned', 'conflicting')} | dict(
        seconds_weigh=round(weighed-start, 1), seconds_train=round(trained-weighed, 1)))

if __name__ == '__main__':
    seed, *rows = sys.argv[1:]
    for row in rows or ROWS: measure(row, int(seed))

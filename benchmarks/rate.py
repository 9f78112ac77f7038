"""Which learning rate of DM's images, by images per class? Adds lines to results/rate.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/rate.py 0       # an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/rate.py 0 1     # only one image per class

5% conflicting, networks of width 64. Accuracies are on images that are in no training set: the validation images of
CMNIST and of Corrupted CIFAR-10, with the shortcut independent of the label; on BG-FMNIST the first half of the test
images, which chooses nothing. What has been recorded is not measured again."""
import sys
import time
from functools import partial

from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dm import distill_dm
from dd_debias.encoder import GlanceEncoder
from dd_debias.evaluate import evaluate
from dd_debias.groups import group_weights
from dd_debias.kde import weigh_kde
from dd_debias.nets import ConvNet
from dd_debias.train import train_classifier

SETS = dict(corrupted_cifar10=partial(corrupted_cifar10, severity=4), bg_fmnist=bg_fmnist, cmnist=cmnist)
FORMS = {1: ('plain', 'inverse', 'true groups'), 10: ('true groups',), 50: ('true groups',)}
RATES = {1: (1, 3, 10), 10: (3, 10, 30), 50: (10, 22, 50)}
JUDGE = partial(train_classifier, epochs=100, batch=25, lr=.02, schedule='cosine')

def measure(name, ipc, seed):
    cells = [dict(set=name, ipc=ipc, form=form, lr=lr, steps=100, seed=seed) for form in FORMS[ipc]
             for lr in RATES[ipc]]
    missing = [cell for cell in cells if not is_recorded('rate.jsonl', cell)]
    if not missing: return
    train = SETS[name](.05, seed=seed)
    test = SETS[name](.05, 'test' if name == 'bg_fmnist' else 'valid', seed=seed)[:5000]
    weights = {'plain': None, 'true groups': group_weights(train.labels, train.bias)}
    if 'inverse' in FORMS[ipc]: weights['inverse'] = weigh_kde(*train.xy, encoder=GlanceEncoder, seed=seed)
    for cell in missing:
        start = time.perf_counter()
        syn = distill_dm(*train.xy, weights[cell['form']], ipc=ipc, lr=cell['lr'], steps=cell['steps'],
                         net=partial(ConvNet, width=64), seed=seed)
        seconds = time.perf_counter()-start
        scores = evaluate(syn, test, train=JUDGE, networks=3 if ipc == 1 else 1, seed=seed)
        add('rate.jsonl', cell | dict(
            all=scores['all'].round(2).tolist(), conflicting=scores['conflicting'].round(2).tolist(),
            seconds=round(seconds, 1)))

if __name__ == '__main__':
    seed, *chosen = map(int, sys.argv[1:])
    for ipc in chosen or RATES:
        for name in SETS: measure(name, ipc, seed)

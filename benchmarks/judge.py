"""A judge in a tenth of the original authors' steps that gives their accuracy. Adds lines to results/judge.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/judge.py choose 0            # schedules, on validation images, an hour
    DD_DEBIAS_DATA=.data python benchmarks/judge.py choose 1 authors 'cosine .03'  # some of them, another seed
    DD_DEBIAS_DATA=.data python benchmarks/judge.py show 0 'cosine .03' # the chosen one, on test images

The twelve sets cover three data sets, three sizes, DM and random images, plain and weighted."""
import sys
import time
from functools import partial

from recorded import add, is_recorded

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.coresets import distill_random
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.groups import group_weights
from dd_debias.train import train_classifier

SETS = dict(cmnist=cmnist, corrupted_cifar10=partial(corrupted_cifar10, severity=4), bg_fmnist=bg_fmnist)
DISTILLERS = dict(dm=distill_dm, random=distill_random)
TWELVE = [ # data, images per class, distiller, weighted (by true groups, so that no estimate enters)
    ('corrupted_cifar10', 1, 'dm', False), ('corrupted_cifar10', 10, 'dm', True),
    ('corrupted_cifar10', 10, 'random', True), ('corrupted_cifar10', 50, 'dm', True),
    ('cmnist', 1, 'dm', True), ('cmnist', 10, 'random', False), ('cmnist', 10, 'dm', True), ('cmnist', 50, 'dm', False),
    ('bg_fmnist', 1, 'random', False), ('bg_fmnist', 10, 'dm', True), ('bg_fmnist', 10, 'dm', False),
    ('bg_fmnist', 50, 'random', True)]
CHOSEN_ON = [TWELVE[i] for i in (1, 6, 3, 7, 0, 4)]
AUTHORS = {'authors': dict(epochs=1000)}
TENTH = {
    'authors, a tenth': {},
    'step .03': dict(lr=.03),
    'cosine .03': dict(lr=.03, schedule='cosine'),
    'onecycle .03': dict(lr=.03, schedule='onecycle'),
    'onecycle .05': dict(lr=.05, schedule='onecycle'),
    'onecycle .1': dict(lr=.1, schedule='onecycle'),
    'onecycle .2': dict(lr=.2, schedule='onecycle'),
    'batch 25, cosine .01': dict(batch=25, schedule='cosine'),
    'batch 25, cosine .02': dict(batch=25, lr=.02, schedule='cosine'),
    'batch 10, cosine .01': dict(batch=10, schedule='cosine')}

def make_set(name, ipc, distiller, weighted):
    "5% conflicting"
    train = SETS[name](.05, seed=0)
    weights = group_weights(train.labels, train.bias) if weighted else None
    return DISTILLERS[distiller](*train.xy, weights, ipc=ipc, seed=0)

def measure(one, split, judges, seed):
    "A line for each judge of a set; what has been recorded is not measured again"
    name, ipc, distiller, weighted = one
    cells = {judge: dict(split=split, judge=judge, set=name, ipc=ipc, distill=distiller, weighted=weighted, seed=seed)
             for judge in judges}
    missing = {judge: cell for judge, cell in cells.items() if not is_recorded('judge.jsonl', cell)}
    if not missing: return
    syn = make_set(*one)
    test = SETS[name](split=split, seed=0)[:5000]
    for judge, cell in missing.items():
        train = partial(train_classifier, **(dict(epochs=100) | judges[judge]))
        start = time.perf_counter()
        scores = evaluate(syn, test, train=train, networks=5 if ipc == 1 else 1, seed=seed)
        seconds = time.perf_counter()-start
        add('judge.jsonl', cell | dict(all=scores['all'].round(2).tolist(), seconds=round(seconds, 1)))

if __name__ == '__main__':
    what, seed, *chosen = sys.argv[1:]
    if what == 'choose':
        judges = TENTH | AUTHORS
        for one in CHOSEN_ON:
            measure(one, 'valid', {name: judges[name] for name in chosen or judges}, int(seed))
    else:
        judges = {name: TENTH[name] for name in ('authors, a tenth', *chosen)}
        for one in sorted(TWELVE, key=lambda one: one[1]): measure(one, 'test', AUTHORS | judges, int(seed))

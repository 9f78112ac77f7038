"""A judge in a tenth of the original authors' steps that gives their accuracy. Adds lines to results/judge.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/judge.py choose     # schedules, on validation images, half an hour
    DD_DEBIAS_DATA=.data python benchmarks/judge.py show 0     # the chosen one on test images, two hours a network

The twelve sets cover three data sets, three sizes, DM and random images, plain and weighted."""
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from recorded import add

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.coresets import distill_random
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.distilled import load, save
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
AUTHORS = dict(epochs=1000)
TENTH = {
    'authors, a tenth': {},
    'step .03': dict(lr=.03),
    'cosine .03': dict(lr=.03, schedule='cosine'),
    'onecycle .03': dict(lr=.03, schedule='onecycle'),
    'onecycle .05': dict(lr=.05, schedule='onecycle'),
    'onecycle .1': dict(lr=.1, schedule='onecycle'),
    'onecycle .2': dict(lr=.2, schedule='onecycle')}

FOLDER = Path(tempfile.gettempdir())/'judge_sets'

def make_set(name, ipc, distiller, weighted):
    "Distilled once, 5% conflicting"
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER/f'{name}-{ipc}-{distiller}-{weighted}.safetensors'
    if not file.exists():
        train = SETS[name](.05, seed=0)
        weights = group_weights(train.labels, train.bias) if weighted else None
        save(DISTILLERS[distiller](*train.xy, weights, ipc=ipc, seed=0), file)
    return load(file)

def measure(chosen, split, judge, settings, network):
    for name, ipc, distiller, weighted in chosen:
        syn = make_set(name, ipc, distiller, weighted)
        test = SETS[name](split=split, seed=0)[:5000]
        networks = 5 if ipc == 1 else 1
        start = time.perf_counter()
        train = partial(train_classifier, **(dict(epochs=100) | settings))
        scores = evaluate(syn, test, train=train, networks=networks, seed=network)
        add('judge.jsonl', dict(
            split=split, judge=judge, set=name, ipc=ipc, distill=distiller, weighted=weighted, seed=network,
            all=scores['all'].round(2).tolist(), seconds=round(time.perf_counter()-start, 1)))

if __name__ == '__main__':
    network = int((sys.argv[2:] or [0])[0])
    if sys.argv[1] == 'choose':
        for one in CHOSEN_ON:
            for judge, settings in TENTH.items(): measure([one], 'valid', judge, settings, network)
            measure([one], 'valid', 'authors', AUTHORS, network)
    else:
        judges = {'authors': AUTHORS} | {j: TENTH[j] for j in ('authors, a tenth', *sys.argv[3:])}
        for one in sorted(TWELVE, key=lambda one: one[1]):
            for judge, settings in judges.items(): measure([one], 'test', judge, settings, network)

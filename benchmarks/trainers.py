"""Trainers on a whole biased set, without distilling: Colored MNIST, one small ConvNet each, five epochs. Adds lines to
results/cmnist.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/trainers.py        # one and a half hours on one core
    DD_DEBIAS_DATA=.data python benchmarks/trainers.py 1 lff  # the second seed, and only trainers whose name begins so

Started again, it continues with what is not recorded yet."""
import sys
from functools import partial
from pathlib import Path

from dd_debias.bias import cmnist
from dd_debias.dfa import train_dfa
from dd_debias.evaluate import evaluate
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.lff import train_lff
from dd_debias.nets import ConvNet
from dd_debias.run import run, sweep
from dd_debias.selecmix import train_selecmix
from dd_debias.train import train_classifier

TRAINERS = {
    'plain': train_classifier,
    'lff': train_lff,
    'selecmix': train_selecmix,
    'dfa': train_dfa,
    'reweighted': train_reweighted,
    'groupdro': train_groupdro,
    'clusterdro': train_clusterdro,
    'selecmix alone': partial(train_selecmix, lff=False)}
NET = partial(ConvNet, width=32)
RESULTS = Path(__file__).resolve().parents[1]/'results'

def run_of(train, conflict, seed):
    "A run, not started, that trains and evaluates one network"
    evaluator = partial(evaluate, train=partial(train, net=NET, epochs=5, augment=''), networks=1)
    data = partial(cmnist, conflict=conflict)
    return partial(run, data, None, None, evaluator, seed=seed, out=RESULTS, show_progress=True)

if __name__ == '__main__':
    seed = int(next((a for a in sys.argv[1:] if a.isdecimal()), 0))
    wanted = tuple(a for a in sys.argv[1:] if not a.isdecimal()) or ''
    chosen = [train for name, train in TRAINERS.items() if name.startswith(wanted)]
    sweep(run_of(train, conflict, seed) for train in chosen for conflict in (.05, .01))

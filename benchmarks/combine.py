"""Debias inside a distiller's network, or first: Colored MNIST, 5% conflicting, ten images per class. Adds lines to results/cmnist.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/combine.py    # half an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/combine.py 1  # the second seed"""
import sys
from functools import partial
from pathlib import Path
from dd_debias.bias import cmnist
from dd_debias.combine import distill_dm_surrogate, distill_mtt_surrogate
from dd_debias.dfa import train_dfa
from dd_debias.dm import distill_dm
from dd_debias.experiment import cooked, run, sweep
from dd_debias.lff import weigh_lff
from dd_debias.nets import ConvNet
from dd_debias.train import evaluate, train_classifier

NARROW = partial(ConvNet, width=32)
RUNS = {
    'inside: DFA': (partial(distill_dm_surrogate, surrogate=partial(train_dfa, net=NARROW, epochs=3)), None),
    'inside: SelecMix': (distill_mtt_surrogate, None),
    'first: LfF': (distill_dm, partial(weigh_lff, net=NARROW, epochs=2))}

if __name__ == '__main__':
    judge = partial(evaluate, train=cooked(train_classifier), networks=2)
    sweep(partial(run, partial(cmnist, conflict=.05), partial(distill, ipc=10), weigh, judge, seed=int(sys.argv[1]) if sys.argv[1:] else 0,
                  out=Path(__file__).resolve().parents[1]/'results', show_progress=True) for distill, weigh in RUNS.values())

"""Where to debias, at full size, 5% conflicting, ten images per class. Adds lines to results/cmnist.jsonl and bg_fmnist.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/combine.py        # inside the distiller's network, or first, on Colored MNIST; half an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/combine.py after  # afterwards, on Fashion-MNIST before scenes, networks of width 32; ten minutes"""
import sys
from functools import partial
from pathlib import Path
from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.combine import distill_dm_surrogate, distill_mtt_surrogate
from dd_debias.dfa import train_dfa
from dd_debias.dm import distill_dm
from dd_debias.experiment import cooked, run, sweep
from dd_debias.lff import weigh_lff
from dd_debias.nets import ConvNet
from dd_debias.selecmix import train_selecmix
from dd_debias.train import evaluate, train_classifier

NARROW = partial(ConvNet, width=32)
PLAIN = cooked(train_classifier)
RUNS = dict(
    elsewhere=[(cmnist, partial(distill_dm_surrogate, surrogate=partial(train_dfa, net=NARROW, epochs=3)), None, PLAIN), # inside
               (cmnist, distill_mtt_surrogate, None, PLAIN), (cmnist, distill_dm, partial(weigh_lff, net=NARROW, epochs=2), PLAIN)], # inside, first
    after=[(bg_fmnist, partial(distill_dm, net=NARROW), None, partial(train, net=NARROW)) for train in (PLAIN, train_dfa, train_selecmix)])

if __name__ == '__main__':
    sweep(partial(run, partial(data, conflict=.05), partial(distill, ipc=10), weigh, partial(evaluate, train=train, networks=2),
                  out=Path(__file__).resolve().parents[1]/'results', show_progress=True)
          for data, distill, weigh, train in RUNS['after' if 'after' in sys.argv[1:] else 'elsewhere'])

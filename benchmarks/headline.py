"""The headline result, from images to the verdict on five networks: as `dd-debias run` makes it, and with networks so
narrow and so few steps that it is soonest. Adds records to results/cmnist.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/headline.py         # both: ten minutes on two cores
    DD_DEBIAS_DATA=.data python benchmarks/headline.py soon    # the second

What `soon` changes was chosen on validation images."""
import sys
from functools import partial

from recorded import RESULTS

from dd_debias.bias import cmnist
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.run import run
from dd_debias.train import train_classifier

TRAIN = apply_recipe(train_classifier, 'quick')
SETTINGS = { # of weights, distilling, training
    'quick': (dict(), dict(), dict()),
    'soon': (dict(encoder_steps=200), dict(net=partial(ConvNet, width=64), steps=40),
             dict(net=partial(ConvNet, width=48), epochs=75))}

if __name__ == '__main__':
    for name in sys.argv[1:] or SETTINGS:
        weights, distilling, training = SETTINGS[name]
        run(partial(cmnist, conflict=.05), partial(distill_dm, ipc=10, **distilling), partial(weigh_kde, **weights),
            partial(evaluate, networks=5, train=partial(TRAIN, **training)), out=RESULTS, show_progress=True)

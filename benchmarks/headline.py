"""The headline result, from images to the verdict on five networks: as `dd-debias run` makes it, and twice with fewer
steps and narrower networks. Adds records to results/cmnist.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/headline.py           # all: ten minutes on two cores, three with bfloat16
    DD_DEBIAS_DATA=.data python benchmarks/headline.py sooner    # the second

What the second and third change was chosen on validation images. Weights that a run in results/ has kept are not
computed again, so measure in a fresh clone."""
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
    'sooner': (dict(), dict(steps=60), dict(net=partial(ConvNet, width=64), epochs=80)),
    'soonest': (dict(encoder_steps=200), dict(net=partial(ConvNet, width=64), steps=40),
                dict(net=partial(ConvNet, width=48), epochs=75))}

if __name__ == '__main__':
    for name in sys.argv[1:] or SETTINGS:
        weights, distilling, training = SETTINGS[name]
        run(partial(cmnist, conflict=.05), partial(distill_dm, ipc=10, **distilling), partial(weigh_kde, **weights),
            partial(evaluate, networks=5, train=partial(TRAIN, **training)), out=RESULTS, show_progress=True)

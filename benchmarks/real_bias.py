"""BAR, whose bias nobody painted: what weights give on its test set. Adds lines to results/bar.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/real_bias.py        # forty minutes on one core
    DD_DEBIAS_DATA=.data python benchmarks/real_bias.py 1 2    # these seeds

Ten images per class at 64x64, DM and random images, networks of width 64; no weights, the paper's, and inverse
propensities. Nothing is chosen here: all options are the package's defaults, since BAR has no validation images.
Started again, it continues with what is not recorded yet."""
import sys
from functools import partial

from recorded import RESULTS, unrecorded

from dd_debias.coresets import distill_random
from dd_debias.dm import distill_dm
from dd_debias.encoder import GlanceEncoder
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.natural import bar
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.run import run, sweep
from dd_debias.train import train_classifier

NET = partial(ConvNet, width=64)
DISTILLERS = [partial(distill_dm, net=NET), distill_random]
WEIGHTS = [None, partial(weigh_kde, encoder=GlanceEncoder), weigh_propensity]
JUDGE = partial(evaluate, networks=2, train=apply_recipe(partial(train_classifier, net=NET), 'quick'))

if __name__ == '__main__':
    sweep(unrecorded(partial(run, bar, distill, weigh, JUDGE, seed=seed, out=RESULTS)
          for seed in map(int, sys.argv[1:] or range(3)) for distill in DISTILLERS for weigh in WEIGHTS))

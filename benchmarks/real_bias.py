"""BAR, whose bias nobody painted: what weights give on its test set. Adds lines to results/bar.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/real_bias.py            # forty minutes on one core
    DD_DEBIAS_DATA=.data python benchmarks/real_bias.py 1 2        # these seeds
    DD_DEBIAS_DATA=.data python benchmarks/real_bias.py 0 --whole  # distils nothing; plain training: ten minutes

Ten images per class at 64x64, DM and random images, networks of width 64; no weights, the paper's, and inverse
propensities. With `--whole` networks of width 32 are trained on all images, plainly and by the trainers that debias,
for forty epochs with crops and flips. Nothing is chosen here: BAR has no validation images, so all other options are
the package's defaults. Started again, it continues with what is not recorded yet."""
import argparse
from functools import partial
from itertools import product

from recorded import RESULTS, unrecorded

from dd_debias.coresets import distill_random
from dd_debias.dfa import train_dfa
from dd_debias.dm import distill_dm
from dd_debias.encoder import GlanceEncoder
from dd_debias.evaluate import evaluate
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.lff import train_lff
from dd_debias.natural import bar
from dd_debias.nets import ConvNet
from dd_debias.recipes import apply_recipe
from dd_debias.run import run, sweep
from dd_debias.selecmix import train_selecmix
from dd_debias.train import train_classifier

NET = partial(ConvNet, width=64)
DISTILLERS = [partial(distill_dm, net=NET), distill_random]
WEIGHTS = [None, partial(weigh_kde, encoder=GlanceEncoder), weigh_propensity]
JUDGE = partial(evaluate, networks=2, train=apply_recipe(partial(train_classifier, net=NET), 'quick'))

TRAINERS = [partial(train_classifier, schedule='cosine'), train_lff, train_dfa, train_selecmix]
ON_ALL = dict(net=partial(ConvNet, width=32), epochs=40, augment='crop_flip')
DISTILLED = [(distill, weigh, JUDGE) for distill, weigh in product(DISTILLERS, WEIGHTS)]
WHOLE = [(None, None, partial(evaluate, networks=2, train=partial(trainer, **ON_ALL))) for trainer in TRAINERS]

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('seeds', type=int, nargs='*', default=[0, 1, 2], metavar='seed')
    parser.add_argument('--whole', action='store_true', help='train on all images, distil nothing')
    chosen = parser.parse_args()
    rows = WHOLE if chosen.whole else DISTILLED
    sweep(unrecorded(partial(run, bar, *row, seed=seed, out=RESULTS) for seed, row in product(chosen.seeds, rows)))

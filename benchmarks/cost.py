"""How cost grows: a step of DM with its settings, KDE weights with the number of images, an epoch of evaluation with
the number of networks. Adds lines to results/cost.jsonl.

    python benchmarks/cost.py         # five minutes on two cores
    python benchmarks/cost.py --device cuda

One setting is varied at a time; the others stay at ten classes, ten images per class, 64 real images of each class in
a step, width 128, 32x32."""
import argparse
from functools import partial

import torch
from recorded import add
from speed import noise
from torch.utils.benchmark import Timer

from dd_debias.dm import distill_dm
from dd_debias.kde import kde_weights
from dd_debias.nets import ConvNet
from dd_debias.train import train_classifier

BASE = dict(classes=10, ipc=10, batch=64, width=128)
DM = dict(ipc=(1, 10, 20, 50, 100), batch=(16, 64, 256), width=(16, 32, 64, 128, 256), classes=(2, 5, 10, 20, 50))
IMAGES, NETWORKS = (7500, 15000, 30000, 60000, 120000), (1, 5, 10, 20)

def dm(device, classes, ipc, batch, width, steps=3):
    x, y = noise(200*classes, 3).to(device), (torch.arange(200*classes)%classes).to(device)
    return partial(distill_dm, x, y, ipc=ipc, batch=batch, net=partial(ConvNet, width=width), steps=steps), steps

def kde(device, images):
    features = torch.randn(images, 128, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(features, dim=1).to(device)
    return partial(kde_weights, z, (torch.arange(images)%10).to(device)), 1

def evaluator(device, networks, epochs=2):
    "As evaluation does it: networks one by one on a CPU, stacked on a GPU"
    x, y = noise(100, 3).to(device), (torch.arange(100)%10).to(device)
    train = partial(train_classifier, x, y, epochs=epochs)
    def one_by_one(): return [train(seed=s) for s in range(networks)]
    stacked = partial(train, seeds=tuple(range(networks)))
    return one_by_one if device == 'cpu' else stacked, epochs

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    device = p.parse_args().device
    points = [('DM step', k, v, dm, BASE | {k: v}) for k, values in DM.items() for v in values]
    points += [('KDE weights', 'images', n, kde, dict(images=n)) for n in IMAGES]
    # "the judge" is evaluation: the name that this measurement has in results/cost.jsonl
    points += [('epoch of the judge', 'networks', n, evaluator, dict(networks=n)) for n in NETWORKS]
    for what, setting, value, make, how in points:
        f, units = make(device, **how)
        m = Timer('f()', globals=dict(f=f), num_threads=torch.get_num_threads()).blocked_autorange(min_run_time=2)
        add('cost.jsonl', dict(what=what, setting=setting, value=value, seconds=float(f'{m.median/units:.4g}')), device)

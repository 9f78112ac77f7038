"""Will it fit, how long will it take: seconds of a step and peak memory against the size of the problem, for each
distiller, for weights and for the training of an evaluation. Adds lines to results/cost.jsonl.

    python benchmarks/cost.py          # twenty minutes on two cores
    python benchmarks/cost.py DM MTT   # only these
    python benchmarks/cost.py --device cuda

One setting is varied at a time; the others stay at ten classes, ten images per class, 32x32, networks of width 128, and
else at the defaults. Each point has a process of its own, so that its peak memory is its own. A step is the mean of the
first few, without the very first."""
import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import torch
from recorded import add

from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.encoder import train_encoder
from dd_debias.estimate import Trial, try_steps
from dd_debias.kde import kde_weights
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.run import peak_memory
from dd_debias.train import train_classifier

BASE = dict(classes=10, ipc=10, size=32, width=128)
GROWING = dict(ipc=(1, 50), size=(16, 64), classes=(2, 50), width=(32, 64))
OF_IMAGES = dict(images=(15000, 60000, 240000))

def problem(device, classes, size, per_class=100):
    "Random bytes in place of images: their content does not change the time"
    labels = torch.arange(classes*per_class)%classes
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (len(labels), 3, size, size), dtype=torch.uint8, generator=generator)
    return images.to(device), labels.to(device)

def of_distiller(distill, device, classes, ipc, size, width):
    data = problem(device, classes, size)
    return partial(distill, *data, ipc=ipc, net=partial(ConvNet, width=width))

def dm(**at): return lambda hook: of_distiller(distill_dm, **at)(on_step=hook)

def dsa(**at): return lambda hook: of_distiller(distill_dsa, **at)(on_step=hook)

def mtt(**at):
    distill = partial(distill_mtt, syn_lr=.01, experts=partial(expert_trajectories, experts=1, steps=1))
    return lambda hook: of_distiller(distill, **at)(on_step=hook)

def expert(device, classes, ipc, size, width):
    data = problem(device, classes, size)
    train = partial(expert_trajectories, *data, experts=1, epochs=100, steps=1, net=partial(ConvNet, width=width))
    return lambda hook: train(on_step=hook)

def evaluation(device, classes, ipc, size, width):
    data = problem(device, classes, size, per_class=ipc)
    return lambda hook: train_classifier(*data, net=partial(ConvNet, width=width), on_step=hook)

def encoder(device, size):
    data = problem(device, 10, size)
    return lambda hook: train_encoder(*data, on_step=hook)

def kde(device, images):
    z = torch.nn.functional.normalize(torch.randn(images, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    z, labels = z.to(device), (torch.arange(images)%10).to(device)
    def phase(hook):
        for step in range(4): # a step is the whole of it
            kde_weights(z, labels)
            hook(step+1, 4, {})
    return phase

ROWS = { # what a step is, how to make it, what is held, what is varied
    'DM': ('an update of the images', dm, BASE, GROWING),
    'DSA': ('an update of the images', dsa, BASE, GROWING),
    'MTT': ('an update of the images, a student of 8 steps', mtt, BASE, GROWING),
    'MTT expert': ('a step on 256 real images', expert, BASE, {k: GROWING[k] for k in ('size', 'width')}),
    'encoder': ('a step on 256 real images', encoder, dict(size=32), dict(size=GROWING['size'])),
    'KDE': ('the weights of all images', kde, {}, OF_IMAGES),
    'evaluation': ('an epoch of one network', evaluation, BASE, GROWING)}

def measure(row, device, at)->tuple[Trial, int, int]: # with peak memory before and after
    phase = ROWS[row][1](device=device, **at)
    before = peak_memory(device)
    trial = try_steps(phase, patience=4)
    return trial._replace(state={}, result=None), before, peak_memory(device)

def points(row):
    "What is varied, to what, and all settings of the point"
    _, _, base, varied = ROWS[row]
    if base: yield None, None, base
    for setting, values in varied.items():
        for value in values: yield setting, value, base | {setting: value}

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('names', nargs='*', metavar='name', help=', '.join(ROWS))
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = p.parse_args()
    if (unknown := set(args.names)-set(ROWS)): p.error(f'{unknown.pop()} is none of '+', '.join(ROWS))
    for row in args.names or ROWS:
        for setting, value, at in points(row):
            line = dict(what=row, step=ROWS[row][0], setting=setting, value=value)
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
                try: trial, before, after = process.submit(measure, row, args.device, at).result()
                except BrokenProcessPool: # the system ended it
                    add('cost.jsonl', line | dict(seconds=None, memory_mb=None, added_mb=None), args.device)
                    continue
            seconds = float(f'{trial.a_step:.3g}')
            add('cost.jsonl', line | dict(seconds=seconds, memory_mb=after, added_mb=after-before), args.device)

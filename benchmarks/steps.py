"""Seconds of one step of each distiller, and its memory, on Colored MNIST at ten images per class. Adds lines to
results/steps.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/steps.py              # two minutes on two cores
    DD_DEBIAS_DATA=.data python benchmarks/steps.py --paper      # the original authors' batch and width, on a GPU
    DD_DEBIAS_DATA=.data python benchmarks/steps.py cpu --paper  # or on a CPU anyway

Each distiller has a process of its own, so that its peak memory is its own."""
import multiprocessing
import sys
import time
from functools import partial

import torch
from recorded import add

from dd_debias.bias import cmnist
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.recipes import apply_recipe
from dd_debias.run import default_arguments, peak_memory

STEPS = 12 # that are timed
DISTILLERS = { # with the argument that says how long a run is
    'DM': (distill_dm, 'steps'), 'DM, factor=2': (partial(distill_dm, factor=2), 'steps'),
    'DSA': (distill_dsa, 'rounds'), 'MTT': (distill_mtt, 'steps')}

def median_interval(marks):
    if len(marks) <= 2: return None
    return round(torch.tensor(marks, dtype=torch.float64).diff().median().item(), 4)

def measure(name, recipe, device):
    train = cmnist().to(device)
    f, length = DISTILLERS[name]
    distill = apply_recipe(f, recipe)
    whole = default_arguments(distill)
    width = default_arguments(whole['net']).get('width')
    distill = partial(distill, **{length: 2 if name == 'DSA' else STEPS})
    if name.startswith('DM') and device == 'cpu': distill = partial(distill, compiled=True) # as in a whole run
    before = peak_memory(device)
    if name == 'MTT': # one epoch of one expert is enough to time it, and as many as are asked for to start from
        asked = whole['max_start_epoch']-1+whole['expert_epochs']
        distill = partial(distill, experts=partial(expert_trajectories, experts=1, epochs=asked, steps=20))
    marks = dict(expert=[time.perf_counter()], step=[])
    def mark(what):
        def hook(*_):
            if train.images.is_cuda: torch.cuda.synchronize()
            marks[what].append(time.perf_counter())
        return hook
    of_experts = dict(on_expert=mark('expert')) if name == 'MTT' else {}
    distill(*train.xy, ipc=10, on_step=mark('step'), **of_experts)
    add('steps.jsonl', dict(
        distiller=name, recipe=recipe, width=width, updates=whole[length]*(whole.get('outer') or 1),
        step_seconds=median_interval(marks['step']), expert_epoch_seconds=median_interval(marks['expert']),
        before_memory_mb=before, peak_memory_mb=peak_memory(device)), device=device)

if __name__ == '__main__':
    given = [a for a in sys.argv[1:] if a != '--paper']
    device = given[0] if given else 'cuda' if torch.cuda.is_available() else 'cpu'
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for name in DISTILLERS: pool.apply(measure, (name, 'paper' if '--paper' in sys.argv else 'quick', device))

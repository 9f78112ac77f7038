"""Seconds of one step of each distiller, and its memory, on Colored MNIST at ten images per class. Adds lines to
results/steps.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/steps.py              # two minutes on two cores
    DD_DEBIAS_DATA=.data python benchmarks/steps.py --paper      # the original authors' batch and width, on a GPU
    DD_DEBIAS_DATA=.data python benchmarks/steps.py cpu --paper  # or on a CPU anyway

Each distiller has a process of its own, so that its peak memory is its own."""
import json
import multiprocessing
import platform
import sys
import time
from functools import partial
from pathlib import Path

import torch

from dd_debias.bias import cmnist
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.recipes import apply_recipe
from dd_debias.records import append_line
from dd_debias.run import git_commit, peak_memory

STEPS = 12
DISTILLERS = {
    'DM': partial(distill_dm, steps=STEPS), 'DM, factor=2': partial(distill_dm, steps=STEPS, factor=2),
    'DSA': partial(distill_dsa, rounds=1, outer=STEPS), 'MTT': partial(distill_mtt, steps=STEPS)}

def median_interval(marks):
    if len(marks) <= 2: return None
    return round(torch.tensor(marks, dtype=torch.float64).diff().median().item(), 4)

def measure(name, recipe, device):
    train = cmnist().to(device)
    distill = apply_recipe(DISTILLERS[name], recipe)
    before = peak_memory(device)
    if name == 'MTT': # one epoch of one expert is enough to time it, and as many as are asked for to start from
        asked = distill.keywords.get('max_start_epoch', 4)-1+distill.keywords.get('expert_epochs', 1)
        distill = partial(distill, experts=partial(expert_trajectories, experts=1, epochs=asked, steps=20))
    marks = dict(expert=[time.perf_counter()], step=[])
    def mark(what):
        def hook(*_):
            if train.images.is_cuda: torch.cuda.synchronize()
            marks[what].append(time.perf_counter())
        return hook
    of_experts = dict(on_expert=mark('expert')) if name == 'MTT' else {}
    distill(*train.xy, ipc=10, on_step=mark('step'), **of_experts)
    machine = torch.cuda.get_device_name() if train.images.is_cuda else platform.machine()
    return dict(
        distiller=name, recipe=recipe,
        step_seconds=median_interval(marks['step']), expert_epoch_seconds=median_interval(marks['expert']),
        before_memory_mb=before, peak_memory_mb=peak_memory(device), steps=STEPS, threads=torch.get_num_threads(),
        device=machine, torch=torch.__version__, commit=git_commit())

if __name__ == '__main__':
    given = [a for a in sys.argv[1:] if a != '--paper']
    device = given[0] if given else 'cuda' if torch.cuda.is_available() else 'cpu'
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for name in DISTILLERS:
            line = json.dumps(pool.apply(measure, (name, 'paper' if '--paper' in sys.argv else 'default', device)))
            print(line, flush=True)
            append_line(Path(__file__).resolve().parents[1]/'results/steps.jsonl', line)

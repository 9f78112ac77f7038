"""Kill runs at random moments and start them again until they end: is anything lost, doubled or different?

    python tools/kill_runs.py dm dsa mtt random herding kcenter sweep shared --kills 50

Each attempt is a process of its own, ended by SIGKILL. A run that has ended is compared with an unbroken one: the bits
of its set and weights, its accuracies, its lines of records, its files, and its seconds with those of all attempts.
One line of JSON for each kind is printed, and added to results/kills.jsonl. Linux and macOS."""
import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from dd_debias.bias import color_digits
from dd_debias.coresets import distill_herding, distill_kcenter, distill_random
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.evaluate import evaluate
from dd_debias.files import load_tensors
from dd_debias.kde import weigh_kde
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.run import run, sweep
from dd_debias.train import train_classifier

narrow = partial(ConvNet, width=8)
short_experts = partial(expert_trajectories, experts=3, epochs=2, steps=5, batch=32)
DISTILLERS = {
    'dm': partial(distill_dm, ipc=2, steps=150, batch=8, net=narrow),
    'dsa': partial(distill_dsa, ipc=2, rounds=4, outer=15, inner=1, batch=8, net=narrow),
    'mtt': partial(distill_mtt, ipc=2, steps=50, lr=1., syn_steps=2, max_start_epoch=1, net=narrow,
                   experts=short_experts),
    'random': partial(distill_random, ipc=2),
    'herding': partial(distill_herding, ipc=2, net=narrow),
    'kcenter': partial(distill_kcenter, ipc=2, net=narrow)}
one_run = partial(run, partial(color_digits, conflict=.05), weigh=weigh_kde,
                  evaluate=partial(evaluate, networks=2, train=partial(train_classifier, net=narrow, epochs=20)))

def work(kind:str, out:Path)->None:
    "What is killed"
    if kind == 'sweep':
        sweep(partial(one_run, DISTILLERS[name], seed=seed, out=out) for name in ('dm', 'random') for seed in (0, 1))
    elif kind == 'shared': one_run(DISTILLERS['dm'], out=out, device='cpu,cpu')
    else: one_run(DISTILLERS[kind], out=out)

def attempt(
    job:Callable,
    log:Path, # gets what the process prints
    kill_after:float|None=None, # seconds; None: leave it alone
)->int: # exit status, or minus the signal that ended it
    "Do a job in a process of its own"
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        status = 1
        try:
            job()
            status = 0
        finally: os._exit(status)
    end = time.monotonic()+(float('inf') if kill_after is None else kill_after)
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended: return os.waitstatus_to_exitcode(status)
        time.sleep(.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def found_in(out:Path)->dict:
    "What is compared"
    lines = [json.loads(line) for file in out.glob('*.jsonl') for line in file.read_text().splitlines()]
    tensors = {p.relative_to(out): load_tensors(p)[0] for p in sorted(out.glob('*/*.safetensors'))}
    return dict(
        lines=sorted((line['name'], str(line['accuracy'])) for line in lines),
        tensors={str(p): {name: t.tolist() for name, t in held.items()} for p, held in tensors.items()},
        files=sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()),
        seconds=sum(sum(line['seconds'].values()) for line in lines))

def kill_runs(kind:str, kills:int)->dict:
    "Kill until there are so many kills; what came of it"
    rng = random.Random(kind)
    result = dict(kind=kind, kills=0, runs=0, different=[], most_seconds_uncounted=0., most_seconds_too_much=0.)
    with tempfile.TemporaryDirectory() as d:
        whole = Path(d)/'whole'
        start = time.perf_counter()
        status = attempt(partial(work, kind, whole), whole.with_suffix('.log'))
        if status: raise SystemExit(whole.with_suffix('.log').read_text())
        unbroken = time.perf_counter()-start # seconds
        expected = found_in(whole)
        while result['kills'] < kills:
            result['runs'] += 1
            out = Path(d)/str(result['runs'])
            start = time.perf_counter()
            killed = 0
            while True:
                kill_after = rng.uniform(.02, unbroken) if killed < 6 else None
                status = attempt(partial(work, kind, out), out.with_suffix('.log'), kill_after)
                if status != -signal.SIGKILL: break
                killed += 1
            spent = time.perf_counter()-start
            result['kills'] += killed
            found = found_in(out)
            parts = [part for part in ('lines', 'tensors', 'files') if found[part] != expected[part]]
            if status: parts.append(f'status {status}')
            if parts: result['different'].append([result['runs'], *parts])
            uncounted = (spent-found['seconds'])/(killed+1) # of an attempt, starting the process included
            result['most_seconds_uncounted'] = round(max(result['most_seconds_uncounted'], uncounted), 2)
            result['most_seconds_too_much'] = round(max(result['most_seconds_too_much'], -uncounted), 2)
    return result | dict(unbroken=round(unbroken, 1), torch=torch.__version__)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kinds', nargs='+', choices=[*DISTILLERS, 'sweep', 'shared'])
    parser.add_argument('--kills', type=int, default=50, help='of each kind')
    args = parser.parse_args()
    torch.set_num_threads(1) # a fork after threads have worked would hang
    for kind in args.kinds:
        line = json.dumps(kill_runs(kind, args.kills))
        print(line, flush=True)
        with open('results/kills.jsonl', 'a') as f: f.write(line+'\n')

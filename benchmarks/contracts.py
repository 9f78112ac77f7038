"""Do the contracts hold on a device? Every weigh function, distiller and trainer through its own check, small, and each
distiller's images beside those of the CPU. Adds lines to results/contracts.jsonl: what holds, or the sentence that says
what does not.

    python benchmarks/contracts.py --device cuda     # a minute or two"""
import argparse
import time
from functools import partial

import torch
from recorded import add

from dd_debias.bias import color_digits
from dd_debias.coresets import distill_herding, distill_kcenter, distill_random
from dd_debias.dfa import train_dfa
from dd_debias.distilled import check_distiller
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.dsa import distill_dsa
from dd_debias.kde import weigh_kde, weigh_propensity
from dd_debias.lff import train_lff
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.selecmix import train_selecmix
from dd_debias.train import check_trainer, train_classifier
from dd_debias.weights import check_weights

NET = partial(ConvNet, width=8)
DM = partial(distill_dm, steps=3, batch=8, net=NET)
EXPERTS = partial(expert_trajectories, experts=1, epochs=2, steps=2, batch=8)
WEIGH = dict(kde=partial(weigh_kde, encoder_steps=20), propensity=weigh_propensity)
DISTILL = dict(
    random=distill_random, herding=distill_herding, kcenter=distill_kcenter, dm=DM,
    dm_kernel_factor=partial(DM, distance=kernel_distance, factor=2), dm_weighted=partial(DM, sampling='weighted'),
    dsa=partial(distill_dsa, rounds=1, outer=2, inner=1, batch=8, net=NET),
    mtt=partial(distill_mtt, steps=2, syn_steps=2, max_start_epoch=1, experts=EXPERTS, net=NET))
TRAIN = dict(classifier=train_classifier, lff=train_lff, dfa=train_dfa, selecmix=train_selecmix)

def outcome(check):
    "What became of a check, and its seconds"
    start = time.perf_counter()
    try:
        more = check() or {}
        said = 'holds'
    except Exception as e: more, said = {}, f'{type(e).__name__}: {e}'
    return dict(outcome=said, seconds=round(time.perf_counter()-start, 2), **more)

def distance_from_cpu(distill, data):
    "Of the images, relative to those of the CPU: another order of the same sums, and what grows out of it"
    here, there = distill(*data.xy, ipc=2).images.cpu(), distill(*data.to('cpu').xy, ipc=2).images
    return round(((here-there).norm()/there.norm()).item(), 6)

def checks(data):
    for name, f in WEIGH.items(): yield 'weigh', name, partial(check_weights, f, *data.xy)
    for name, f in DISTILL.items():
        yield 'distill', name, partial(check_distiller, f, *data.xy)
        if not data.images.is_cpu: yield 'beside the CPU', name, lambda f=f: dict(distance=distance_from_cpu(f, data))
    for name, f in TRAIN.items(): yield 'train', name, partial(check_trainer, partial(f, net=NET, epochs=1), *data.xy)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    device = p.parse_args().device
    for kind, name, check in checks(color_digits()[:200].to(device)):
        add('contracts.jsonl', dict(kind=kind, name=name, on=device) | outcome(check), device)

"""What makes the ConvNet fast on a CPU, and what was tried and not kept: seconds to embed 2,560 images of 32x32, width
128. Adds lines to results/layers.jsonl.

    python benchmarks/layers.py   # ten minutes on two cores"""
import multiprocessing
import time
from contextlib import nullcontext
from functools import partial
from statistics import median
from unittest.mock import patch

import torch
from recorded import add
from torch import nn

import dd_debias.nets
from dd_debias.nets import ConvNet, autocast_bf16

ROUNDS = 5

def in_turn(x, conv, norm): return norm(conv(x))

plain = dict(conv_norm=in_turn, AvgPool2x2=partial(nn.AvgPool2d, 2))
VARIANTS = { # what to swap, bfloat16 (None: where the hardware has it), images in a block, layout, torch.compile
    "torch's layers, float32, 256 at a time": (plain, False, 256, None, False),
    '32 at a time': (plain, False, 32, None, False),
    'bfloat16': (plain, None, 32, None, False),
    'AvgPool2x2': (dict(conv_norm=in_turn), None, 32, None, False),
    'conv_norm': ({}, None, 32, None, False),
    'torch.compile': ({}, None, 32, None, True), # in which the two before are PyTorch's own
    "not kept: torch's layers, channels last": (plain, None, 32, torch.channels_last, False)}

def swapped(swaps): return patch.multiple(dd_debias.nets, **swaps) if swaps else nullcontext()

def embedding(bf16, block, layout, compiled):
    "f(): embed all images"
    net = ConvNet().requires_grad_(False)
    x = torch.randn(2560, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    blocks = x.split(block)
    if layout:
        net = net.to(memory_format=layout)
        blocks = [b.contiguous(memory_format=layout) for b in blocks]
    embed = torch.compile(net.backbone) if compiled else net.backbone
    def embed_all():
        with torch.no_grad(), autocast_bf16('cpu', bf16): return [embed(b) for b in blocks]
    return embed_all

def measure(name):
    "Seconds of the first time and of the second"
    swaps, *how = VARIANTS[name]
    times = []
    with swapped(swaps):
        embed_all = embedding(*how)
        for _ in range(2):
            clock = time.perf_counter()
            embed_all()
            times.append(time.perf_counter()-clock)
    return times

def in_a_process(name): # how its memory lies changes the time by a quarter
    with multiprocessing.get_context('spawn').Pool(1) as pool: return pool.apply(measure, (name,))

if __name__ == '__main__':
    rounds = [{name: in_a_process(name) for name in VARIANTS} for _ in range(ROUNDS)] # in turns
    for name in VARIANTS:
        first, times = zip(*(times_of[name] for times_of in rounds), strict=True)
        add('layers.jsonl', dict(
            variant=name, seconds=round(median(times), 3), fastest=round(min(times), 3), slowest=round(max(times), 3),
            first=round(max(first), 2)))

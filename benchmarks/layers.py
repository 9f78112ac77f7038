"""What makes the ConvNet fast on a CPU, and what was tried and not kept: seconds to embed 2,560 images of 32x32, width
128. Adds lines to results/layers.jsonl.

    python benchmarks/layers.py   # three minutes on two cores"""
import time
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import torch
from recorded import add
from torch import nn
from torch.utils.benchmark import Timer

import dd_debias.nets
from dd_debias.nets import ConvNet, autocast_bf16


def in_turn(x, conv, norm): return norm(conv(x))

plain = dict(conv_norm=in_turn, AvgPool2x2=partial(nn.AvgPool2d, 2))
VARIANTS = { # what to swap, bfloat16 (None: where the hardware has it), images in a block, layout, torch.compile
    "torch's layers, float32, 256 at a time": (plain, False, 256, None, False),
    '32 at a time': (plain, False, 32, None, False),
    'bfloat16': (plain, None, 32, None, False),
    'AvgPool2x2': (dict(conv_norm=in_turn), None, 32, None, False),
    'conv_norm (what we use)': ({}, None, 32, None, False),
    "not kept: torch's layers, channels last": (plain, None, 32, torch.channels_last, False),
    "not kept: torch's layers, torch.compile": (plain, None, 32, None, True),
    'not kept: torch.compile of ours': ({}, None, 32, None, True)}

def measure(bf16, block, layout, compiled):
    "Seconds, and those of the first time"
    net = ConvNet().requires_grad_(False)
    blocks = x.split(block)
    if layout:
        net = net.to(memory_format=layout)
        blocks = [b.contiguous(memory_format=layout) for b in blocks]
    embed = torch.compile(net.backbone) if compiled else net.backbone
    def embed_all():
        with torch.no_grad(), autocast_bf16('cpu', bf16): return [embed(b) for b in blocks]
    clock = time.perf_counter()
    embed_all()
    first = time.perf_counter()-clock
    timer = Timer('f()', globals=dict(f=embed_all), num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=4).median, first

if __name__ == '__main__':
    x = torch.randn(2560, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, (swaps, *how) in VARIANTS.items():
        with patch.multiple(dd_debias.nets, **swaps) if swaps else nullcontext(): seconds, first = measure(*how)
        add('layers.jsonl', dict(variant=name, seconds=round(seconds, 3), first=round(first, 2)))

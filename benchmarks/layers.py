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

plain = dict(MatmulConv2d=nn.Conv2d, AvgPool2x2=partial(nn.AvgPool2d, 2))
VARIANTS = { # layers to swap, bfloat16, images in a block, layout, torch.compile
    "torch's layers, float32, 256 at a time": (plain, False, 256, None, False),
    '32 at a time': (plain, False, 32, None, False),
    'bfloat16': (plain, True, 32, None, False),
    'AvgPool2x2': (dict(MatmulConv2d=nn.Conv2d), True, 32, None, False),
    'MatmulConv2d (what we use)': ({}, True, 32, None, False),
    "not kept: torch's layers, channels last": (plain, True, 32, torch.channels_last, False),
    "not kept: torch's layers, torch.compile": (plain, True, 32, None, True),
    'not kept: torch.compile of ours': ({}, True, 32, None, True)}

if __name__ == '__main__':
    x = torch.randn(2560, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, (swaps, bf16, block, layout, compiled) in VARIANTS.items():
        with patch.multiple(dd_debias.nets, **swaps) if swaps else nullcontext(): net = ConvNet().requires_grad_(False)
        blocks = x.split(block)
        if layout:
            net = net.to(memory_format=layout)
            blocks = [b.contiguous(memory_format=layout) for b in blocks]
        embed = torch.compile(net.backbone) if compiled else net.backbone
        def embed_all(embed=embed, blocks=blocks, bf16=bf16):
            with torch.no_grad(), autocast_bf16('cpu') if bf16 else nullcontext(): return [embed(b) for b in blocks]
        clock = time.perf_counter()
        embed_all()
        first = time.perf_counter()-clock
        timer = Timer('f()', globals=dict(f=embed_all), num_threads=torch.get_num_threads())
        m = timer.blocked_autorange(min_run_time=4)
        add('layers.jsonl', dict(variant=name, seconds=round(m.median, 3), first=round(first, 2)))

"""Milliseconds of the hot paths on a GPU, and of other ways that were tried. Adds lines to results/gpu_times.jsonl.

    python benchmarks/gpu_times.py     # two minutes, half of them to compile"""
import time
from functools import partial

import torch
import torch.nn.functional as F
from recorded import add

from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet, map_chunks
from dd_debias.runtime import torch_defaults
from dd_debias.train import train_classifier


def timed(f, n, warm=2):
    "Milliseconds of one call"
    for _ in range(warm): f()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(n): f()
    torch.cuda.synchronize()
    return round(1000*(time.perf_counter()-start)/n, 2)

def as_matrix(x, conv, norm):
    "The first convolution and its norm as one product of matrices, as `conv_norm` does on a CPU"
    n, _, h, w = x.shape
    columns = F.unfold(x, 3, padding=1) # (N,27,H*W)
    columns = columns-columns.mean(2, keepdim=True)
    filters = conv.weight.flatten(1)
    with torch.autocast(x.device.type, enabled=False):
        covariance = columns@columns.mT/(h*w)
        variance = (filters@covariance*filters).sum(2)
    scale = norm.weight*(variance+norm.eps).rsqrt()
    matrix = torch.cat([scale[..., None]*filters, norm.bias[:, None].expand(n, -1, -1)], 2)
    return torch.bmm(matrix, torch.cat([columns, torch.ones_like(columns[:, :1])], 1)).view(n, -1, h, w)

def embedding():
    net = ConvNet().cuda().requires_grad_(False)
    x = torch.randn(2560, 3, 32, 32, device='cuda') # the original authors' batch of ten classes
    conv, norm = tuple(net.backbone)[:2]
    def first(f): return partial(map_chunks, f, x)
    yield 'embedding of 2,560 images', timed(partial(map_chunks, net.embed, x), 10)
    with torch_defaults(): yield 'embedding of 2,560 images, repeatable', timed(partial(map_chunks, net.embed, x), 10)
    yield 'its first convolution and norm', timed(first(lambda chunk: norm(conv(chunk))), 10)
    yield 'its first convolution and norm, as a matrix', timed(first(lambda chunk: as_matrix(chunk, conv, norm)), 10)
    compiled = partial(map_chunks, net.embed, x, compiled=True)
    yield 'compiling', timed(compiled, 1, warm=0)
    yield 'embedding of 2,560 images, compiled', timed(compiled, 10)

def evaluation():
    x = torch.randint(256, (500, 3, 32, 32), dtype=torch.uint8, device='cuda')
    y = torch.arange(500, device='cuda')%10
    for n in (10, 100, 500):
        for stacked in (True, False):
            train = partial(train_classifier, x[:n], y[:n], seeds=range(5), epochs=10, stacked=stacked)
            way = 'stacked' if stacked else 'side by side'
            yield f'ten epochs of five networks, {n} images, {way}', timed(train, 1, warm=1)

def updates():
    "Of the images, with the original authors' batch, loops and width"
    x = torch.randint(256, (20000, 3, 32, 32), dtype=torch.uint8, device='cuda')
    y = torch.arange(20000, device='cuda')%10
    experts = partial(expert_trajectories, steps=20, lr=.01, net=ConvNet)
    few = partial(experts, experts=1, epochs=5)
    yield 'an update of DM', median_step(partial(distill_dm, x, y, steps=40, lr=1., batch=256, compiled=True))
    yield 'an update of DSA', median_step(partial(
        distill_dsa, x, y, rounds=1, outer=4, inner=50, batch=256, net=ConvNet))
    yield 'a step of ten experts', median_step(partial(experts, x, y, experts=10, epochs=3, stack_size=10))/20
    yield 'an update of MTT', median_step(partial(
        distill_mtt, x, y, steps=6, syn_steps=20, batch_syn=None, syn_lr=.01, experts=few, net=ConvNet))

def median_step(f):
    "Milliseconds between two calls of a hook"
    marks = []
    def on_step(*_):
        torch.cuda.synchronize()
        marks.append(time.perf_counter())
    f(on_step=on_step)
    return round(1000*torch.tensor(marks).double().diff().median().item(), 2)

if __name__ == '__main__':
    for part in (embedding, evaluation, updates):
        for what, ms in part(): add('gpu_times.jsonl', dict(what=what, ms=ms), 'cuda')

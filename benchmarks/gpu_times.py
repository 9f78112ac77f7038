"""Milliseconds of the hot paths on a GPU, and of other ways that were tried. Adds lines to results/gpu_times.jsonl.

    python benchmarks/gpu_times.py     # two minutes, half of them to compile"""
import time
from functools import partial

import torch
import torch.nn.functional as F
from recorded import add

from dd_debias.nets import ConvNet, map_chunks
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

if __name__ == '__main__':
    for part in (embedding, evaluation):
        for what, ms in part(): add('gpu_times.jsonl', dict(what=what, ms=ms), 'cuda')

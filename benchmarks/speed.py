"""Our hot paths against plain references (reference.py) at equal settings, on one machine, in one run. Adds lines to
results/speed.jsonl.

    python benchmarks/speed.py               # all of it, forty minutes on two cores without bfloat16
    python benchmarks/speed.py dm kde        # only these
    python benchmarks/speed.py --authors DIR # beside the original authors' own code too, cloned there (authors.py)
    python benchmarks/speed.py --device cuda
    python benchmarks/speed.py --smoke       # every row once, tiny, and nothing is recorded

Ten images per class, 256 real ones of each class in a step, width 128, 32x32, ten classes. The floor is the time of the
step's multiplications at the rate of a big matrix product in the precision we use, measured in the same run. Each side
runs in a process of its own, so that its peak memory is its own."""
import argparse
import multiprocessing
from functools import partial
from statistics import median
from types import SimpleNamespace

import authors
import reference
import torch
from recorded import add
from sklearn.neighbors import KernelDensity
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from dd_debias.background import paint_background
from dd_debias.bias import paint_color
from dd_debias.corruptions import corrupt
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.encoder import GlanceEncoder, embed, train_encoder
from dd_debias.kde import kde_weights
from dd_debias.mtt import functional_loss, student_gradient
from dd_debias.nets import ConvNet, Standardized, autocast_bf16
from dd_debias.pixels import channel_stats, standardize
from dd_debias.run import peak_memory
from dd_debias.train import train_classifier

STUDENT, NETWORKS = 5, 5 # steps of a student of MTT, networks of an evaluation

def noise(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (*shape, 32, 32), dtype=torch.uint8, generator=generator)

def real(n, device):
    "Random images and labels in place of real ones: their content does not change the time"
    return noise(n, 3).to(device), (torch.arange(n)%10).to(device)

def ready(images): return standardize(images, channel_stats(images))

def synthetic(device): # (classes, images per class, C,H,W)
    return torch.randn(10, 10, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)

def synthetic_labels(device): return torch.arange(10, device=device).repeat_interleave(10)

def networks(tiny):
    "Ours and the reference's ConvNet"
    width = 16 if tiny else 128
    return partial(ConvNet, width=width), partial(reference.convnet, width=width)

def dm(side, device, tiny, steps=2):
    (x, y), (net, plain) = real(6000, device), networks(tiny)
    batch = 8 if tiny else 256
    if side == 'ours':
        compiled = device == 'cpu' and not tiny # as in a run of a hundred steps
        return partial(distill_dm, x, y, steps=steps, batch=batch, lr=1., net=net, compiled=compiled), steps
    return partial(reference.dm_step, plain, ready(x), y, synthetic(device).requires_grad_(), batch), 1

def dsa(side, device, tiny):
    (x, y), (net, plain) = real(6000, device), networks(tiny)
    batch = 8 if tiny else 256
    if side == 'ours': return partial(distill_dsa, x, y, rounds=1, outer=1, inner=0, batch=batch, lr=.1, net=net), 1
    return partial(reference.dsa_step, plain, ready(x), y, synthetic(device).requires_grad_(), batch), 1

def mtt(side, device, tiny):
    steps = 1 if tiny else STUDENT
    syn, y = synthetic(device).flatten(0, 1), synthetic_labels(device)
    ours, plain = networks(tiny)
    net = ours().to(device)
    start = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    target = start+.01*torch.randn_like(start)
    if side == 'reference':
        return partial(reference.mtt_step, plain, syn.requires_grad_(), y, start.requires_grad_(), target, steps), 1
    batches = [(torch.arange(100, device=device), i) for i in range(steps)]
    lr = torch.tensor(.01, device=device)
    gradient = partial(student_gradient, augment='color_crop_cutout_scale_rotate')
    return partial(gradient, functional_loss(net), start, target, syn, y, batches, lr), 1

def evaluator(side, device, tiny):
    many, epochs = (2, 1) if tiny else (NETWORKS, 3)
    x, y = synthetic(device).flatten(0, 1), synthetic_labels(device)
    net, plain = networks(tiny)
    if side == 'reference': return partial(reference.train_networks, plain, x, y, many, epochs), many*epochs
    train = partial(train_classifier, x.sigmoid(), y, net=net, epochs=epochs)
    return partial(train, seeds=range(many)), many*epochs

def encoder(side, device, tiny):
    x, y = real(6000, device)
    steps = 1 if tiny else 188 # eight passes, the default
    if side == 'ours': return partial(train_encoder, x, y, steps=steps), steps
    return partial(reference.encoder_steps, GlanceEncoder().to(device), ready(x), y, steps), steps

def embedding(side, device, tiny):
    x = real(500 if tiny else 5000, device)[0].repeat(1 if tiny else 12, 1, 1, 1)
    net = Standardized(GlanceEncoder(), *channel_stats(x)).to(device).eval()
    if side == 'ours': return partial(embed, net, x), 1
    return partial(reference.embed, net.net, ready(x)), 1

def embedding_convnet(side, device, tiny):
    x = real(100 if tiny else 5000, device)[0]
    net, plain = networks(tiny)
    if side == 'ours': return partial(embed, Standardized(net(), *channel_stats(x)).to(device), x), 1
    return partial(reference.embed, plain().to(device), ready(x)), 1

def kde(side, device, tiny):
    n = 600 if tiny else 60000
    features = torch.randn(n, 128, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(features, dim=1).to(device)
    y = torch.arange(10, device=device).repeat_interleave(n//10)
    if side == 'ours': return partial(kde_weights, z, y), 1
    if side == 'reference': return partial(reference.kde, z, y), 1
    z, y = z.cpu().numpy(), y.cpu().numpy()
    def sklearn():
        for c in range(10): KernelDensity(bandwidth=.1**.5).fit(z[y == c]).score_samples(z[y == c])
    return sklearn, 1

def painting(channels, paint):
    def row(side, device, tiny):
        images = noise(20 if tiny else 2000, channels)
        bias = torch.arange(len(images))%10
        paint_all = paint if side == 'ours' else partial(reference.one_by_one, paint)
        return partial(paint_all, images, bias, seed=0), 1
    return row

ROWS = dict(
    dm=dm, dsa=dsa, mtt=mtt, evaluate=evaluator,
    encoder=encoder, embedding=embedding, embedding_convnet=embedding_convnet, kde=kde,
    cmnist=painting(1, paint_color),
    bg_fmnist=painting(1, partial(paint_background, scenes=noise(10, 400, 3))),
    corrupted_cifar10=painting(3, corrupt))
BY_AUTHORS = ('dm', 'dsa', 'mtt', 'evaluate')
SIDES = {'kde': ('ours', 'reference', 'sklearn')}
# the counter of multiplications cannot look into jvp, and painting does not multiply
NOT_COUNTED = ('mtt', 'cmnist', 'bg_fmnist', 'corrupted_cifar10')
WORK = dict(
    dm='step of DM',
    dsa='step of DSA, real and synthetic gradients',
    mtt=f'step of MTT, a student of {STUDENT} steps',
    evaluate='epoch of evaluation, 100 images',
    encoder='step of the encoder, of 188 on 6,000 images',
    embedding='embedding of 60,000 images, default encoder',
    embedding_convnet='embedding of 5,000 images, ConvNet',
    kde='KDE weights of 60,000 x 128',
    cmnist='painting 2,000 images for Colored MNIST',
    bg_fmnist='painting 2,000 for BG-FMNIST',
    corrupted_cifar10='painting 2,000 for Corrupted CIFAR-10')

def matrix_rate(device):
    "Multiplications and additions per second"
    a = torch.randn(2048, 2048, device=device)
    timer = Timer('a@a', globals=dict(a=a), num_threads=torch.get_num_threads())
    with autocast_bf16(device): seconds = timer.blocked_autorange().median
    return 2*2048**3/seconds

def by_authors(name, folder, device):
    "The same work by the original authors' code, see authors.py"
    syn, y = synthetic(device), synthetic_labels(device)
    if name == 'mtt':
        code = authors.Trajectories(folder, 128, device)
        start = code.new().flat_param.detach()
        target, lr = start+.01*torch.randn_like(start), torch.tensor(.01, device=device)
        return partial(code.step, syn.flatten(0, 1).requires_grad_(), y, start, target, STUDENT, lr), 1
    code = authors.Condensation(folder, 128, device)
    if name == 'evaluate': return partial(code.train_networks, syn.flatten(0, 1), y, NETWORKS, 3), NETWORKS*3
    x, y = real(6000, device)
    step = dict(dm=code.dm_step, dsa=code.dsa_step)[name]
    return partial(step, ready(x), y, syn.requires_grad_(), 256), 1

def measure(name, side, device, tiny, folder=None, with_flops=True):
    f, units = by_authors(name, folder, device) if side == 'authors' else ROWS[name](side, device, tiny)
    before = peak_memory(device)
    timer = Timer('f()', globals=dict(f=f), num_threads=torch.get_num_threads())
    m = timer.timeit(1) # the first is slower
    if not tiny and m.median < 20: m = timer.timeit(1) if m.median > 2 else timer.blocked_autorange(min_run_time=2)
    after = peak_memory(device)
    flops, rate = None, None
    if with_flops and side == 'ours' and name not in NOT_COUNTED:
        rate = matrix_rate(device)
        torch.set_num_threads(1) # the counter cannot look into other threads
        with FlopCounterMode(display=False) as count, torch.compiler.set_stance('force_eager'): f()
        flops = count.get_total_flops()/units
    return SimpleNamespace(
        seconds=m.median/units, peak=after, added=after-before, flops=flops, rate=rate)

def in_a_process(*args):
    with multiprocessing.get_context('spawn').Pool(1) as pool: return pool.apply(measure, args)

def compare(name, sides, rounds, *args):
    "One line of results: each side `rounds` times, in turns, so that all meet the machine as busy as it is"
    seen = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sides:
            if side == 'sklearn' and turn: continue # a minute each
            seen[side].append(in_a_process(name, side, *args, turn == 0))
    ours = seen.pop('ours')
    floors = [m.flops/m.rate for m in ours if m.flops]
    line = dict(
        row=name, work=WORK[name], rounds=rounds, seconds=median(m.seconds for m in ours),
        floor=median(floors) if floors else None,
        peak_memory_mb=max(m.peak for m in ours), added_memory_mb=max(m.added for m in ours))
    for side, other in seen.items():
        ratios = [b.seconds/a.seconds for a, b in zip(ours, other, strict=False)]
        line[f'{side}_seconds'] = median(m.seconds for m in other)
        line[f'{side}_added_memory_mb'] = max(m.added for m in other)
        line[f'{side}_ratio'] = median(ratios)
        line[f'{side}_ratios'] = [min(ratios), max(ratios)]
    return line

def rounded(value):
    "With four digits"
    if isinstance(value, dict): return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list): return [rounded(v) for v in value]
    return float(f'{value:.4g}') if isinstance(value, float) else value

def print_row(line, side):
    "One side of a line, beside ours"
    def show(key, form=''): return format(line[key], form) if line.get(key) is not None else ''
    work = line['work'] if side == 'reference' else f"{line['work']}, {side}"
    times = f"{show('seconds', '9.4f'):>9} {show(side+'_seconds', '9.4f'):>9}"
    low, high = line[f'{side}_ratios']
    against = f"{show(side+'_ratio', '6.2f'):>6} ({low:.2f} to {high:.2f}) {show('floor', '8.4f'):>8}"
    memory = f"{show('added_memory_mb')} {show(side+'_added_memory_mb')}"
    print(f'{work:50} {times} {against}   {memory}', flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('names', nargs='*', metavar='name', help=', '.join(ROWS))
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--authors', metavar='DIR', help='with clones of their repositories, see authors.py')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--smoke', action='store_true')
    args = p.parse_args()
    if (unknown := set(args.names)-set(ROWS)): p.error(f'{unknown.pop()} is none of '+', '.join(ROWS))
    print(f"{'':50} {'ours':>9} {'other':>9} {'ratio':>6} {'lowest and highest':>16} {'floor':>8}   memory added, MB")
    for name in args.names or ROWS:
        sides = list(SIDES.get(name, ('ours', 'reference')))
        if args.authors and name in BY_AUTHORS: sides.append('authors')
        line = compare(name, sides, 1 if args.smoke else args.rounds, args.device, args.smoke, args.authors)
        for side in sides[1:]: print_row(line, side)
        if not args.smoke: add('speed.jsonl', rounded(line), args.device, show=False)

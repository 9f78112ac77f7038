"""Does low density find the bias-conflicting images? Every set at 1% and 5%, every encoder. Adds lines to
results/density.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/density.py            # about an hour on one core
    DD_DEBIAS_DATA=.data python benchmarks/density.py cmnist     # only the sets whose name begins so

Each measurement has a process of its own, so that its peak memory is its own."""
import itertools
import json
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import GlanceEncoder, ResNetEncoder, SmallEncoder, embed, train_encoder
from dd_debias.kde import kde_weights
from dd_debias.records import append_line
from dd_debias.run import git_commit, peak_memory
from dd_debias.weights import conflict_share, effective_size

SETS = {'cmnist': cmnist}
SETS |= {f'bg_fmnist, {n} scenes': partial(bg_fmnist, per_kind=n) for n in (1, 10, 400)}
SETS |= {f'corrupted_cifar10, {p}': partial(corrupted_cifar10, preset=p, severity=5)
         for p in ('mixed', 'type0', 'type1')}

ENCODERS = dict( # arguments of train_encoder
    GlanceEncoder={},
    SmallEncoder=dict(net=SmallEncoder, steps=100, lr=.01, weight_decay=1e-4),
    ResNetEncoder=dict(net=ResNetEncoder, steps=100, lr=.001, weight_decay=1e-4))
ENCODERS['SmallEncoder, 800 steps'] = ENCODERS['SmallEncoder'] | dict(steps=800)

VARIANTS = { # of the GlanceEncoder, by their names in results/density.jsonl: parts is grid today, and calm is quantile
    'parts=1': dict(grid=1),
    'parts=4': dict(grid=4),
    'parts=8': dict(grid=8),
    'calm=.5': dict(quantile=.5),
    'calm=1': dict(quantile=1.)}
ENCODERS |= {name: dict(net=partial(GlanceEncoder, **v)) for name, v in VARIANTS.items()}

# encoders that are tried at 5% only, and on these sets only
ONE_OF_EACH = ('cmnist', 'bg_fmnist, 400 scenes', 'corrupted_cifar10, type1')
AT_FIVE = dict.fromkeys([*VARIANTS, 'SmallEncoder, 800 steps'], ONE_OF_EACH)
AT_FIVE['ResNetEncoder'] = ('bg_fmnist, 400 scenes',)

def is_tried(name, conflict, encoder): return encoder not in AT_FIVE or name in AT_FIVE[encoder] and conflict == .05

def measure(name, conflict, encoder, seed=0):
    clock, seconds = time.perf_counter(), {}
    def log_phase(phase):
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = round(now-clock, 1)
        clock = now
    train = SETS[name](conflict, seed=seed)
    built = peak_memory('cpu')
    log_phase('build')
    model = train_encoder(*train.xy, seed=seed, **ENCODERS[encoder])
    log_phase('encoder')
    weights = kde_weights(embed(model, train.images), train.labels)
    log_phase('density')
    return dict(
        set=name, conflict=conflict, encoder=encoder, seed=seed, images=len(train),
        auc=round(roc_auc_score(~train.aligned, weights), 4), share=round(conflict_share(weights, ~train.aligned), 4),
        effective_size=round(effective_size(weights, train.labels).mean().item(), 1),
        seconds=seconds, build_memory_mb=built, peak_memory_mb=peak_memory('cpu'),
        threads=torch.get_num_threads(), torch=torch.__version__, commit=git_commit())

if __name__ == '__main__':
    names = [name for name in SETS if name.startswith(tuple(sys.argv[1:] or ['']))]
    settings = itertools.product(ENCODERS, names, (.05, .01))
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for job in [pool.apply_async(measure, (n, c, e)) for e, n, c in settings if is_tried(n, c, e)]:
            line = json.dumps(job.get())
            print(line, flush=True)
            append_line(Path(__file__).resolve().parents[1]/'results/density.jsonl', line)

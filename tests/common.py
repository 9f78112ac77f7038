"What several test files share"
import os
from functools import partial
from pathlib import Path

import pytest
import torch

from dd_debias.bias import color_digits
from dd_debias.mtt import expert_trajectories


def needs(*names):
    "Skip a test unless DD_DEBIAS_DATA holds these .npz files"
    root = os.environ.get('DD_DEBIAS_DATA')
    missing = [n for n in names if not root or not Path(root, f'{n}.npz').is_file()]
    return pytest.mark.skipif(bool(missing), reason=f'DD_DEBIAS_DATA does not hold {", ".join(missing)}.npz')

ROOT = Path(__file__).resolve().parents[1]

def close(a, b): return (a-b).norm() <= 1e-4*b.norm()

any_set = pytest.mark.parametrize('channels,size,sizes', [(1, 24, (5, 1, 7)), (3, 8, (3, 30)), (4, 16, (4,)*11)])

def some_set(channels, size, sizes):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (len(labels), channels, size, size), generator=generator, dtype=torch.uint8)
    return images, labels

few = color_digits()[:100]

short = partial(expert_trajectories, experts=1, epochs=1, steps=2, batch=8)

def left(folder): return sorted(p.name for p in Path(folder).rglob('*') if p.is_file())

COMMAND = [
    'run', 'color_digits', '--ipc', '2', '--steps', '60', '--distill.batch', '8', '--epochs', '20', '--networks', '2',
    '--seed', '3', '--device', 'cpu']

def with_batch_norm(channels, classes, size):
    pixels = channels*size*size
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(pixels), torch.nn.Linear(pixels, classes))

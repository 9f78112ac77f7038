"Biased sets made from real images: exact counts, reproducible pixels, unbiased test sets"
import os
from pathlib import Path

import pytest
import torch
from common import needs

from dd_debias.background import bg_fmnist, scenes
from dd_debias.bias import cmnist, paint_color
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.fairdd_sets import PURE_COLORS, c_fmnist, c_mnist, cifar10_s
from dd_debias.natural import bar
from dd_debias.pixels import pad
from dd_debias.sources import cifar10, mnist


def cells(data):
    "(label, bias) counts"
    return torch.stack([torch.bincount(data.bias[data.labels == c], minlength=10) for c in range(10)])

def even(table): return bool((table.amax(1)-table.amin(1) <= 1).all()) # within one, in each row

fashion = needs('fashion_mnist', 'miniplaces')
each_set = pytest.mark.parametrize('make', [
    pytest.param(cmnist, marks=needs('mnist')), pytest.param(bg_fmnist, marks=fashion),
    pytest.param(corrupted_cifar10, marks=needs('cifar10'))])

@each_set
@pytest.mark.parametrize('conflict', [.01, .02, .05])
def test_counts_of_aligned_and_conflicting(make, conflict, monkeypatch):
    for painter in ('bias.paint_color', 'background.paint_background', 'corruptions.corrupt'):
        # only the counts are tested, so nothing needs to be painted
        monkeypatch.setattr(f'dd_debias.{painter}', lambda images, bias, **how: images)
    counts = {
        cmnist: {.01: (54509, 491), .02: (54014, 986), .05: (52551, 2449)}, # paper, section 5.1
        corrupted_cifar10: {.01: (44527, 442), .02: (44145, 887), .05: (42820, 2242)}, # paper, section 5.1
        bg_fmnist: {.01: (59400, 600), .02: (58800, 1200), .05: (57000, 3000)}} # ours: the paper gives none
    aligned, conflicting = counts[make][conflict]
    train = make(conflict)
    assert (int(train.aligned.sum()), int((~train.aligned).sum())) == (aligned, conflicting)
    assert len(train.images) == len(train.labels) == len(train.bias)
    off_diagonal = cells(train)[~torch.eye(10, dtype=torch.bool)].view(10, 9)
    assert even(off_diagonal), 'conflicting samples are uniform over the other nine'

@each_set
def test_test_set_is_unbiased_and_reproducible(make):
    test = make(split='test')
    assert len(test) == 10000 and even(cells(test))
    assert test.images.equal(make(split='test').images) and test.images.shape[1:] == (3, 32, 32)
    other = make(split='test', seed=1)
    assert other.labels.equal(test.labels) and not other.images.equal(test.images)

@fashion
def test_train_and_test_scenes_are_disjoint():
    "No test scene is a training scene"
    train, test = (set(x.numpy().tobytes() for x in scenes(s).flatten(0, 1)) for s in ('train', 'test'))
    assert len(train) == 4000 and len(test) == 1000 and not train & test

@fashion
def test_scene_and_color_as_two_shortcuts(monkeypatch):
    monkeypatch.setattr('dd_debias.background.paint_background', lambda images, bias, **how: images)
    both, scene = bg_fmnist(.05, color_conflict=.05), bg_fmnist(.05)
    assert both.aligned.sum() < scene.aligned.sum() == 57000 and not (both.aligned & ~scene.aligned).any()
    assert both.bias[both.aligned].max() < 10 <= both.bias.max()

@needs('mnist')
def test_background_of_digits_stays_black():
    grey = pad(mnist('test')[0][:100])
    assert paint_color(grey, torch.arange(100)%10).amax(1)[grey[:, 0] == 0].max() == 0

@needs('mnist')
def test_any_share_can_conflict():
    assert [(~cmnist(c).aligned).sum().item() for c in (0., .1)] == [0, 5500]

@pytest.mark.parametrize('make', [
    pytest.param(c_mnist, marks=needs('mnist')), pytest.param(c_fmnist, marks=needs('fashion_mnist'))])
@pytest.mark.parametrize('ground', ['foreground', 'background'])
def test_sets_of_fairdd_have_its_sizes_and_pure_colors(make, ground):
    train, test = make(ground=ground), make(split='test', ground=ground)
    assert train.images.shape == (60000, 3, 32, 32) and (~train.aligned).sum() == 6000
    assert len(test) == 10000 and even(cells(test))
    border = test.images[:, :, :4].amax((2, 3)) # the image lies in the lower right
    assert border.eq(PURE_COLORS[test.bias] if ground == 'background' else 0).all()

@needs('mnist')
def test_all_images_of_mnist_are_in_train():
    with pytest.raises(ValueError, match="split must be 'train' or 'test'"): c_mnist(split='valid')

@needs('cifar10')
def test_half_of_cifar10_s_is_grey():
    train, test = cifar10_s(), cifar10_s(split='test')
    for data, aligned in ((train, 4500), (test, 1000)):
        assert data.labels[data.aligned].bincount().tolist() == [aligned]*10
        is_grey = (data.images[:, :1] == data.images).all(1).all((1, 2))
        assert is_grey[(data.labels < 5) == data.aligned].all()
        assert is_grey.sum() < .51*len(data) # very few photographs in colour have none
    images, labels = cifar10('test')
    assert len(test) == 20000 and test.images[10000:][labels < 5].equal(images[labels < 5]) # in colour

@needs('bar64')
def test_bar_sizes():
    assert bar().labels.bincount().tolist() == [326, 520, 163, 336, 317, 279]
    assert bar('test', size=32).images.shape == (654, 3, 32, 32) and bar().bias is None

@needs('fashion_mnist')
def test_textures_replace_missing_photographs(tmp_path):
    "with a warning"
    os.symlink(Path(os.environ['DD_DEBIAS_DATA'], 'fashion_mnist.npz').resolve(), tmp_path/'fashion_mnist.npz')
    with pytest.warns(UserWarning, match='textures take the place'): alone = bg_fmnist(split='test', root=tmp_path)
    assert alone.images.equal(bg_fmnist(split='test', scene_source='textures', root=tmp_path).images)

"Corruptions against Pillow, SciPy, matplotlib, plain loops, and the strengths of the public package on CIFAR-10"
import json

import numpy as np
import pytest
import torch
from common import needs
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from dd_debias.augment import siamese_augment
from dd_debias.background import paint_background, textures
from dd_debias.corruptions import CIFAR10_COUNTS, CORRUPTIONS, PRESETS, corrupt, corrupted_cifar10
from dd_debias.nets import VGG11, AlexNet, ConvNet, LeNet
from dd_debias.pixels import to_float, to_uint8
from dd_debias.sources import cifar10

each_severity = pytest.mark.parametrize('severity', range(1, 6))
bare = 10*('original',)

def rng(seed=0): return torch.Generator().manual_seed(seed)
def pictures(n=8, size=32): return torch.randint(256, (n, 3, size, size), generator=rng(), dtype=torch.uint8)
def ours(name, images, severity): return 255*CORRUPTIONS[name](to_float(images), severity, rng())

def each(f, images):
    "f, which takes and returns an (H,W,C) array, of each image"
    arrays = [np.ascontiguousarray(f(x.permute(1, 2, 0).numpy())) for x in images]
    return torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays])

@each_severity
def test_pixelate_matches_pillow(severity):
    n = int(32*CORRUPTIONS['pixelate'].levels[severity-1])
    def pixelate(x):
        return np.array(Image.fromarray(x).resize((n, n), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX))
    difference = ours('pixelate', pictures(), severity)-each(pixelate, pictures())
    assert difference.abs().max() < 1.01 # Pillow rounds rows, then columns

@each_severity
def test_blurs_match_scipy(severity):
    sigma = CORRUPTIONS['gaussian_blur'].levels[severity-1]
    def gaussian(x): return ndimage.gaussian_filter(x.astype(float), (sigma, sigma, 0), mode='nearest', truncate=4)
    def zoomed(x, z):
        n = int(np.ceil(32/z))
        i = (32-n)//2
        y = ndimage.zoom(x[i:i+n, i:i+n].astype(float), (z, z, 1), order=1)
        j = (len(y)-32)//2
        return y[j:j+32, j:j+32]
    def zoom(x): return np.mean([x]+[zoomed(x, 1+i/100) for i in range(CORRUPTIONS['zoom_blur'].levels[severity-1])], 0)
    assert (ours('gaussian_blur', pictures(), severity)-each(gaussian, pictures())).abs().max() < .01
    assert (ours('zoom_blur', pictures(), severity)-each(zoom, pictures())).abs().max() < .01

@each_severity
def test_brightness_and_saturation_match_matplotlibs_hsv(severity):
    x = pictures()
    x[0], x[1] = 0, x[1, :1] # black, and grey
    def brightness(x):
        hsv = rgb_to_hsv(x/255)
        hsv[..., 2] = (hsv[..., 2]+CORRUPTIONS['brightness'].levels[severity-1]).clip(0, 1)
        return 255*hsv_to_rgb(hsv)
    def saturate(x):
        hsv, (a, b) = rgb_to_hsv(x/255), CORRUPTIONS['saturate'].levels[severity-1]
        hsv[..., 1] = (a*hsv[..., 1]+b).clip(0, 1)
        return 255*hsv_to_rgb(hsv)
    for f in (brightness, saturate): assert (ours(f.__name__, x, severity)-each(f, x)).abs().max() < .01, f.__name__

def test_glass_blur_matches_the_pixel_loop():
    x, draw = pictures(2), torch.randint(2, (2, 2, 32, 32), generator=rng())
    loop = x.permute(0, 2, 3, 1).numpy().copy()
    for k in range(2):
        for h in range(31, 1, -1):
            for w in range(31, 1, -1):
                dy, dx = draw[:, k, h, w].tolist()
                loop[k, h, w] = loop[k, h-dy, w-dx]
    moved = to_uint8(CORRUPTIONS['glass_blur'](to_float(x), 1, rng())) # at severity 1 nothing is blurred
    assert moved.equal(torch.from_numpy(loop).permute(0, 3, 1, 2))

@pytest.mark.parametrize('name', CORRUPTIONS)
@pytest.mark.parametrize('size', [16, 32, 50])
def test_any_image_at_any_severity(name, size):
    black = torch.zeros(1, 3, size, size)
    white = torch.full((1, 3, size, size), 255)
    x = torch.cat([pictures(4, size), black, white]).to(torch.uint8)
    for severity in range(1, 6):
        y = CORRUPTIONS[name](to_float(x), severity, rng())
        assert y.shape == x.shape and y.isfinite().all() and 0 <= y.min() <= y.max() <= 1, severity

def test_corruptions_are_independent_of_each_other():
    x = pictures(40)
    bias = torch.arange(40)%10
    mixed = corrupt(x, bias, names='type0')
    for k, name in enumerate(PRESETS['type0']):
        alone = corrupt(x[bias == k], bias[bias == k]*0, names=(name,))
        assert alone.equal(mixed[bias == k]), name
    assert corrupt(x, bias, names=bare).equal(x)
    fog_second = corrupt(x[:4], torch.ones(4).long(), names=('jpeg', 'fog')) # no image is saved as JPEG
    assert fog_second.equal(corrupt(x[:4], torch.zeros(4).long(), names=('fog',)))
    assert not mixed.equal(corrupt(x, bias, names='type0', seed=1))

@pytest.mark.parametrize('match,change', [
    ('severity must be a whole number from 1 to 5, got 0', dict(severity=0)),
    ('names must be one of type0, type1, mixed', dict(names='type2')),
    ("no corruption 'haze'", dict(names=('fog', 'haze'))),
    ('bias must be 0 to 9', dict(bias=torch.full((4,), 10))),
    ('bias must be 0 to 9', dict(bias=torch.full((4,), -1))),
    ('bias must be a tensor of int64', dict(bias=torch.tensor([0, .5, 1, 2]))),
    ('bias must be a tensor .*, got None', dict(bias=None)),
    ('bias must be a tensor of int64', dict(bias=torch.arange(3))),
    ('names must hold at least one', dict(names=())),
    ('names must be one of', dict(names=(1, 2))),
    ('images must be .*to_uint8', dict(images=torch.rand(4, 3, 32, 32))),
    ('images must be .* three channels of one', dict(images=pictures(4)[:, :1])),
    ('images must be', dict(images=pictures(4).numpy()))])
def test_bad_input(match, change):
    kw = dict(images=pictures(4), bias=torch.arange(4)) | change
    with pytest.raises(ValueError, match=match): corrupt(kw.pop('images'), kw.pop('bias'), **kw)

@pytest.mark.parametrize('says,change', [
    (r'images must be a tensor \(N,1,H,W\) of uint8', dict(images=torch.rand(4, 1, 8, 8))),
    (r'images must be a tensor \(N,1,H,W\)', dict(images=pictures(4, 8))),
    (r'scenes must be a tensor \(K,M,3,H,W\) of uint8', dict(scenes=torch.rand(2, 3, 3, 8, 8))),
    ('scenes must be', dict(scenes=pictures(4, 8))),
    ('scenes are 8 pixels wide and images 16', dict(images=pictures(4, 16)[:, :1])),
    ('bias must be 0 to 1, since scenes holds 2, got -1 to 0', dict(bias=torch.tensor([0, -1, 0, 0]))),
    ('bias must be 0 to 1, since scenes holds 2, got 0 to 2', dict(bias=torch.tensor([0, 2, 0, 0]))),
    ('bias must be a tensor of int64, such as', dict(bias=torch.tensor([0., 1, 0, 0]))),
    ('bias must be .* each of 4 images', dict(bias=torch.tensor([0, 1]))),
    ('foreground must be', dict(foreground=pictures(1, 8))),
    ('foreground must be', dict(foreground=torch.rand(4, 3, 8, 8))),
    ("blend must be 'mask' or 'alpha'", dict(blend='max'))])
def test_bad_backgrounds(says, change):
    given = dict(images=pictures(4, 8)[:, :1], bias=torch.tensor([0, 1, 0, 1]), scenes=textures(2, 3, size=8))
    with pytest.raises(ValueError, match=f'^{says}'): paint_background(**given | change)

@pytest.mark.parametrize('says,images,groups', [
    ('images must be .*to_float', pictures(4), torch.arange(4)),
    ('groups must be one int64', torch.rand(4, 3, 8, 8), torch.arange(3)),
    ('groups must be one int64', torch.rand(4, 3, 8, 8), torch.ones(4)),
    ('groups must be 0 to 1', torch.rand(4, 3, 8, 8), torch.arange(4)),
    ('groups must be 0 to 1', torch.rand(4, 3, 8, 8), torch.arange(4)-1)])
def test_bad_groups_of_an_augmentation(says, images, groups):
    with pytest.raises(ValueError, match=f'^{says}'): siamese_augment(images, groups, seed=0, draws=2)

@pytest.mark.parametrize('net,size', [(LeNet, 3), (AlexNet, 7), (VGG11, 15), (ConvNet, 12)])
def test_images_too_small_for_a_network(net, size):
    with pytest.raises(ValueError, match='^size must be .* dd_debias.pixels.pad'): net(size=size)

@needs('cifar10')
def test_strengths_match_the_public_package(root):
    """The goal is 15%. Corruptions that draw at random are within 6%, the others within 0.5%; spatter with water, whose
    rims we draw in our own way, is within 25%"""
    records = [json.loads(line) for line in (root/'results/corruptions.jsonl').read_text().splitlines()]
    assert len(records) == 95
    fixed = {'brightness', 'contrast', 'saturate', 'defocus_blur', 'gaussian_blur', 'zoom_blur', 'jpeg', 'pixelate'}
    images = cifar10('test')[0][:200]
    for r in records:
        name, severity = r['corruption'], r['severity']
        strength = (ours(name, images, severity)-images).abs().mean().item()
        rel = .005 if name in fixed else .25 if name == 'spatter' and severity < 4 else .06
        assert strength == pytest.approx(r['theirs'], rel=rel), r
        assert strength == pytest.approx(r['ours'], rel=.005), r

@needs('cifar10')
def test_valid_and_test_are_unbiased_and_disjoint():
    train, valid, test = (corrupted_cifar10(.05, s, preset=bare) for s in ('train', 'valid', 'test'))
    assert (len(valid), len(test)) == (4938, 10000) and len(train) == max(n for n, _ in CIFAR10_COUNTS.values())
    def digests(images): return sorted(hash(x.numpy().tobytes()) for x in images)
    assert digests(torch.cat([train.images, valid.images])) == digests(cifar10()[0]) # together, all of them once
    for d in (valid, test):
        table = torch.stack([torch.bincount(d.bias[d.labels == c], minlength=10) for c in range(10)])
        assert (table.amax(1)-table.amin(1) <= 1).all()

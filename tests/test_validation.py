"Errors about bad input are one sentence that names the argument and the fix"
import inspect
import math
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace, UnionType
from typing import get_args

import pytest
import torch
from common import few, short, with_batch_norm
from torch.utils.data import DataLoader

from dd_debias._discover import functions
from dd_debias.arguments import RANGES
from dd_debias.background import textures
from dd_debias.bias import assign_bias, color_digits, paint_color
from dd_debias.bias_only import bias_only_probabilities
from dd_debias.config import to_config
from dd_debias.coresets import distill_herding, distill_kcenter, distill_random
from dd_debias.corruptions import corrupt
from dd_debias.dataset import BiasedDataset
from dd_debias.distilled import at_rest, export
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.encoder import embed, train_encoder
from dd_debias.evaluate import confidence_interval, evaluate, evaluate_across
from dd_debias.fairdd_sets import PURE_COLORS
from dd_debias.files import Checkpoint
from dd_debias.groupdro import train_groupdro, train_reweighted
from dd_debias.groups import cluster_weights, group_weights, weigh_groups
from dd_debias.kde import kde_weights, weigh_kde
from dd_debias.mtt import distill_mtt
from dd_debias.nets import MLP, ConvNet
from dd_debias.pixels import to_uint8
from dd_debias.plots import show_images
from dd_debias.run import check_parts
from dd_debias.runtime import accepted_kwargs, oracle_kwargs
from dd_debias.sampling import ClassSampler, resample
from dd_debias.train import train_classifier

features = torch.nn.functional.normalize(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), dim=1)

def mlp_experts(*args, net, **kwargs): return short(*args, net=MLP, **kwargs) # whatever net is asked for

narrow = partial(ConvNet, width=4)
small = dict(ipc=1, net=narrow)
tiny_mtt = partial(distill_mtt, *few.xy, max_start_epoch=1, experts=short, **small)

def with_dropout(channels, num_classes, size):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(channels*size**2, num_classes))

def of_test(images): return BiasedDataset(images, few.labels)

WRONG = {
    'lengths': (lambda: distill_dm(few.images, few.labels[:50]), 'images and labels must have the same length'),
    'no images': (lambda: distill_dm(few.images[:0], few.labels[:0]), 'labels must be a non-empty'),
    'flat images': (lambda: train_classifier(few.images.flatten(1), few.labels), 'images must be a tensor of shape'),
    'empty class': (lambda: train_encoder(few.images, few.labels*2), 'no sample of class 1'),
    'float labels': (lambda: kde_weights(features, few.labels.float()), 'labels must be'),
    'NaN images': (lambda: train_encoder(few.images/0., few.labels), 'images hold NaN'),
    'NaN features': (lambda: kde_weights(features*float('inf'), few.labels), 'features hold NaN or infinite'),
    'NaN clusters': (lambda: cluster_weights(features*float('nan'), few.labels), 'NaN'),
    'variance': (lambda: kde_weights(features, few.labels, variance=-1.), 'variance must be'),
    'temperature': (lambda: kde_weights(features, few.labels, temperature=0.), 'temperature must be'),
    'normalizer': (lambda: kde_weights(features, few.labels, normalizer='max'), "normalizer must be 'propensity'"),
    'conflict': (lambda: color_digits(conflict=-.1), r'conflict must be a share in \[0,1\]'),
    'NaN conflict': (lambda: assign_bias(few.labels, float('nan')), r'conflict must be a share in \[0,1\]'),
    'ipc too large': (lambda: distill_dm(*few.xy, ipc=50), 'lower ipc'),
    'ipc zero': (lambda: distill_random(*few.xy, ipc=0), 'ipc must be a whole number of at least 1'),
    'negative weights': (lambda: distill_dm(*few.xy, -torch.ones(100)), 'weights must be finite and non-negative'),
    'weights of zero': (lambda: distill_dm(*few.xy, torch.zeros(100)), 'every sample of class 0 has weight zero'),
    'weights too few': (lambda: distill_dm(*few.xy, torch.ones(99)), 'weights must be one number per sample'),
    'groups too few': (lambda: group_weights(few.labels, few.bias[:5]), 'groups must be one number per sample'),
    'image size': (lambda: distill_dm(few.images[..., :15, :15], few.labels, ipc=1), 'size must be a multiple of 8'),
    'sampling': (lambda: distill_dm(*few.xy, sampling='none'), "sampling must be"),
    'augment': (lambda: distill_dm(*few.xy, ipc=1, augment='colour'), "'colour' is none of"),
    'ipc of matching': (lambda: distill_dm(*few.xy, ipc=-1), 'ipc must be a whole number of at least 1'),
    'ipc of gradients': (lambda: distill_dsa(*few.xy, ipc=0), 'ipc must be a whole number of at least 1'),
    'ipc of trajectories': (lambda: distill_mtt(*few.xy, ipc=2.), 'ipc must be a whole number of at least 1'),
    'sampling of gradients': (lambda: distill_dsa(*few.xy, sampling='none'), 'sampling must be'),
    'weights of trajectories': (
        lambda: distill_mtt(*few.xy, -torch.ones(100)), 'weights must be finite and non-negative'),
    'experts of another net': (lambda: tiny_mtt(experts=mlp_experts), 'train them with the same net'),
    'experts too short': (lambda: tiny_mtt(max_start_epoch=2), '1 epochs are too few to go 1 ahead'),
    'expert_epochs': (
        lambda: distill_mtt(*few.xy, expert_epochs=0, experts=short, **small), 'expert_epochs must be a whole number'),
    'split': (lambda: color_digits(split='val'), 'split must be'),
    'severity': (lambda: color_digits(severity=9), 'severity must be a whole number from 1 to 5'),
    'int32 labels': (lambda: train_classifier(few.images, few.labels.int()), r'as_tensor\(labels\).long\(\)'),
    'oblong images': (lambda: train_encoder(few.images[..., :8], few.labels), 'images must be square'),
    'meta device': (lambda: distill_dm(few.images.to('meta'), few.labels), 'images are on meta and labels on cpu'),
    'lambda': (lambda: to_config(lambda images: images), 'cannot be recorded; define it with def'),
    'sampling of a trainer': (
        lambda: train_classifier(*few.xy, sampling='none', net=MLP), "sampling must be 'importance' or 'weighted'"),
    'stack with buffers': (
        lambda: train_classifier(*few.xy, seeds=(0, 1), stacked=True, net=with_batch_norm),
        'such as those of batch norm, cannot be; leave it out'),
    'bias too short': (lambda: train_groupdro(*few.xy, bias=few.bias[:5]), 'bias must be one number per sample'),
    'oracle without bias': (
        lambda: evaluate(distill_random(*few.xy, ipc=1), few, train=train_groupdro),
        'train_groupdro needs a set whose bias is known'),
    'stacked': (
        lambda: evaluate(few, few, train=train_groupdro, stacked=True),
        'stacked: train_groupdro trains one network at a time'),
    'no scores': (lambda: confidence_interval(), 'scores: give the result of evaluate'),
    'pixels to 255': (lambda: distill_dm(few.images.float(), few.labels), 'floats from 0 to 254; scale them first'),
    'pixels from -1': (lambda: train_encoder(few.images/127.5-1, few.labels), 'floats from -1 to 0.992; scale'),
    'int64 pixels': (lambda: train_classifier(few.images.long(), few.labels), 'got torch.int64; convert them'),
    'complex pixels': (lambda: train_encoder(few.images*1j, few.labels), 'got torch.complex64; convert them'),
    'NumPy images': (lambda: distill_dm(few.images.numpy(), few.labels), r'images must be a tensor \(torch.as_tensor'),
    'array of weights': (
        lambda: distill_dm(*few.xy, few.labels.numpy()), r'weights must be a tensor \(torch.as_tensor makes one\)'),
    'list of labels': (lambda: distill_dm(few.images, few.labels.tolist()), 'labels must be a tensor'),
    'one-hot labels': (lambda: BiasedDataset(few.images, torch.eye(10)[few.labels]), r'labels.argmax\(1\) converts'),
    'names for labels': (lambda: BiasedDataset(few.images, ['cat']*100), 'labels must be numbers, got list'),
    'fractions': (lambda: BiasedDataset(few.images, few.labels+.5), 'labels must be one whole number for each image'),
    'no bias': (lambda: BiasedDataset(few.images, few.labels, few.bias-1), 'bias must be numbered from 0, got -1'),
    'grey test set': (lambda: evaluate(few, of_test(few.images[:, :1])), r'test: its images are \(1, 16, 16\)'),
    'size of the test set': (
        lambda: evaluate(few, of_test(few.images[..., :8, :8])), r'test: its images are \(3, 8, 8\)'),
    'classes of the test set': (
        lambda: evaluate(few, BiasedDataset(few.images, few.labels+5)), 'test: its labels go up to 14'),
    'empty test set': (lambda: evaluate(few, few[:0]), 'test must hold images'),
    'no set': (lambda: evaluate([1, 2], few), 'a set must have .images and .labels'),
    'stats of zeros': (
        lambda: train_classifier(*few.xy, stats=(torch.zeros(3), torch.zeros(3))), 'stats must be a mean and'),
    'stats of other channels': (
        lambda: train_classifier(*few.xy, stats=(torch.zeros(1), torch.ones(1))), 'for each of 3 channels'),
    'no surrogate': (
        lambda: distill_dm(*few.xy, ipc=1, surrogate=lambda *args, seed: 3), 'surrogate must be a trainer'),
    'distance of real images': (
        lambda: distill_dm(*few.xy, ipc=1, batch=4, distance=lambda real, syn: real.sum()), 'distance must depend on'),
    'no trainer': (lambda: evaluate(few, few, train=len), 'train must be a trainer'),
    'other channels than trained on': (
        lambda: train_classifier(*few.xy, epochs=1, net=MLP)(few.images[:, :1]), 'images must have 3 channels'),
    'batch of one': (lambda: train_encoder(*few.xy, batch=1), 'batch must be at least 2'),
    'batch norm and gradients': (
        lambda: distill_dsa(*few.xy, ipc=1, net=with_batch_norm), 'take instance or group norm'),
    'batch norm and trajectories': (
        lambda: distill_mtt(*few.xy, ipc=1, net=with_batch_norm), 'take instance or group norm'),
    'dropout': (lambda: train_classifier(*few.xy, epochs=1, net=with_dropout), 'net: it has dropout'),
    'an image as a batch': (lambda: show_images(few.images[0]), r'images\[None\] makes one a batch'),
    'int64 picture': (lambda: to_uint8(few.images.long()), r'images.to\(torch.uint8\) converts'),
    'pixels to embed': (lambda: embed(torch.nn.Identity(), few.images.float()), 'floats from 0 to 254; scale them'),
    'a class without weight': (
        lambda: ClassSampler(few.labels, (few.labels > 0).double()), 'every sample of class 0 has weight zero'),
    'a class not drawn': (lambda: resample(*few.xy, torch.ones(100), n=5), 'none of the 5 images drawn is of class'),
    'a network twice': (
        lambda: evaluate_across(few, few, nets=(MLP, MLP), train=partial(train_classifier, epochs=1)),
        'there are two of the name MLP'),
    'an oracle as surrogate': (lambda: distill_dm(*few.xy, ipc=1, surrogate=train_groupdro), 'whose bias is known'),
    'state of other images': (
        lambda: distill_dm(*few.xy, ipc=2, resume_from=at_rest(torch.zeros(40, 3, 16, 16))),
        'resume_from: its images are'),
    'state of a longer run': (
        lambda: distill_dm(*few.xy, ipc=1, steps=2, resume_from=at_rest(torch.zeros(10, 3, 16, 16)) | dict(step=4)),
        'resume_from: 4 steps are done, and this run has 2'),
    'an oracle for a synthetic set': (
        lambda: check_parts(distill_random, partial(evaluate, train=train_groupdro), few, few), 'whose bias is known'),
    'an oracle that weighs for a trainer': (
        lambda: train_reweighted(*few.xy, weigh=weigh_groups), 'weigh_groups needs a set whose bias is known'),
    'list of images': (lambda: BiasedDataset([few.images[0], few.images[1]], [0, 1]), 'images must be a tensor'),
    'colors in bytes': (
        lambda: paint_color(few.images[:, :1], few.labels, colors=PURE_COLORS),
        r'colors must be a float tensor \(K,3\) in \[0,1\], such as bytes/255, got \(10, 3\) of torch.uint8'),
    'no such argument': (lambda: to_config(partial(distill_dm, ipcs=3)), "takes no argument 'ipcs'"),
}

@pytest.mark.parametrize('name', WRONG)
def test_bad_input_is_one_sentence(name):
    call, says = WRONG[name]
    with pytest.raises(ValueError, match=says) as e: call()
    assert '\n' not in str(e.value)

NONSENSE = [-1, 1e9, 1.5, float('nan'), float('inf'), 'ten', True]

def wrong_numbers(f):
    "Arguments and values that the signature or the range of the name rules out"
    ranges = {name: fits for _, fits, names in RANGES for name in names.split()}
    for name, parameter in inspect.signature(f, eval_str=True).parameters.items():
        annotation = parameter.annotation
        kinds = get_args(annotation) if isinstance(annotation, UnionType) else [annotation]
        if not {int, float} & set(kinds): continue
        for value in NONSENSE:
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            of_kind = number and (float in kinds or isinstance(value, int))
            if not of_kind or (name in ranges and not ranges[name](value)): yield name, value

@pytest.mark.parametrize('part', ['data', 'weigh', 'distill', 'train'])
def test_numbers_out_of_range_are_refused(part):
    "in the configuration of a run, before any work, and when the function is called"
    tried = 0
    for f in functions(part).values():
        for name, value in wrong_numbers(f):
            tried += 1
            with pytest.raises(ValueError, match=f'^{name} must be') as e: to_config(partial(f, **{name: value}))
            assert '\n' not in str(e.value)
            inputs = {} if part == 'data' else dict(images=few.images, labels=few.labels) | oracle_kwargs(f, few)
            with pytest.raises(ValueError, match=f'^{name} must be'): f(**inputs | {name: value})
    assert tried > 20

def test_a_class_smaller_than_ipc_is_repeated_on_request():
    with pytest.raises(ValueError, match='repeat=True'): distill_random(*few.xy, ipc=50)
    for distill in (distill_random, distill_herding, distill_kcenter, partial(distill_dm, steps=1, batch=4)):
        syn = distill(*few.xy, ipc=50, repeat=True)
        assert syn.labels.bincount().tolist() == [50]*10 and syn.images.isfinite().all()

def test_a_set_is_read_as_others_are():
    "by torch's DataLoader, and by evaluate if it has images and labels"
    image, label, bias = few[3]
    assert image.equal(few.images[3]) and label == few.labels[3] and bias == few.bias[3]
    batch = next(iter(DataLoader(few, batch_size=8)))
    assert [tuple(part.shape) for part in batch] == [(8, 3, 16, 16), (8,), (8,)]
    foreign = SimpleNamespace(images=few.images, labels=few.labels)
    train = partial(train_classifier, net=MLP, epochs=1)
    scores = [evaluate(data, data, train=train, networks=1) for data in (foreign, few)]
    assert scores[0]['all'].equals(scores[1]['all'])

@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5])
def test_any_number_of_channels_works(channels, tmp_path):
    "is distilled, shown and evaluated; PNG files hold at most 4"
    images = few.images.repeat(1, 2, 1, 1)[:, :channels]
    data = BiasedDataset(images, few.labels)
    syn = distill_dm(*data.xy, ipc=1, steps=1, batch=4, net=narrow)
    scores = evaluate(syn, data, train=partial(train_classifier, net=MLP, epochs=1), networks=1)
    assert len(data._repr_png_()) > 1000 and len(syn._repr_png_()) > 1000 and scores['all'].between(0, 100).all()
    if channels < 5: assert export(syn, tmp_path).startswith('10 images')
    else:
        with pytest.raises(ValueError, match='at most 4 channels'): export(syn, tmp_path)

@contextmanager
def in_float64():
    torch.set_default_dtype(torch.float64)
    try: yield
    finally: torch.set_default_dtype(torch.float32)

TRAINED = {
    'dm': partial(distill_dm, ipc=1, steps=2, batch=4, net=narrow),
    'dsa': partial(distill_dsa, ipc=1, rounds=1, outer=2, batch=4, net=narrow),
    'mtt': partial(distill_mtt, ipc=1, steps=2, max_start_epoch=1, experts=short, net=narrow),
    'encoder': partial(train_encoder, steps=2, batch=8),
    'kde': partial(weigh_kde, reference=20, encoder_steps=2),
    'bias-only': partial(bias_only_probabilities, halvings=1, encoder_steps=2),
    'corruptions': lambda images, labels: corrupt(images, labels),
    'scenes': lambda images, labels: textures(3, 4, size=16),
    'trainer': partial(train_classifier, epochs=1, net=narrow)}

def trained(name, **how):
    made = TRAINED[name](*color_digits()[:100].xy, **how)
    if isinstance(made, torch.Tensor): return made
    return made.images if hasattr(made, 'images') else torch.cat([p.detach().flatten() for p in made.parameters()])

@contextmanager
def elsewhere(): # a GPU, if there were one
    torch.set_default_device('meta')
    try: yield
    finally: torch.set_default_device('cpu')

@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode, in_float64, elsewhere])
@pytest.mark.parametrize('name', TRAINED)
def test_modes_of_the_caller_change_nothing(name, mode):
    expected = trained(name)
    with mode(): found = trained(name)
    assert found.equal(expected)

@pytest.mark.parametrize('name', [name for name, f in TRAINED.items() if accepted_kwargs(f, 'on_step')])
def test_a_hook_that_draws_changes_nothing(name):
    "nor one that seeds"
    def draw(*_): torch.rand(int(torch.randint(9, ())))
    def seed(*_): torch.manual_seed(0)
    before = torch.get_rng_state()
    expected, *found = (trained(name, on_step=hook) for hook in (None, draw, seed))
    assert all(f.equal(expected) for f in found)
    torch.set_rng_state(before)

DIVERGING = {
    'dm': (partial(distill_dm, *few.xy, ipc=1, steps=60, batch=4, lr=1e30, net=MLP), 'lower lr'),
    'dsa': (
        partial(distill_dsa, *few.xy, rounds=1, outer=9, inner=1, lr=1e38, batch=4, **small), 'lower lr .* or lr_net'),
    'mtt': (partial(tiny_mtt, syn_lr=1e30), 'at step 1; lower lr .* lr_lr .* or syn_lr'),
    'mtt lr_lr': (partial(tiny_mtt, lr=1., lr_lr=1e9), 'lower lr .* lr_lr'),
    'expert': (
        partial(tiny_mtt, experts=partial(short, lr=1e30)),
        'an expert is no longer finite after epoch 1; lower lr'),
}

@pytest.mark.parametrize('name', DIVERGING)
def test_divergence_stops_at_once(name, tmp_path):
    "with a sentence that says what to lower; a checkpoint keeps only finite numbers"
    call, says = DIVERGING[name]
    checkpoint = Checkpoint(tmp_path/'state.safetensors', every=1)
    with pytest.raises(FloatingPointError, match=says): call(on_step=checkpoint)
    assert all(v.isfinite().all() for k, v in (checkpoint.state() or {}).items() if k != 'step')

def test_degenerate_sets_work():
    "One sample in a class, or only duplicates"
    x, y = few.images[:3], torch.tensor([0, 0, 1])
    assert kde_weights(torch.eye(3), y).tolist() == [1, 1, 1]
    assert kde_weights(torch.ones(3, 2), y).tolist() == [1, 1, 1]
    assert torch.isfinite(train_encoder(x, y, steps=3, batch=8)(x)).all()
    assert len(distill_dm(x, y, ipc=1, steps=2, batch=4, net=partial(ConvNet, width=8))) == 2

def test_parts_of_a_set():
    "An empty one has a repr and no picture; a tensor of one index gives an item; two sets can be compared"
    empty = few[few.labels < 0]
    assert '0 images' in repr(empty) and empty._repr_png_() is None
    image, label, _ = few[torch.tensor(3)]
    assert image.equal(few.images[3]) and label == few.labels[3]
    assert few == few and few != few[:5]

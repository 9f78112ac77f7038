"""A hash of what each part of the package computes on fixed seeds, to see that a rewrite changes no bit:

    python tools/fingerprint.py > before.txt
    ...
    python tools/fingerprint.py | diff before.txt -

Hashes depend on the machine and on torch, so compare on one machine. Ten seconds on one core."""
import os

os.environ['OMP_NUM_THREADS'] = '1' # sums are added up in one order

from functools import partial

import torch
from torch import Tensor

from dd_debias.audit import audit_table
from dd_debias.augment import siamese_augment
from dd_debias.background import paint_background, textures
from dd_debias.bias import color_digits, paint_color
from dd_debias.bias_only import weigh_bias_only
from dd_debias.coresets import distill_herding, distill_kcenter, distill_random
from dd_debias.corruptions import PRESETS, corrupt
from dd_debias.dfa import train_dfa
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.dsa import distill_dsa
from dd_debias.encoder import SmallEncoder, embed, train_encoder
from dd_debias.evaluate import confidence_interval, evaluate
from dd_debias.files import hash_tensors
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.groups import weigh_clusters, weigh_groups
from dd_debias.kde import kde_weights, weigh_kde
from dd_debias.lff import train_lff, weigh_lff
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.pixels import pad
from dd_debias.sampling import draw_by_weight, resample
from dd_debias.selecmix import train_selecmix
from dd_debias.sources import digits
from dd_debias.surrogates import distill_dm_surrogate, distill_mtt_surrogate, trainer_experts
from dd_debias.train import train_classifier

narrow = partial(ConvNet, width=16)
train = color_digits(conflict=.05)
test = color_digits(split='test')[:150]
few = train[:300]
weights = weigh_kde(*train.xy, encoder_steps=60)

def show(name:str, *tensors:Tensor)->None:
    plain = [t.detach() for t in tensors]
    print(f'{name:24} {hash_tensors(*plain)}', flush=True)

def data():
    grey = pad(digits()[0][:60])
    bias = torch.arange(60)%10
    show('color_digits', train.images, train.bias, test.images)
    show('paint_background', paint_background(grey, bias, scenes=textures(per_kind=3)))
    for preset in PRESETS: show(f'corrupt {preset}', corrupt(paint_color(grey, bias), bias, names=preset, severity=3))
    every = 'color_crop_cutout_flip_scale_rotate'
    show('siamese_augment', siamese_augment(few.images/255, few.labels, seed=4, strategy=every))

def weighing():
    features = embed(train_encoder(*train.xy, net=SmallEncoder, steps=30, lr=.01), train.images)
    show('weigh_kde', weights)
    for normalizer in ('inverse', 'softmax', 'scaled'):
        show(f'kde_weights {normalizer}', kde_weights(features, train.labels, normalizer=normalizer, temperature=.7))
    show('weigh_clusters', weigh_clusters(*train.xy, encoder_steps=40))
    show('weigh_bias_only', weigh_bias_only(*train.xy, encoder_steps=20))
    show('weigh_groups', weigh_groups(*train.xy, bias=train.bias))
    show('weigh_lff', weigh_lff(*few.xy, net=narrow, epochs=1))
    show('draw_by_weight', draw_by_weight(train.labels, weights, 7, seed=3))
    show('resample', *resample(*train.xy, weights, n=200))
    show('audit_table', torch.tensor(audit_table(train, weights).to_numpy(dtype=float)))

def distilling():
    dm = partial(distill_dm, net=narrow, steps=6, batch=8)
    dsa = partial(distill_dsa, net=narrow, rounds=2, outer=2, inner=2, batch=8)
    experts = partial(expert_trajectories, experts=2, epochs=2, steps=3, batch=16)
    teacher = partial(trainer_experts, train=partial(train_selecmix, batch=32, pool=64), epochs=2, sample=128)
    students = dict(net=narrow, steps=3, syn_steps=3, batch_syn=8, max_start_epoch=1)
    inside = partial(train_dfa, net=narrow, epochs=2, batch=64)
    distillers = {
        'random': distill_random,
        'herding': partial(distill_herding, net=narrow),
        'kcenter': partial(distill_kcenter, net=narrow),
        'dm': dm,
        'dm weighted': partial(dm, sampling='weighted', init='uniform', anneal=False),
        'dm kernel': partial(dm, distance=kernel_distance, init='noise'),
        'dm canvases': partial(dm, factor=2),
        'dm shard': partial(dm, shard=(1, 3)),
        'dm surrogate': partial(distill_dm_surrogate, surrogate=inside, steps=3, batch=8),
        'dsa': dsa,
        'dsa weighted': partial(dsa, sampling='weighted', augment=''),
        'mtt': partial(distill_mtt, experts=experts, **students),
        'mtt surrogate': partial(distill_mtt_surrogate, experts=teacher, **students)}
    for name, distill in distillers.items():
        syn = distill(*train.xy, weights, ipc=2)
        show(name, syn.images, syn.mean, syn.std, torch.tensor(syn.lr or 0.))

def training():
    quick = dict(net=narrow, epochs=2, batch=64)
    functions = (train_classifier, train_lff, train_dfa, train_selecmix, train_clusterdro, train_reweighted)
    trainers = {f.__name__: partial(f, **quick) for f in functions}
    trainers['importance'] = partial(train_classifier, sampling='importance', **quick)
    trainers['train_groupdro'] = partial(train_groupdro, bias=few.bias, **quick)
    for name, trainer in trainers.items(): show(name, trainer(*few.xy)(test.images))
    show('stack', *[model(test.images) for model in train_classifier(*few.xy, seeds=(1, 2), stacked=True, **quick)])
    scores = evaluate(few, test, train=partial(train_classifier, **quick), networks=2)
    show('evaluate', torch.tensor(scores.values), torch.tensor(confidence_interval(scores).values))

if __name__ == '__main__':
    data()
    weighing()
    distilling()
    training()

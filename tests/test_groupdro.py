"GroupDRO, against a plain loop"
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from common import close

from dd_debias.bias import color_digits
from dd_debias.coresets import distill_random
from dd_debias.evaluate import evaluate
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.nets import MLP, ConvNet
from dd_debias.pixels import channel_stats, standardize
from dd_debias.runtime import derive_seed, seeded


def test_groupdro_matches_the_plain_loop():
    "Sagawa et al., algorithm 1, group by group"
    train, net, rate, seed = color_digits()[:60], partial(ConvNet, width=4), .5, 2
    w = torch.ones(60)
    model = train_groupdro(*train.xy, bias=train.bias, seed=seed, net=net, rate=rate, epochs=1, batch=20, bf16=False)
    stats = channel_stats(train.images, w)
    pairs = list(zip(train.labels.tolist(), train.bias.tolist(), strict=True))
    groups = sorted(set(pairs))
    member = torch.tensor([groups.index(pair) for pair in pairs])
    with seeded(derive_seed(seed, 'groupdro')):
        naive = net(3, 10, 16)
        order = (1/member.bincount()[member].float()).multinomial(60, replacement=True)
    opt, q = torch.optim.Adam(naive.parameters(), lr=.001), torch.ones(len(groups))/len(groups)
    for idx in order.split(20):
        losses = F.cross_entropy(naive(standardize(train.images[idx], stats)), train.labels[idx], reduction='none')
        mean = []
        for g in range(len(groups)):
            of_group = losses[member[idx] == g]
            mean.append(of_group.mean() if len(of_group) else torch.tensor(0.))
        q = torch.stack([p*(rate*m.detach()).exp() for p, m in zip(q, mean, strict=True)])
        q = q/q.sum()
        opt.zero_grad()
        sum(p*m for p, m in zip(q, mean, strict=True)).backward()
        opt.step()
    assert all(close(a, b) for a, b in zip(model.net.parameters(), naive.parameters(), strict=True))

def test_synthetic_images_are_weighed_and_clustered():
    "whose pixels may lie outside [0,1]"
    syn = distill_random(*color_digits().xy, ipc=5)
    outside = replace(syn, images=1.5*syn.images-.2)
    for train in (train_reweighted, train_clusterdro):
        scores = evaluate(outside, color_digits(split='test'), train=partial(train, net=MLP, epochs=1), networks=1)
        assert scores['all'].between(0, 100).all()

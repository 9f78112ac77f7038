"Disentangled feature augmentation, against the public code of its authors"
from functools import partial

import torch
from common import close, few

from dd_debias import dfa
from dd_debias.dfa import DisentangledNet, dfa_loss, train_dfa
from dd_debias.lff import RelativeDifficulty
from dd_debias.nets import MLP, Standardized


def test_dfa_loss_matches_the_authors_code(trainers):
    labels, difficulty = trainers['labels'], RelativeDifficulty(trainers['labels'])
    intrinsic, bias = (Standardized(MLP(3, 3, 8, width=5), torch.zeros(3), torch.ones(3)) for _ in range(2))
    model = DisentangledNet(intrinsic, bias).double()
    for side, head in zip((model.intrinsic, model.bias), trainers['dfa_heads'], strict=True):
        side.net.head.weight.data, side.net.head.bias.data = head[:, :-1], head[:, -1]
    for i, idx in enumerate(trainers['batches']):
        z, b = (trainers[k][i].requires_grad_() for k in ('dfa_z', 'dfa_b'))
        partner = trainers['dfa_partner'][i] if i else None
        loss = dfa_loss(model, z, b, labels[idx], idx, difficulty, partner, bias_factor=10.).mean()
        gradient = torch.stack(torch.autograd.grad(loss, [z, b]))
        assert close(loss, trainers['dfa_loss'][i]) and close(gradient, trainers['dfa_gradient'][i])

def test_embeddings_are_swapped_from_an_epoch_on(monkeypatch):
    partners = []
    def loss(model, z, b, labels, idx, difficulty, partner=None, **how):
        partners.append(partner)
        return dfa_loss(model, z, b, labels, idx, difficulty, partner, **how)
    monkeypatch.setattr(dfa, 'dfa_loss', loss)
    train_dfa(*few.xy, net=partial(MLP, width=5), epochs=5, swap_from=.4, batch=100)
    assert partners[:2] == [None, None]
    for partner in partners[2:]: assert sorted(partner.tolist()) == list(range(100))

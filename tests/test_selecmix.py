"SelecMix, against the public code of its authors"
import torch
from common import close

from dd_debias.encoder import gsc_loss
from dd_debias.selecmix import contradicting_pairs


def test_selecmix_matches_the_authors_code(trainers):
    z, y = trainers['mix_features'].requires_grad_(), trainers['mix_labels']
    for same, name in ((True, 'mix_same'), (False, 'mix_other')):
        assert contradicting_pairs(z, y, same=same).equal(trainers[name])
    loss = gsc_loss(z, y)
    assert close(loss, trainers['gsc_loss']) and close(torch.autograd.grad(loss, z)[0], trainers['gsc_gradient'])

"SelecMix, against the public code of its authors"
from functools import partial

import torch
from common import close

from dd_debias.bias import color_digits
from dd_debias.encoder import gsc_loss
from dd_debias.nets import ConvNet
from dd_debias.selecmix import contradicting_pairs, train_selecmix


def test_selecmix_matches_the_authors_code(trainers):
    z, y = trainers['mix_features'].requires_grad_(), trainers['mix_labels']
    for same, name in ((True, 'mix_same'), (False, 'mix_other')):
        assert contradicting_pairs(z, y, same=same).equal(trainers[name])
    loss = gsc_loss(z, y)
    assert close(loss, trainers['gsc_loss']) and close(torch.autograd.grad(loss, z)[0], trainers['gsc_gradient'])

def test_a_pool_of_one_image():
    x, y = color_digits()[:65].xy
    model = train_selecmix(x, y, net=partial(ConvNet, width=4), epochs=1, pool=64, batch=32)
    assert model(x).isfinite().all()

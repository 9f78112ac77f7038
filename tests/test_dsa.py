"Gradient matching, against the public code of its authors"
import torch
from common import close

from dd_debias.dsa import class_gradients, gradient_distance


def test_dsa_loss_matches_the_authors_code(authors):
    net, given = authors
    syn = given['syn'].clone().requires_grad_()
    loss = gradient_distance(class_gradients(net, syn), class_gradients(net, given['real']))
    assert close(loss, given['dsa_loss']) and close(torch.autograd.grad(loss, syn)[0], given['dsa_gradient'])

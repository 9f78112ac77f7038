"Gradient matching: against the public code of its authors, and with canvases"
from functools import partial

import torch
from common import close

from dd_debias.bias import color_digits
from dd_debias.distilled import unpack_canvas
from dd_debias.dsa import class_gradients, distill_dsa, gradient_distance
from dd_debias.nets import ConvNet
from dd_debias.runtime import derive_seed, seeded
from dd_debias.sampling import ClassSampler


def test_dsa_loss_matches_the_authors_code(authors):
    net, given = authors
    syn = given['syn'].clone().requires_grad_()
    loss = gradient_distance(class_gradients(net, syn), class_gradients(net, given['real']))
    assert close(loss, given['dsa_loss']) and close(torch.autograd.grad(loss, syn)[0], given['dsa_gradient'])

def test_factor_matches_unpacked_images():
    "With factor=2, steps have the losses of the four times as many images that the canvases unpack to"
    train, canvas = color_digits()[:300], torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = []
    def on_step(step, steps, state): losses.append(state['loss'])
    for images, how in ((canvas, dict(ipc=1, factor=2)), (unpack_canvas(canvas, 2), dict(ipc=4))):
        state = dict(images=images, velocity=torch.zeros_like(images), step=0)
        syn = distill_dsa(*train.xy, rounds=1, outer=3, lr=1e-9, batch=9, net=partial(ConvNet, width=8), **how,
                          resume_from=state, on_step=on_step)
        assert len(syn) == len(images) and len(syn.xy[0]) == len(syn.xy[1]) == 40
    canvases, unpacked = torch.stack(losses).view(2, 3)
    assert torch.allclose(canvases, unpacked, rtol=1e-4)

def test_a_round_begins_with_a_fresh_network():
    "which is trained on the synthetic images between two updates"
    train, net, seen = color_digits()[:200], partial(ConvNet, width=4), []
    def on_step(step, steps, state): seen.append(state['net'].clone())
    distill_dsa(*train.xy, ipc=1, rounds=2, outer=3, batch=4, net=net, seed=5, on_step=on_step)
    for step in (0, 3):
        with seeded(derive_seed(5, 'dsa', step)):
            ClassSampler(train.labels, torch.ones(200))(4)
            fresh = net(3, 10, 16)
        assert seen[step].equal(torch.nn.utils.parameters_to_vector(fresh.parameters()).detach())
    for step in (1, 2, 4, 5): assert not seen[step].equal(seen[step-1])

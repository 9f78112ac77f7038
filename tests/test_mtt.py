"Trajectory matching and its experts, against plain loops and the public code of its authors"
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from common import close, few, left, short
from torch import nn
from torch.func import grad, vmap

from dd_debias import mtt
from dd_debias.augment import batch_augment
from dd_debias.bias import color_digits
from dd_debias.dsa import class_gradients
from dd_debias.mtt import default_rates, distill_mtt, expert_trajectories, functional_loss, student_gradient
from dd_debias.nets import MLP, VGG11, AlexNet, ConvNet, LeNet, ResNet18
from dd_debias.pixels import channel_stats, standardize
from dd_debias.runtime import derive_seed, seeded
from dd_debias.sampling import ClassSampler
from dd_debias.weights import normalize_weights


def test_mtt_loss_matches_the_authors_code(authors):
    net, given = authors
    names = [name for name, _ in net.named_parameters()]
    start, target = (torch.cat([given[f'{k}.{n}'].flatten() for n in names]) for k in ('start', 'target'))
    syn, labels = given['syn'].flatten(0, 1), torch.arange(3).repeat_interleave(2)
    batches = [(torch.arange(6), 0)]*4
    loss, for_syn, for_lr = student_gradient(
        functional_loss(net), start, target, syn, labels, batches, torch.tensor(.05))
    assert close(loss, given['mtt_loss'])
    assert close(for_syn, given['mtt_gradient'].flatten(0, 1)) and close(for_lr, given['mtt_lr_gradient'])

@pytest.mark.parametrize('net', [MLP, LeNet, AlexNet, VGG11, ResNet18])
def test_student_gradient_of_any_network(net):
    "Second derivatives of pooling and norms, with augmentation, against code that keeps the graph of all steps"
    with seeded(0): model, x = net(3, 2, 16).double(), torch.rand(4, 3, 16, 16).double()
    y, alpha, loss = torch.tensor([0, 0, 1, 1]), torch.tensor(.01).double(), functional_loss(model)
    theta = torch.cat([p.detach().flatten() for p in model.parameters()])
    target = theta+.01*torch.randn(theta.shape, generator=torch.Generator().manual_seed(0)).double()
    batches = [(torch.arange(4), 5), (torch.tensor([3, 0]), 9)]
    _, for_syn, _ = student_gradient(loss, theta, target, x, y, batches, alpha, augment='color_crop')
    leaf, student = x.clone().requires_grad_(), theta.clone().requires_grad_()
    for idx, seed in batches:
        images = batch_augment(leaf[idx], strategy='color_crop', seed=seed)
        gradient, = torch.autograd.grad(loss(student, images, y[idx]), student, create_graph=True)
        student = student-alpha*gradient
    distance = (student-target).square().sum()/(theta-target).square().sum()
    assert close(for_syn, torch.autograd.grad(distance, leaf)[0])
    assert all(g.isfinite().all() for g in class_gradients(model, x.view(2, 2, 3, 16, 16)).values())

def test_experts_are_plain_sgd():
    """Weighted draws, and each expert of a stack as if it were alone. On a GPU the stack's gradients are taken by vmap,
    which gives the same"""
    train = color_digits()[:100]
    w = normalize_weights(torch.rand(100, generator=torch.Generator().manual_seed(1)), train.labels)
    net, steps, batch, lr, seed = partial(ConvNet, width=4), 2, 70, .1, 3
    paths = expert_trajectories(
        *train.xy, w, seed=seed, experts=2, stack_size=2, epochs=1, steps=steps, batch=batch, lr=lr, net=net)
    x = standardize(train.images, channel_stats(train.images, w))
    sampler = ClassSampler(torch.zeros_like(train.labels), w)
    for expert, path in enumerate(paths):
        with seeded(derive_seed(seed, 'experts', expert)):
            model = net(3, 10, 16)
            for _ in range(steps):
                idx = sampler(batch)[0]
                images, labels = batch_augment(x[idx], seed=int(torch.randint(2**31, ()))), train.labels[idx]
                theta = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
                by_vmap = vmap(grad(functional_loss(model)))(theta[None], images[None], labels[None])[0]
                gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))
                gradient = torch.cat([g.flatten() for g in gradients])
                assert close(by_vmap, gradient)
                torch.nn.utils.vector_to_parameters(theta-lr*gradient, model.parameters())
        assert close(path[-1], torch.cat([p.detach().flatten() for p in model.parameters()]))

def test_cached_experts_are_reused(tmp_path):
    "Interrupted after the second of three stacks, only the third is trained again"
    epochs = []
    train = partial(short, *few.xy, experts=3, net=partial(ConvNet, width=4), cache=tmp_path)
    def stop(epoch, *_):
        epochs.append(epoch)
        if epoch == 3: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train(on_step=stop)
    assert len(left(tmp_path)) == 2
    again = train(on_step=lambda epoch, *_: epochs.append(epoch))
    assert epochs == [1, 2, 3, 3]
    assert all(a.equal(b) for a, b in zip(again, train(cache=None), strict=True))
    (tmp_path/left(tmp_path)[0]).write_bytes(b'?')
    with pytest.raises(ValueError, match='damaged'): train()
    class Net(nn.Linear):
        def __init__(self, f):
            super().__init__(768, 10)
            self.f = f

        def forward(self, x): return super().forward(self.f(x.flatten(1)))
    a, b = (train(net=lambda *kind, f=f: Net(f)) for f in (torch.tanh, torch.relu))
    assert not a[0].equal(b[0]) # networks with the same parameters are told apart

def test_the_rates_follow_the_images_per_class():
    train, narrow = color_digits()[:200], partial(ConvNet, width=8)
    experts = partial(expert_trajectories, experts=1, epochs=2, steps=1, batch=16)
    tiny = partial(distill_mtt, *train.xy, ipc=1, steps=2, syn_steps=2, max_start_epoch=1, net=narrow, experts=experts)
    lr, lr_lr = default_rates(1)
    assert tiny().images.equal(tiny(lr=lr, lr_lr=lr_lr).images)
    assert not tiny().images.equal(tiny(lr=1000.).images)

@pytest.mark.parametrize('ahead', [1, 3])
def test_the_target_is_so_many_epochs_ahead(ahead, monkeypatch):
    "of where a student starts, which is one of the first epochs of an expert"
    asked = []
    def gradient(loss, start, target, syn, *others, **how):
        asked.append((start[0].item(), target[0].item()))
        return torch.tensor(0.), torch.zeros_like(syn), torch.tensor(0.)
    def experts(images, labels, weights, *, seed, net, on_step):
        parameters = sum(p.numel() for p in net(3, 10, 16).parameters())
        return [torch.arange(8.)[:, None].expand(8, parameters)]
    monkeypatch.setattr(mtt, 'student_gradient', gradient)
    distill_mtt(*few.xy, ipc=1, steps=20, syn_lr=.1, net=partial(ConvNet, width=4), experts=experts, max_start_epoch=3,
                expert_epochs=ahead)
    assert {target-start for start, target in asked} == {ahead} and {start for start, _ in asked} == {0, 1, 2}

"""The hot paths as the field's public code writes them, to measure ours against: class by class, network by network,
image by image, in float32 and the default memory layout.

Written for this purpose and in our words; the package does not use it."""
import torch
import torch.nn.functional as F
from torch import nn

from dd_debias.augment import batch_augment, siamese_augment


def convnet(channels=3, classes=10, size=32, width=128):
    layers = []
    for i in range(3):
        conv = nn.Conv2d(width if i else channels, width, 3, padding=1)
        layers += [conv, nn.GroupNorm(width, width, affine=True), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width*(size//8)**2, classes))

def batch_of(images, labels, c, n):
    "Real images of one class, standardised beforehand"
    members = (labels == c).nonzero().flatten()
    return images[members[torch.randint(len(members), (n,))]]

def class_augment(x, seed): return siamese_augment(x, torch.zeros(len(x), dtype=torch.int64), seed=seed)

def dm_step(new, images, labels, syn, batch=256):
    net = new().to(images.device).requires_grad_(False)
    opt, loss = torch.optim.SGD([syn], lr=1., momentum=.5), 0.
    for c in range(10):
        real = class_augment(batch_of(images, labels, c, batch), c)
        fake = class_augment(syn[c], c)
        loss = loss+(net[:-1](real).detach().mean(0)-net[:-1](fake).mean(0)).square().sum()
    opt.zero_grad()
    loss.backward()
    opt.step()

def dsa_step(new, images, labels, syn, batch=256):
    net = new().to(images.device)
    opt, loss = torch.optim.SGD([syn], lr=.1, momentum=.5), 0.
    for c in range(10):
        real = class_augment(batch_of(images, labels, c, batch), c)
        fake = class_augment(syn[c], c)
        real_loss = F.cross_entropy(net(real), torch.full((len(real),), c, device=real.device))
        real_gradients = torch.autograd.grad(real_loss, net.parameters())
        fake_loss = F.cross_entropy(net(fake), torch.full((len(fake),), c, device=real.device))
        fake_gradients = torch.autograd.grad(fake_loss, net.parameters(), create_graph=True)
        for a, b in zip(fake_gradients, real_gradients, strict=True):
            if a.ndim > 1:
                a, b = a.flatten(1), b.flatten(1)
                loss = loss+(1-(a*b).sum(1)/(a.norm(dim=1)*b.norm(dim=1)+1e-6)).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()

def mtt_step(new, syn, labels, start, target, steps, lr=.01):
    "The student's steps in one graph"
    net, theta = new().to(syn.device), start
    shapes = {k: p.shape for k, p in net.named_parameters()}
    for i in range(steps):
        pieces = theta.split([s.numel() for s in shapes.values()])
        parameters = {k: v.view(s) for (k, s), v in zip(shapes.items(), pieces, strict=True)}
        out = torch.func.functional_call(net, parameters, (batch_augment(syn, seed=i),))
        grad, = torch.autograd.grad(F.cross_entropy(out, labels), theta, create_graph=True)
        theta = theta-lr*grad
    ((theta-target).square().sum()/(start-target).square().sum()).backward()

def train_networks(new, images, labels, networks, epochs):
    for _ in range(networks):
        net = new().to(images.device)
        opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9, weight_decay=5e-4)
        for epoch in range(epochs):
            loss = F.cross_entropy(net(batch_augment(images, seed=epoch)), labels)
            opt.zero_grad()
            loss.backward()
            opt.step()

def encoder_steps(net, images, labels, steps, batch=256):
    "The contrastive loss written over all pairs, in probabilities"
    opt = torch.optim.Adam(net.parameters(), lr=.001)
    for _ in range(steps):
        idx = torch.randint(len(images), (batch,))
        z, y = F.normalize(net(images[idx]), dim=1), labels[idx]
        others = ~torch.eye(batch, dtype=torch.bool, device=z.device)
        p = (z@z.T/.2).exp()*others
        p = p/p.sum(1, keepdim=True)
        positive = (y[:, None] == y) & others
        loss = -((.7*p.detach()**.7*(p+1e-12).log()*positive).sum(1)/positive.sum(1).clamp_min(1)).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()

@torch.no_grad()
def embed(net, images): return torch.cat([F.normalize(net(b), dim=1) for b in images.split(256)])

def kde(features, labels, variance=.1):
    "All distances of a class at once"
    density = torch.empty(len(features), dtype=torch.float64)
    for c in labels.unique():
        z = features[labels == c]
        density[labels == c] = (-torch.cdist(z, z).square()/(2*variance)).exp().mean(1).double().cpu()
    return 1/density

def one_by_one(paint, images, bias, seed):
    return torch.cat([paint(images[i:i+1], bias[i:i+1], seed=seed+i) for i in range(len(images))])

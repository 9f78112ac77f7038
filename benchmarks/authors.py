"""The hot paths with the original authors' own networks, augmentation, distance and training loop, to measure ours
against. Their code is not part of this project; it is imported from clones in one folder:

    git clone https://github.com/VICO-UoE/DatasetCondensation
    git clone https://github.com/GeorgeCazenavette/mtt-distillation

Their step stands inside of a main function, so the few lines that call theirs are ours."""
import sys
import types
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

STRATEGY = 'color_crop_cutout_scale_rotate'

def load(folder, repository):
    "The modules networks and utils of one repository. Both have modules of these names: one repository in a process"
    path = Path(folder)/repository
    if not (path/'utils.py').exists(): raise SystemExit(f'--authors: {path} must be a clone, see benchmarks/authors.py')
    sys.path.insert(0, str(path))
    old_scipy = types.ModuleType('scipy.ndimage.interpolation') # they import a name that SciPy has moved
    old_scipy.rotate = import_module('scipy.ndimage').rotate
    sys.modules.setdefault('scipy.ndimage.interpolation', old_scipy)
    sys.modules.setdefault('kornia', types.ModuleType('kornia')) # for ZCA, which is not used here
    return import_module('networks'), import_module('utils')

def convnet(networks, width):
    return networks.ConvNet(3, 10, width, 3, 'relu', 'instancenorm', 'avgpooling', im_size=(32, 32))

class Condensation:
    "Steps of DM and DSA and the training of an evaluation (Zhao and Bilen, 2021a and 2021b)"
    def __init__(self, folder, width, device):
        networks, self.utils = load(folder, 'DatasetCondensation')
        self.new = partial(convnet, networks, width)
        self.args = SimpleNamespace(device=device, dis_metric='ours', dsa=True, dsa_strategy=STRATEGY,
                                    dsa_param=self.utils.ParamDiffAug())

    def net(self): return self.new().to(self.args.device)

    def batches(self, images, labels, syn, batch):
        "For each class a batch of real images and the synthetic ones, augmented alike"
        for c in range(10):
            members = (labels == c).nonzero().flatten()
            real = images[members[torch.randperm(len(members))[:batch]]]
            augment = partial(self.utils.DiffAugment, strategy=STRATEGY, seed=c, param=self.args.dsa_param)
            yield c, augment(real), augment(syn[c])

    def dm_step(self, images, labels, syn, batch):
        net, opt, loss = self.net().requires_grad_(False), torch.optim.SGD([syn], lr=1., momentum=.5), 0.
        for _, real, fake in self.batches(images, labels, syn, batch):
            loss = loss+(net.embed(real).detach().mean(0)-net.embed(fake).mean(0)).square().sum()
        opt.zero_grad()
        loss.backward()
        opt.step()

    def dsa_step(self, images, labels, syn, batch):
        net, opt, loss = self.net(), torch.optim.SGD([syn], lr=.1, momentum=.5), 0.
        parameters = list(net.parameters())
        for c, real, fake in self.batches(images, labels, syn, batch):
            real_loss = F.cross_entropy(net(real), labels.new_full((len(real),), c))
            real_gradients = [g.detach().clone() for g in torch.autograd.grad(real_loss, parameters)]
            fake_loss = F.cross_entropy(net(fake), labels.new_full((len(fake),), c))
            fake_gradients = torch.autograd.grad(fake_loss, parameters, create_graph=True)
            loss = loss+self.utils.match_loss(fake_gradients, real_gradients, self.args)
        opt.zero_grad()
        loss.backward()
        opt.step()

    def train_networks(self, images, labels, networks, epochs):
        loader = DataLoader(TensorDataset(images, labels), batch_size=256, shuffle=True)
        self.args.dsa_param.latestseed = -1
        for _ in range(networks):
            net = self.net()
            opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9, weight_decay=5e-4)
            for _ in range(epochs):
                self.utils.epoch('train', loader, net, opt, torch.nn.CrossEntropyLoss(), self.args, aug=True)

class Trajectories:
    "A step of MTT (Cazenavette et al., 2022)"
    def __init__(self, folder, width, device):
        networks, self.utils = load(folder, 'mtt-distillation')
        wrap = import_module('reparam_module').ReparamModule
        self.new = lambda: wrap(convnet(networks, width)).to(device)
        self.param = self.utils.ParamDiffAug()

    def step(self, syn, labels, start, target, steps, lr):
        net, theta = self.new(), start.clone().requires_grad_()
        lr = lr.clone().requires_grad_()
        for _ in range(steps):
            x = self.utils.DiffAugment(syn, STRATEGY, param=self.param)
            loss = F.cross_entropy(net(x, flat_param=theta), labels)
            gradient, = torch.autograd.grad(loss, theta, create_graph=True)
            theta = theta-lr*gradient
        distance = F.mse_loss(theta, target, reduction='sum')/F.mse_loss(start, target, reduction='sum')
        distance.backward()

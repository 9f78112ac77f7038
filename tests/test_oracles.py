"Numbers from outside: scikit-learn, plain loops, the paper's counts"
from functools import partial
import pytest, torch
import torch.nn.functional as F
from conftest import needs
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity
from dd_debias.augment import siamese_augment
from dd_debias.bias import cmnist, color_digits
from dd_debias.core import channel_stats, mean_one, seeded, subseed, to_float
from dd_debias.distill import draw_by_weight
from dd_debias.dm import Sampler, distill_dm
from dd_debias.encoder import embed, train_encoder
from dd_debias.kde import kde_density, kde_weights
from dd_debias.nets import ConvNet

@pytest.mark.parametrize('variance', [.01, .1, 1.])
def test_density_is_scikit_learns(variance):
    z = F.normalize(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    kde = KernelDensity(bandwidth=variance**.5, rtol=1e-9).fit(z.double().numpy())
    theirs = torch.from_numpy(kde.score_samples(z.double().numpy()))
    assert (kde_density(z, variance=variance, log=True)-theirs).abs().max() < 1e-5

def test_density_does_not_depend_on_blocks():
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kde_density(z, block=7), kde_density(z), rtol=1e-5)

@pytest.mark.parametrize('sampling', ['importance', 'weighted'])
def test_dm_is_the_plain_loop(sampling):
    "Equation 2, class by class and step by step, float32 and without blocks"
    train = color_digits()[:200]
    w = torch.rand(200, generator=torch.Generator().manual_seed(1)).double()
    w = mean_one(w, train.labels)
    net, steps, batch, ipc, seed, lr = partial(ConvNet, width=16), 3, 5, 2, 0, 1.
    losses = []
    syn = distill_dm(*train.xy, w, ipc=ipc, steps=steps, batch=batch, net=net, lr=lr, seed=seed, sampling=sampling, on_step=lambda i, n, s: losses.append((s['images'].clone(), s['loss'].item())))
    mean, std = (s.view(-1, 1, 1) for s in channel_stats(train.images, w))
    x = (to_float(train.images)-mean)/std
    s = x[draw_by_weight(train.labels, w, ipc, seed=seed)].clone().requires_grad_()
    velocity = torch.zeros_like(s)
    for step in range(steps):
        with seeded(subseed(seed, 'dm', step)):
            psi = net(3, 10, 16)
            idx = Sampler(train.labels, w if sampling == 'importance' else torch.ones_like(w))(batch)
        turn, loss = subseed(seed, 'augment', step), 0.
        aug = lambda images, labels: siamese_augment(torch.cat([images, x[:1]]), torch.cat([labels, torch.tensor([9])]), seed=turn)[:-1] # all ten classes have a draw, here too
        for c in range(10):
            factor = w[idx[c]].float()[:, None] if sampling == 'weighted' else 1.
            real = (factor*psi.embed(aug(x[idx[c]], torch.full((batch,), c)))).sum(0)/batch
            fake = psi.embed(aug(s[c*ipc:(c+1)*ipc], torch.full((ipc,), c))).mean(0)
            loss = loss+((real.detach()-fake)**2).sum()
        assert losses[step][1] == pytest.approx(loss.item(), rel=.03) # bfloat16 where the machine has it
        velocity = .5*velocity+torch.autograd.grad(loss, s)[0]
        s = (s.detach()-lr*velocity).requires_grad_()
        assert F.cosine_similarity(losses[step][0].flatten(), s.flatten(), 0) > .9999
    assert torch.allclose(syn.images, losses[-1][0]*std+mean)

@needs('mnist')
@pytest.mark.parametrize('conflict', [.01, .05])
def test_low_density_finds_conflicting_cmnist(conflict):
    train = cmnist(conflict)
    weights = kde_weights(embed(train_encoder(*train.xy, steps=300), train.images), train.labels)
    assert roc_auc_score(~train.aligned, weights) > .97

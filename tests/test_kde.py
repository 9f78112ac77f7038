"Kernel density, and the weights made from it"
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common import needs
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity

from dd_debias.bias import cmnist
from dd_debias.encoder import embed, train_encoder
from dd_debias.kde import kde_density, kde_weights


@pytest.mark.parametrize('variance', [.01, .1, 1.])
def test_density_matches_scikit_learn(variance):
    z = F.normalize(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    kde = KernelDensity(bandwidth=variance**.5, rtol=1e-9).fit(z.double().numpy())
    theirs = torch.from_numpy(kde.score_samples(z.double().numpy()))
    assert (kde_density(z, variance=variance, log=True)-theirs).abs().max() < 1e-5

def test_density_does_not_depend_on_block_size():
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kde_density(z, block=7), kde_density(z), rtol=1e-5)

def test_density_far_from_the_origin():
    "Two clusters 2,000 apart, where distances in float32 would lose all precision"
    side = (torch.arange(50)%2*2-1)[:, None]
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))*.1+torch.tensor([1000., 0, 0, 0])*side
    d2 = (z[:, None].double()-z.double()).square().sum(-1)
    plain = torch.logsumexp(-d2/.2, 1)-np.log(50)-2*np.log(2*np.pi*.1)
    assert torch.allclose(kde_density(z, log=True), plain, atol=1e-3)

@needs('mnist')
@pytest.mark.parametrize('conflict', [.01, .05])
def test_low_density_finds_conflicting_images_of_cmnist(conflict):
    train = cmnist(conflict)
    weights = kde_weights(embed(train_encoder(*train.xy, steps=300), train.images), train.labels)
    assert roc_auc_score(~train.aligned, weights) > .97

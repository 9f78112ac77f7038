"Kernel density, and the weights made from it"
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from common import needs
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity

from dd_debias import kde
from dd_debias.bias import cmnist, color_digits
from dd_debias.encoder import SmallEncoder, embed, train_encoder
from dd_debias.groups import cluster_weights, find_clusters, find_shared_clusters, group_weights, weigh_property
from dd_debias.kde import kde_density, kde_weights, weigh_kde, weigh_propensity
from dd_debias.weights import cap_weights, normalize_weights


@pytest.mark.parametrize('variance', [.01, .1, 1.])
def test_density_matches_scikit_learn(variance):
    z = F.normalize(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    kde = KernelDensity(bandwidth=variance**.5, rtol=1e-9).fit(z.double().numpy())
    theirs = torch.from_numpy(kde.score_samples(z.double().numpy()))
    assert (kde_density(z, variance=variance, log=True)-theirs).abs().max() < 1e-5

def test_density_does_not_depend_on_block_size():
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kde_density(z, block=7), kde_density(z), rtol=1e-5)

def clusters(n, d, spread, scale, seed=0):
    "Tens of points within `spread` of each other, the first two the same; the centres `scale` apart"
    g = torch.Generator().manual_seed(seed)
    centres = scale*torch.randn(n//10, d, generator=g, dtype=torch.float64)
    z = centres.repeat_interleave(10, 0)+spread*torch.randn(n, d, generator=g, dtype=torch.float64)
    z[1::10] = z[::10]
    return z

def plain_log_density(z, variance):
    "From differences in float64, block by block"
    z = z.double()
    d2 = torch.stack([(z-row).square().sum(1) for row in z])
    return torch.logsumexp(-d2/2/variance, 1)-np.log(len(z))-z.shape[1]/2*np.log(2*np.pi*variance)

@pytest.mark.parametrize('dtype,d,spread,scale,offset,variance', [
    (torch.float64, 16, .1, 1e7, 0, .1),
    (torch.float64, 16, .1, 1, 1e7, .1),
    (torch.float64, 16, .1, 1e200, 0, .1),
    (torch.float64, 16, .1, 1e307, 0, .1),
    (torch.float32, 16, .1, 1000, 0, .1),
    (torch.float32, 16, .1, 1, 1e4, .1),
    (torch.float32, 128, .02, .35, 0, .1), # just near enough for float32
    (torch.float32, 128, .02, .45, 0, .1), # just not
    (torch.float32, 128, .005, .1, 0, .002),
    (torch.float32, 16, .1, 1e37, 0, .1),
    (torch.float16, 16, .1, 100, 0, .1),
    (torch.bfloat16, 16, .3, 100, 0, .1),
    (torch.bfloat16, 16, .3, 1, 100, .1),
    (torch.int64, 16, 1, 10, 0, .1),
    (torch.float64, 16, 1e-15, 1e-15, 0, 1e-30),
    (torch.float64, 16, .1, 1, 0, 1e299)])
def test_density_of_any_scale_and_type_matches_plain_differences(dtype, d, spread, scale, offset, variance):
    z = (clusters(300, d, spread, scale)+offset).to(dtype)
    log_f = kde_density(z, variance=variance, log=True)
    assert (log_f-plain_log_density(z, variance)).abs().max() < 1e-4
    assert log_f[0] == pytest.approx(log_f[1].item(), abs=1e-12) # duplicates

def test_autocast_changes_nothing():
    z = F.normalize(clusters(300, 16, .1, 1)).float()
    with torch.autocast('cpu', torch.bfloat16): inside = kde_density(z)
    assert inside.equal(kde_density(z))

def test_a_sample_stands_for_a_large_class():
    "Exact up to `reference` samples, always the same above, unbiased, and never without the sample itself"
    z = F.normalize(clusters(2000, 16, .1, 1)).float()
    z[7] = -z[:7].mean(0) # alone
    exact = kde_density(z, reference=None)
    assert kde_density(z, reference=2000).equal(exact) and kde_density(z).equal(exact)
    sampled = kde_density(z, reference=1000)
    assert sampled.equal(kde_density(z, reference=1000))
    assert torch.allclose(sampled, kde_density(z, reference=1000, block=300), rtol=1e-5)
    assert (sampled/exact).mean() == pytest.approx(1, abs=.02) and (sampled/exact-1).abs().median() < .3
    assert (kde_density(z, reference=2, log=True) > -np.inf).all()
    y = torch.arange(2000)%2
    assert kde_weights(z, y, reference=1000).equal(kde_weights(z, y, reference=None))

def test_arrays_and_lists_are_taken():
    z = F.normalize(clusters(40, 8, .1, 1)).float()
    y = torch.arange(40)%2
    weights, found, shared = kde_weights(z, y), find_clusters(z, y), find_shared_clusters(z, y, 2)
    groups = group_weights(y, found)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for features in (z.numpy(), z.tolist(), pd.DataFrame(z.numpy()), z.clone().requires_grad_(),
                         z.flip(0).numpy()[::-1]):
            for labels in (y.numpy(), y.int().numpy(), y.tolist(), pd.Series(y.numpy())):
                assert torch.allclose(kde_weights(features, labels), weights, rtol=1e-4)
                assert find_clusters(features, labels).equal(found)
                assert find_shared_clusters(features, labels, 2).equal(shared)
                assert group_weights(labels, found.numpy()).equal(groups)
        assert torch.allclose(kde_density(z.numpy()), kde_density(z))
    assert not kde_weights(z.clone().requires_grad_(), y).requires_grad

USERS = [kde_weights, find_clusters, cluster_weights, partial(cluster_weights, num_clusters=2)]
ONE_DIMENSION = r'features must be a non-empty \(N,D\)'
NO_FEATURES = {
    'text': (['a', 'b'], 'features must be a tensor, or an array or list of numbers, got list'),
    'ragged': ([[1., 2.], [1.]], 'features must be a tensor, or an array or list of numbers'),
    'none': (None, 'features must be a tensor, or an array or list of numbers, got NoneType'),
    'objects': (np.array([[None], [1]]), 'features must be .* got object'),
    'complex': (torch.ones(2, 2)*1j, 'features must be a dense tensor of real numbers'),
    'sparse': (torch.eye(2).to_sparse(), 'features must be a dense tensor of real numbers'),
    'meta': (torch.ones(2, 2, device='meta'), 'features must be a dense tensor .* on meta'),
    'flat': (torch.ones(2), ONE_DIMENSION),
    'no columns': (torch.ones(2, 0), ONE_DIMENSION),
    'no rows': (torch.ones(0, 2), ONE_DIMENSION),
    'infinite': (torch.tensor([[np.inf], [0]]), 'features hold NaN or infinite values'),
    'NaN in an array': (np.array([[np.nan], [0]]), 'features hold NaN or infinite values'),
    'too few': (torch.ones(1, 2), 'features and labels must have the same length, got 1 and 2')}

@pytest.mark.parametrize('name', NO_FEATURES)
@pytest.mark.parametrize('f', USERS)
def test_bad_features_are_one_sentence(name, f):
    features, says = NO_FEATURES[name]
    with pytest.raises(ValueError, match=f'^{says}') as e: f(features, torch.tensor([0, 1]))
    assert '\n' not in str(e.value)

two = torch.eye(2)
NO_LABELS = {
    'float': (torch.tensor([0., 1]), 'labels must be'),
    'missing': (pd.Series([0, None]), 'labels must be'),
    'text': (['a', 'b'], 'labels must be a tensor, or an array or list of numbers'),
    'negative': ([0, -1], 'labels must be numbered from 0, got -1'),
    'one-hot': (two.long(), 'features and labels must have the same length, got 2 and 4'),
    'gap': ([0, 2], 'labels: no sample of class 1')}

@pytest.mark.parametrize('name', NO_LABELS)
@pytest.mark.parametrize('f', USERS)
def test_bad_labels_are_one_sentence(name, f):
    labels, says = NO_LABELS[name]
    with pytest.raises(ValueError, match=f'^{says}'): f(two, labels)

def test_shared_clusters_are_of_all_classes():
    "One class has the second value of the shortcut once, the other always: the values of a class weigh the same"
    z = torch.tensor([[0., 1]]*9+[[1., 0]]*11)+.01*torch.arange(20)[:, None]
    y = torch.tensor([0]*10+[1]*10)
    found = find_shared_clusters(z, y, 2)
    assert found[:9].unique().numel() == 1 and (found[9:] == 1-found[0]).all()
    assert cluster_weights(z, y, num_clusters=2).tolist() == pytest.approx([10/18]*9+[5]+[1]*10)
    with pytest.raises(ValueError, match='^num_clusters must be at most the number of samples, 20, got 21'):
        find_shared_clusters(z, y, 21)

def test_a_class_too_large_for_pairs_is_refused():
    many = torch.zeros(30001, 2)
    with pytest.raises(ValueError, match='^num_clusters: class 0 has 30,001 images, and DBSCAN'):
        find_clusters(many, torch.zeros(30001, dtype=torch.int64))

def test_groups_by_a_property():
    "Above and below a threshold, which is found unless it is given"
    dark, bright = (torch.full((1, 3, 8, 8), v, dtype=torch.uint8) for v in (50, 200))
    images = torch.cat([dark]*9+[bright]+[dark]*10+[bright]*20)
    labels = torch.arange(4).repeat_interleave(10)
    expected = torch.tensor([10/18]*9+[5]+[1]*30).double()
    for how in ({}, dict(by='brightness, image'), dict(by='brightness, top', above=.5)):
        assert torch.allclose(weigh_property(images, labels, **how), expected)
    with pytest.raises(ValueError, match="^above must be from 0.196 to 0.784, where 'brightness, image' .* got 50"):
        weigh_property(images, labels, by='brightness, image', above=50)
    with pytest.raises(ValueError, match="^by must be a measure and a region, .* got 'sepia'"):
        weigh_property(images, labels, by='sepia')
    with pytest.raises(ValueError, match='^by: fewer than four classes'): weigh_property(images, labels.clamp_max(2))
    two = labels//2 # of these, too, a named property separates one from the other
    assert weigh_property(images, two, by='brightness, image')[9] == pytest.approx(10)
    with pytest.raises(ValueError, match='^above must be a finite number'): weigh_property(images, labels, above=np.nan)

@pytest.mark.parametrize('groups,says', [
    (torch.tensor([0., .5]), 'groups must be whole numbers from 0, got torch.float32'),
    ([0, -1], 'groups must be whole numbers from 0, got torch.int64 from -1'),
    ([0, None], 'groups must be a tensor, or an array or list of numbers'),
    ([0], r'groups must be one number per sample, shape \(2,\), got \(1,\)'),
    (two, 'groups must be one number per sample')])
def test_bad_groups_are_one_sentence(groups, says):
    with pytest.raises(ValueError, match=f'^{says}'): group_weights([0, 1], groups)
    with pytest.raises(ValueError, match='^labels must be a non-empty'): group_weights([], [])

@pytest.mark.parametrize('argument,value', [
    ('variance', np.inf), ('variance', 1e300), ('variance', np.nan), ('temperature', 1e-310),
    ('reference', 0), ('reference', 1), ('reference', 1.5), ('reference', -5)])
def test_bad_numbers_name_their_argument(argument, value):
    with pytest.raises(ValueError, match=f'^{argument} must be'): kde_weights(two, [0, 0], **{argument: value})

def test_a_device_without_float64(monkeypatch):
    "On such a device (here the CPU, as if it were one) weights are the same in float32"
    z = F.normalize(clusters(40, 8, .1, 1)).float()
    y = torch.arange(40)%2
    before = group_weights(y, y), kde_density(z)
    monkeypatch.setattr(kde, 'WITHOUT_FLOAT64', {'cpu'})
    after = group_weights(y, y), kde_density(z)
    for a, b in zip(before, after, strict=True): assert b.dtype == torch.float32 and b.equal(a.float())

@needs('mnist')
@pytest.mark.parametrize('conflict', [.01, .05])
def test_low_density_finds_conflicting_images_of_cmnist(conflict):
    train = cmnist(conflict)
    weights = kde_weights(embed(train_encoder(*train.xy, steps=300), train.images), train.labels)
    assert roc_auc_score(~train.aligned, weights) > .97

@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.floats(1, 50))
def test_capped_weights(values, cap):
    "No weight above the cap, mean one, those below it in their old proportions"
    w = torch.tensor([1., *values]).double()
    labels = torch.zeros(len(w), dtype=torch.long)
    if cap*(normalize_weights(w, labels) > 0).sum() < len(w):
        with pytest.raises(ValueError, match='give at least'): cap_weights(w, labels, cap)
        return
    capped = cap_weights(w, labels, cap)
    assert capped.max() <= cap*(1+1e-6) and abs(capped.mean().item()-1) < 1e-6
    below = (capped < cap*(1-1e-6)) & (w > 0)
    ratios = capped[below]/normalize_weights(w, labels)[below]
    assert torch.allclose(ratios, ratios[:1].expand_as(ratios), rtol=1e-6)
    assert (capped.diff()*w.diff().sign() >= -1e-12).all() # in the same order, but for rounding

@pytest.mark.parametrize('weigh, given', [
    (weigh_kde, dict(variance=.3, temperature=2., cap=3., reference=50)),
    (weigh_propensity, dict(variance=.3, temperature=2., cap=3.))])
def test_arguments_reach_the_density(weigh, given, monkeypatch):
    asked = {}
    def weights(features, labels, **how):
        asked.update(how)
        return torch.ones(len(labels), dtype=torch.float64)
    monkeypatch.setattr(kde, 'kde_weights', weights)
    weigh(*color_digits()[:60].xy, seed=0, encoder=SmallEncoder, **given)
    assert {name: asked[name] for name in given} == given

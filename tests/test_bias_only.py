"Weights by the doubt of bias-only networks: what they find, their contract, what they refuse."
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dd_debias.bias import color_digits
from dd_debias.bias_only import bias_only_probabilities, bias_only_weights, weigh_bias_only
from dd_debias.encoder import GlanceEncoder, SmallEncoder
from dd_debias.weights import conflict_share, normalize_weights

FEW_STEPS = partial(bias_only_probabilities, encoder_steps=5, halvings=1)

@pytest.fixture(scope='module')
def digits(): return color_digits(conflict=.05)

def test_the_networks_doubt_conflicting_images(digits):
    p = bias_only_probabilities(*digits.xy, encoder_steps=100, halvings=1)
    assert roc_auc_score(digits.aligned, p) > .95 and p[digits.aligned].mean() > .9
    assert conflict_share(bias_only_weights(p, digits.labels), ~digits.aligned) > .6

def test_no_network_judges_what_it_has_seen(digits, monkeypatch):
    few = digits[:40]
    seen, judged = [], []
    from dd_debias import bias_only
    monkeypatch.setattr(bias_only, 'trained_inputs', lambda model, images: torch.arange(40.)[:, None])
    class Spy(torch.nn.Module):
        def forward(self, x): # (n,1) numbers of images
            if len(x) > 2: (seen if self.training else judged).append(set(x[:, 0].tolist()))
            return x/40
    monkeypatch.setattr(bias_only, 'trained_part', lambda model: Spy())
    FEW_STEPS(*few.xy, halvings=2)
    assert len(judged) == 4 and judged[0] | judged[1] == judged[2] | judged[3] == set(range(40))
    assert judged[0] != judged[2] # halved anew
    for turn, of_others in enumerate(judged):
        drawn = set.union(*seen[5*turn:5*turn+5])
        assert len(of_others) == 20 and not drawn & of_others

@pytest.mark.parametrize('encoder', [GlanceEncoder, SmallEncoder])
def test_the_seed_decides(digits, encoder):
    p, again, other = (FEW_STEPS(*digits[:60].xy, seed=seed, encoder=encoder) for seed in (0, 0, 1))
    assert p.equal(again) and not p.equal(other)
    assert p.shape == (60,) and ((p >= 0) & (p <= 1)).all()

@given(st.lists(st.floats(0, 1), min_size=4, max_size=30), st.floats(0, 1))
def test_weights_of_any_probabilities(numbers, share):
    p = torch.tensor(numbers, dtype=torch.float64)
    labels = torch.arange(len(p))%2
    w = bias_only_weights(p, labels, share=share)
    assert torch.allclose(w, normalize_weights(w, labels)) and (w >= 0).all()
    if share >= .5: # at least: then what is doubted more is never lighter, where the mean doubt is below one half
        for c in (0, 1):
            of_class, doubt = w[labels == c], 1-p[labels == c]
            if doubt.mean() < .5: assert (of_class[doubt.argsort()].diff() >= -1e-9).all()

def test_sure_probabilities_give_the_shares_of_groups():
    labels = torch.tensor([0]*10+[1]*10)
    against = torch.tensor([False]*8+[True]*2+[False]*9+[True])
    for share in (None, .5, .9):
        w = bias_only_weights((~against).float(), labels, share=share)
        assert conflict_share(w, against) == pytest.approx(share or .5)

def test_weighs_by_its_probabilities(digits):
    few = digits[:200]
    p = bias_only_probabilities(*few.xy, seed=3, encoder_steps=5)
    told = []
    with pytest.warns(UserWarning, match=f'{p.mean():.0%} sure of the labels'): # after five steps
        w = weigh_bias_only(*few.xy, seed=3, encoder_steps=5, share=.7, on_step=lambda *step: told.append(step[:2]))
    assert w.equal(bias_only_weights(p, few.labels, share=.7))
    assert told == [(step, 40) for step in range(1, 41)]

def test_refusals(digits):
    few = digits[:20]
    with pytest.raises(ValueError, match='probabilities must be one number from 0 to 1'):
        bias_only_weights(torch.ones(19), few.labels)
    with pytest.raises(ValueError, match='probabilities must be one number from 0 to 1'):
        bias_only_weights(torch.full((20,), torch.nan), few.labels)
    with pytest.raises(ValueError, match='share must be'): bias_only_weights(torch.ones(20), few.labels, share=2.)
    with pytest.raises(ValueError, match='batch must be'): bias_only_probabilities(*few.xy, batch=1)
    with pytest.raises(ValueError, match='halvings must be'): bias_only_probabilities(*few.xy, halvings=0)
    with pytest.raises(ValueError, match='at least two'): bias_only_probabilities(few.images[:1], few.labels[:1]*0)
    with pytest.raises(FloatingPointError, match='lower encoder_lr'): FEW_STEPS(*few.xy, encoder_lr=1e30)

"Weights from what can be measured"
import pytest
import torch

from dd_debias.groups import weigh_property
from dd_debias.weights import cap_weights, conflict_share


def marked(n=200, odd=10, channels=1):
    "Noise in two classes; class 0 has a white corner, but for its last `odd` images"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(100, (2*n, 1, 16, 16), generator=generator, dtype=torch.uint8).repeat(1, channels, 1, 1)
    images[:n-odd, :, :4, :4] = 255
    return images, torch.arange(2).repeat_interleave(n)

@pytest.mark.parametrize('channels', [1, 3])
def test_those_without_the_mark_get_the_propensity(channels):
    "10 of 200 images of the class lack it, and 210 of all 400: p(z)/p(z|y) is .475/.95 and .525/.05"
    images, labels = marked(channels=channels)
    w = weigh_property(images, labels)
    expected = torch.tensor([.475/.95, .525/.05], dtype=torch.float64)
    assert w[0]/w[199] == pytest.approx((expected[0]/expected[1]).item())
    without_mark = torch.zeros(400, dtype=torch.bool)
    without_mark[190:200] = True
    assert conflict_share(w[:200], without_mark[:200]) == pytest.approx(.525/(.475+.525))
    assert torch.allclose(w[200:], torch.ones(200).double()) # all of class 1 lack it: there is nothing to even out

def test_nothing_to_measure_is_equal_weights():
    images, labels = marked(odd=200)
    assert weigh_property(images, labels).equal(torch.ones(400, dtype=torch.float64))
    images, labels = marked()
    assert weigh_property(images, labels, least=1.).equal(torch.ones(400, dtype=torch.float64))

def test_cap_and_bad_input():
    images, labels = marked(odd=2)
    capped = weigh_property(images, labels, cap=5.)
    assert capped.max() <= 5+1e-9 and capped.allclose(cap_weights(weigh_property(images, labels), labels, 5.))
    with pytest.raises(ValueError, match='least must be a finite number from 0 to 1'):
        weigh_property(images, labels, least=2.)

"Distribution matching, against a plain loop and against the public code of its authors"
from functools import partial

import pytest
import torch
from common import close

from dd_debias.augment import siamese_augment
from dd_debias.bias import color_digits
from dd_debias.distilled import unpack_canvas
from dd_debias.dm import LONG_RUN, default_lr, distill_dm, kernel_distance, mean_distance
from dd_debias.nets import ConvNet, _compiled_call, map_chunks
from dd_debias.pixels import channel_stats, to_float
from dd_debias.runtime import derive_seed, seeded
from dd_debias.sampling import ClassSampler, draw_by_weight
from dd_debias.weights import normalize_weights


@pytest.mark.parametrize('sampling, anneal, rates', [
    ('importance', True, (1., .75, .25)),
    ('weighted', False, (1., 1., 1.))])
def test_dm_matches_the_plain_loop(sampling, anneal, rates):
    "Equation 2, class by class and step by step, in float32 and without chunks"
    train = color_digits()[:200]
    w = torch.rand(200, generator=torch.Generator().manual_seed(1)).double()
    w = normalize_weights(w, train.labels)
    net, steps, batch, ipc, seed = partial(ConvNet, width=16), 3, 5, 2, 0
    losses = []
    def on_step(step, steps, state): losses.append((state['images'].clone(), state['loss'].item()))
    syn = distill_dm(*train.xy, w, ipc=ipc, steps=steps, batch=batch, net=net, lr=1., anneal=anneal, seed=seed,
                     sampling=sampling, bf16=False, on_step=on_step)
    mean, std = (s.view(-1, 1, 1) for s in channel_stats(train.images, w))
    x = (to_float(train.images)-mean)/std
    s = x[draw_by_weight(train.labels, w, ipc, seed=seed)].clone().requires_grad_()
    velocity = torch.zeros_like(s)
    for step in range(steps):
        with seeded(derive_seed(seed, 'dm', step)):
            psi = net(3, 10, 16)
            idx = ClassSampler(train.labels, w if sampling == 'importance' else torch.ones_like(w))(batch)
        aug_seed, loss = derive_seed(seed, 'augment', step), 0.
        def augment(images, c, aug_seed=aug_seed):
            "One class alone; an image of class 9 goes along, so that all ten classes have a draw here too"
            labels = torch.tensor([c]*len(images)+[9])
            return siamese_augment(torch.cat([images, x[:1]]), labels, seed=aug_seed)[:-1]
        for c in range(10):
            factor = w[idx[c]].float()[:, None] if sampling == 'weighted' else 1.
            real = (factor*psi.embed(augment(x[idx[c]], c))).sum(0)/batch
            syn_mean = psi.embed(augment(s[c*ipc:(c+1)*ipc], c)).mean(0)
            loss = loss+((real.detach()-syn_mean)**2).sum()
        assert losses[step][1] == pytest.approx(loss.item(), rel=1e-4)
        velocity = .5*velocity+torch.autograd.grad(loss, s)[0]
        before = losses[step-1][0] if step else s.detach()
        assert (losses[step][0]-before+rates[step]*velocity).norm() < 1e-3*velocity.norm()
        s = (s.detach()-rates[step]*velocity).requires_grad_()
    assert torch.allclose(syn.images, losses[-1][0]*std+mean)

def test_compiled_embeddings(monkeypatch):
    "The same images up to rounding, and to the bit where a run goes on; by itself in a long run, part or whole"
    train = color_digits()[:200]
    states, asked = [], []
    distill = partial(distill_dm, *train.xy, ipc=2, steps=4, batch=5, net=partial(ConvNet, width=16), bf16=False)
    def keep(step, steps, state):
        states.append(dict(step=step, images=state['images'].clone(), velocity=state['velocity'].clone()))

    plain = distill(compiled=False)
    compiled = distill(compiled=True, on_step=keep)
    assert torch.allclose(compiled.images, plain.images, atol=1e-4)
    assert distill(compiled=True, resume_from=states[1]).images.equal(compiled.images)

    def spy(f, x, graph=False, compiled=False, **how):
        if not graph: asked.append(compiled)
        return map_chunks(f, x, graph=graph, **how)
    monkeypatch.setattr('dd_debias.dm.map_chunks', spy)
    distill()
    monkeypatch.setitem(LONG_RUN, 'cpu', (4*10*5*16*16-1)/1e6)
    distill()
    distill(shard=(0, 2)) # as the whole of it
    assert asked == [False]*4+[True]*8

def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    def broken(f, **how): raise RuntimeError('no C++ compiler')
    net, x = ConvNet(size=16, width=16), torch.rand(40, 3, 16, 16)
    monkeypatch.setattr(torch, 'compile', broken)
    _compiled_call.cache_clear()
    try: assert torch.allclose(map_chunks(net, x, compiled=True), map_chunks(net, x), atol=.02)
    finally: _compiled_call.cache_clear()
    with pytest.raises(ValueError, match='compiled must be False'): map_chunks(net, x, graph=True, compiled=True)

def test_dm_loss_matches_the_authors_code(authors):
    net, given = authors
    syn = given['syn'].clone().requires_grad_()
    def embed(x): return net.embed(x.flatten(0, 1)).view(*x.shape[:2], -1)
    loss = mean_distance(embed(given['real']).detach(), embed(syn))
    assert close(loss, given['dm_loss']) and close(torch.autograd.grad(loss, syn)[0], given['dm_gradient'])

@pytest.mark.parametrize('distance', [mean_distance, kernel_distance])
def test_factor_matches_unpacked_images(distance):
    "With factor=2, a step has the loss of the four times as many images that the canvases unpack to"
    train, canvas = color_digits()[:300], torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = []
    def on_step(step, steps, state): losses.append(state['loss'])
    for images, how in ((canvas, dict(ipc=1, factor=2)), (unpack_canvas(canvas, 2), dict(ipc=4))):
        state = dict(images=images, velocity=torch.zeros_like(images), step=0)
        distill_dm(*train.xy, steps=1, batch=9, net=partial(ConvNet, width=8), distance=distance, **how,
                   resume_from=state, on_step=on_step)
    assert torch.isclose(*losses, rtol=1e-5)

def test_resume_after_every_step_gives_the_same_images():
    train = color_digits()[:200]
    tiny = partial(distill_dm, *train.xy, ipc=1, steps=5, batch=4, net=partial(ConvNet, width=8))
    states = []
    def on_step(step, steps, state):
        states.append(dict(images=state['images'].clone(), velocity=state['velocity'].clone(), step=step))
    whole = tiny(on_step=on_step)
    for state in states: assert tiny(resume_from=state).images.equal(whole.images)

def test_the_rate_follows_the_images_per_class():
    train = color_digits()[:200]
    tiny = partial(distill_dm, *train.xy, steps=2, batch=4, net=partial(ConvNet, width=8))
    for ipc in (1, 3):
        assert tiny(ipc=ipc).images.equal(tiny(ipc=ipc, lr=default_lr(ipc)).images)
        assert not tiny(ipc=ipc).images.equal(tiny(ipc=ipc, lr=10.).images)

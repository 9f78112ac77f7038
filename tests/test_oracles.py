"Numbers from outside: scikit-learn, SciPy, plain loops, the paper's counts"
from contextlib import nullcontext
from functools import partial
from pathlib import Path
import pandas as pd
import pytest, torch
import torch.nn.functional as F
from conftest import needs
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity
from torch.func import grad, vmap
from dd_debias.augment import batch_augment, siamese_augment
from dd_debias.bias import cmnist, color_digits
from dd_debias.dfa import dfa_loss, DisentangledNet, train_dfa
from dd_debias.distilled import unpack_canvas
from dd_debias.dm import distill_dm, kernel_distance, mean_distance
from dd_debias.dsa import class_gradients, distill_dsa, gradient_distance
from dd_debias.encoder import embed, gsc_loss, train_encoder
from dd_debias.evaluate import accuracy, confidence_interval, evaluate, group_accuracy
from dd_debias.groupdro import train_clusterdro, train_groupdro, train_reweighted
from dd_debias.kde import kde_density, kde_weights
from dd_debias.lff import gce_loss, RelativeDifficulty, train_lff
from dd_debias.mtt import distill_mtt, expert_trajectories, functional_loss, student_gradient
from dd_debias.nets import AlexNet, ConvNet, LeNet, MLP, ResNet18, Standardized, VGG11
from dd_debias.pixels import channel_stats, standardize, to_float
from dd_debias.runtime import derive_seed, load_tensors, seeded
from dd_debias.sampling import ClassSampler, draw_by_weight
from dd_debias.selecmix import contradicting_pairs, train_selecmix
from dd_debias.train import train_classifier
from dd_debias.weights import normalize_weights

@pytest.mark.parametrize('variance', [.01, .1, 1.])
def test_density_is_scikit_learns(variance):
    z = F.normalize(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    kde = KernelDensity(bandwidth=variance**.5, rtol=1e-9).fit(z.double().numpy())
    theirs = torch.from_numpy(kde.score_samples(z.double().numpy()))
    assert (kde_density(z, variance=variance, log=True)-theirs).abs().max() < 1e-5

def test_density_does_not_depend_on_blocks():
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kde_density(z, block=7), kde_density(z), rtol=1e-5)

@pytest.mark.parametrize('sampling, anneal, rates', [('importance', True, (1., .75, .25)), ('weighted', False, (1., 1., 1.))])
def test_dm_is_the_plain_loop(sampling, anneal, rates):
    "Equation 2, class by class and step by step, float32 and without blocks"
    train = color_digits()[:200]
    w = torch.rand(200, generator=torch.Generator().manual_seed(1)).double()
    w = normalize_weights(w, train.labels)
    net, steps, batch, ipc, seed = partial(ConvNet, width=16), 3, 5, 2, 0
    losses = []
    syn = distill_dm(*train.xy, w, ipc=ipc, steps=steps, batch=batch, net=net, lr=1., anneal=anneal, seed=seed, sampling=sampling, on_step=lambda i, n, s: losses.append((s['images'].clone(), s['loss'].item())))
    mean, std = (s.view(-1, 1, 1) for s in channel_stats(train.images, w))
    x = (to_float(train.images)-mean)/std
    s = x[draw_by_weight(train.labels, w, ipc, seed=seed)].clone().requires_grad_()
    velocity = torch.zeros_like(s)
    for step in range(steps):
        with seeded(derive_seed(seed, 'dm', step)):
            psi = net(3, 10, 16)
            idx = ClassSampler(train.labels, w if sampling == 'importance' else torch.ones_like(w))(batch)
        turn, loss = derive_seed(seed, 'augment', step), 0.
        aug = lambda images, labels: siamese_augment(torch.cat([images, x[:1]]), torch.cat([labels, torch.tensor([9])]), seed=turn)[:-1] # all ten classes have a draw, here too
        for c in range(10):
            factor = w[idx[c]].float()[:, None] if sampling == 'weighted' else 1.
            real = (factor*psi.embed(aug(x[idx[c]], torch.full((batch,), c)))).sum(0)/batch
            fake = psi.embed(aug(s[c*ipc:(c+1)*ipc], torch.full((ipc,), c))).mean(0)
            loss = loss+((real.detach()-fake)**2).sum()
        assert losses[step][1] == pytest.approx(loss.item(), rel=.03) # bfloat16 where the machine has it
        velocity = .5*velocity+torch.autograd.grad(loss, s)[0]
        s = (s.detach()-rates[step]*velocity).requires_grad_()
        assert F.cosine_similarity(losses[step][0].flatten(), s.flatten(), 0) > .9999
    assert torch.allclose(syn.images, losses[-1][0]*std+mean)

@needs('mnist')
@pytest.mark.parametrize('conflict', [.01, .05])
def test_low_density_finds_conflicting_cmnist(conflict):
    train = cmnist(conflict)
    weights = kde_weights(embed(train_encoder(*train.xy, steps=300), train.images), train.labels)
    assert roc_auc_score(~train.aligned, weights) > .97

@pytest.fixture(scope='module')
def authors():
    "A network, images, and what the original authors' public code makes of them; the file says which code"
    tensors = load_tensors(Path(__file__).parent/'fixtures/authors.safetensors')[0]
    tensors = {k.replace('.body.', '.backbone.'): v for k, v in tensors.items()} # the file was made when a network's backbone was its body
    net = ConvNet(3, 3, 16, width=6)
    net.load_state_dict({k.removeprefix('start.'): v for k, v in tensors.items() if k.startswith('start.')})
    return net, tensors

def close(a, b): return (a-b).norm() <= 1e-4*b.norm()

def test_dm_is_the_authors(authors):
    net, given = authors
    syn = given['syn'].clone().requires_grad_()
    embed = lambda x: net.embed(x.flatten(0, 1)).view(*x.shape[:2], -1)
    loss = mean_distance(embed(given['real']).detach(), embed(syn))
    assert close(loss, given['dm_loss']) and close(torch.autograd.grad(loss, syn)[0], given['dm_gradient'])

def test_dsa_is_the_authors(authors):
    net, given = authors
    syn = given['syn'].clone().requires_grad_()
    loss = gradient_distance(class_gradients(net, syn), class_gradients(net, given['real']))
    assert close(loss, given['dsa_loss']) and close(torch.autograd.grad(loss, syn)[0], given['dsa_gradient'])

def test_mtt_is_the_authors(authors):
    net, given = authors
    start, target = (torch.cat([given[f'{k}.{n}'].flatten() for n, _ in net.named_parameters()]) for k in ('start', 'target'))
    syn, labels = given['syn'].flatten(0, 1), torch.arange(3).repeat_interleave(2)
    loss, for_syn, for_lr = student_gradient(functional_loss(net), start, target, syn, labels, [(torch.arange(6), 0)]*4, torch.tensor(.05))
    assert close(loss, given['mtt_loss']) and close(for_syn, given['mtt_gradient'].flatten(0, 1)) and close(for_lr, given['mtt_lr_gradient'])

@pytest.mark.parametrize('net', [MLP, LeNet, AlexNet, VGG11, ResNet18])
def test_any_network_can_be_matched(net):
    "Second derivatives of pooling and norms, with augmentation, against the usual code, which keeps the graph of all steps"
    with seeded(0): model, x = net(3, 2, 16).double(), torch.rand(4, 3, 16, 16).double()
    y, alpha, loss = torch.tensor([0, 0, 1, 1]), torch.tensor(.01).double(), functional_loss(model)
    theta = torch.cat([p.detach().flatten() for p in model.parameters()])
    target = theta+.01*torch.randn(theta.shape, generator=torch.Generator().manual_seed(0)).double()
    batches = [(torch.arange(4), 5), (torch.tensor([3, 0]), 9)]
    _, for_syn, _ = student_gradient(loss, theta, target, x, y, batches, alpha, augment='color_crop')
    leaf, student = x.clone().requires_grad_(), theta.clone().requires_grad_()
    for idx, seed in batches:
        student = student-alpha*torch.autograd.grad(loss(student, batch_augment(leaf[idx], strategy='color_crop', seed=seed), y[idx]), student, create_graph=True)[0]
    assert close(for_syn, torch.autograd.grad((student-target).square().sum()/(theta-target).square().sum(), leaf)[0])
    assert all(g.isfinite().all() for g in class_gradients(model, x.view(2, 2, 3, 16, 16)).values())

DISTILLERS = {
    'dm': partial(distill_dm, steps=2, batch=9), 'kernel': partial(distill_dm, steps=2, batch=9, distance=kernel_distance), 'dsa': partial(distill_dsa, rounds=1, outer=2, inner=1, batch=9),
    'mtt': partial(distill_mtt, steps=2, lr=1., lr_lr=0., syn_steps=2, max_start_epoch=1, experts=partial(expert_trajectories, epochs=1, steps=2, batch=9))}

any_set = pytest.mark.parametrize('channels,size,sizes', [(1, 24, (5, 1, 7)), (3, 8, (3, 30)), (4, 16, (4,)*11)])

def some_set(channels, size, sizes):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    images = torch.randint(256, (len(labels), channels, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return images, labels

@any_set
@pytest.mark.parametrize('name', DISTILLERS)
def test_any_set_can_be_distilled(name, channels, size, sizes):
    "Grey or colour, small or large, any number of classes, and of unequal size, smaller than a batch"
    images, labels = some_set(channels, size, sizes)
    syn = DISTILLERS[name](images, labels, torch.rand(len(labels), generator=torch.Generator().manual_seed(1)), ipc=1, net=partial(ConvNet, width=4))
    assert syn.images.shape == (len(sizes), channels, size, size) and syn.images.isfinite().all()

TRAINERS = {f.__name__: partial(f, net=partial(ConvNet, width=4), epochs=2, batch=9) for f in (train_classifier, train_lff, train_dfa, train_selecmix, train_reweighted, train_clusterdro, train_groupdro)}

@any_set
@pytest.mark.parametrize('name', TRAINERS)
def test_any_set_can_be_trained_on(name, channels, size, sizes):
    "And by each trainer with some of its images weighing nothing"
    images, labels = some_set(channels, size, sizes)
    weights = torch.ones(len(labels))
    weights[0] = 0
    known = dict(bias=labels%2) if name == 'train_groupdro' else {}
    out = TRAINERS[name](images, labels, weights, **known)(images)
    assert out.shape == (len(labels), len(sizes)) and out.isfinite().all()

@pytest.mark.parametrize('distance', [mean_distance, kernel_distance])
def test_canvases_are_their_parts(distance):
    "A step with four parts in an image has the loss of four times as many images, cut from it"
    train, canvas = color_digits()[:300], torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = []
    for images, how in ((canvas, dict(ipc=1, factor=2)), (unpack_canvas(canvas, 2), dict(ipc=4))):
        distill_dm(*train.xy, steps=1, batch=9, net=partial(ConvNet, width=8), distance=distance, **how,
                   resume_from=dict(images=images, velocity=torch.zeros_like(images), step=0), on_step=lambda i, n, s: losses.append(s['loss']))
    assert torch.isclose(*losses, rtol=1e-5)

def test_experts_are_plain_sgd():
    "Weighted draws, and each expert of a stack as if it were alone; a GPU takes the stack's gradients by vmap, which gives the same"
    train = color_digits()[:100]
    w = normalize_weights(torch.rand(100, generator=torch.Generator().manual_seed(1)), train.labels)
    net, steps, batch, lr, seed = partial(ConvNet, width=4), 2, 70, .1, 3
    paths = expert_trajectories(*train.xy, w, seed=seed, experts=2, stack_size=2, epochs=1, steps=steps, batch=batch, lr=lr, net=net)
    x, sampler = standardize(train.images, channel_stats(train.images, w)), ClassSampler(torch.zeros_like(train.labels), w)
    for expert, path in enumerate(paths):
        with seeded(derive_seed(seed, 'experts', expert)):
            model = net(3, 10, 16)
            for _ in range(steps):
                idx = sampler(batch)[0]
                images, labels = batch_augment(x[idx], seed=int(torch.randint(2**31, ()))), train.labels[idx]
                theta, loss = torch.nn.utils.parameters_to_vector(model.parameters()).detach(), functional_loss(model)
                by_vmap = vmap(grad(loss))(theta[None], images[None], labels[None])[0]
                gradient = torch.cat([g.flatten() for g in torch.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))])
                assert close(by_vmap, gradient)
                torch.nn.utils.vector_to_parameters(theta-lr*gradient, model.parameters())
        assert close(path[-1], torch.cat([p.detach().flatten() for p in model.parameters()]))

@pytest.fixture(scope='module')
def trainers():
    "What the public code of LfF, DFA and SelecMix makes of the same numbers; the file says which code"
    return load_tensors(Path(__file__).parent/'fixtures/trainers.safetensors')[0]

def test_lff_is_the_authors(trainers):
    labels, difficulty = trainers['labels'], RelativeDifficulty(trainers['labels'])
    plain = partial(F.cross_entropy, reduction='none')
    for i, idx in enumerate(trainers['batches']):
        b, d = (trainers[k][i].requires_grad_() for k in ('lff_b', 'lff_d'))
        y = labels[idx]
        difficulty.update(idx, plain(b, y), plain(d, y))
        loss = (difficulty.weights(idx)*plain(d, y)+gce_loss(b, y)).mean()
        assert close(loss, trainers['lff_loss'][i]) and close(torch.stack(torch.autograd.grad(loss, [b, d])), trainers['lff_gradient'][i])

def test_dfa_is_the_authors(trainers):
    labels, difficulty = trainers['labels'], RelativeDifficulty(trainers['labels'])
    model = DisentangledNet(*(Standardized(MLP(3, 3, 8, width=5), torch.zeros(3), torch.ones(3)) for _ in range(2))).double()
    for side, head in zip((model.intrinsic, model.bias), trainers['dfa_heads']):
        side.net.head.weight.data, side.net.head.bias.data = head[:, :-1], head[:, -1]
    for i, idx in enumerate(trainers['batches']):
        z, b = (trainers[k][i].requires_grad_() for k in ('dfa_z', 'dfa_b'))
        loss = dfa_loss(model, z, b, labels[idx], idx, difficulty, trainers['dfa_partner'][i] if i else None, bias_factor=10.).mean()
        assert close(loss, trainers['dfa_loss'][i]) and close(torch.stack(torch.autograd.grad(loss, [z, b])), trainers['dfa_gradient'][i])

def test_selecmix_is_the_authors(trainers):
    z, y = trainers['mix_features'].requires_grad_(), trainers['mix_labels']
    for same, name in ((True, 'mix_same'), (False, 'mix_other')): assert contradicting_pairs(z, y, same=same).equal(trainers[name])
    loss = gsc_loss(z, y)
    assert close(loss, trainers['gsc_loss']) and close(torch.autograd.grad(loss, z)[0], trainers['gsc_gradient'])

class Double(torch.nn.Module):
    "A network in float64, where rounding decides no rectifier"
    def __init__(self, net, *shape):
        super().__init__()
        self.inner = net(*shape).double()
    def forward(self, x): return self.inner(x.double())

@pytest.mark.parametrize('net,sampling', [(partial(ConvNet, width=8), 'importance'), *((n, 'weighted') for n in (partial(ConvNet, width=8), MLP, LeNet, AlexNet, VGG11, ResNet18))])
def test_a_stack_is_its_networks(net, sampling):
    "Each network of a stack is what it would be if trained by itself, within rounding"
    images, labels = color_digits()[:12].images, torch.arange(12)%3
    w = normalize_weights(torch.rand(12, generator=torch.Generator().manual_seed(1)), labels)
    quick = partial(train_classifier, images, labels, w, net=partial(Double, net), epochs=1, batch=6, sampling=sampling, bf16=False)
    for alone, stacked in zip([quick(seed=s) for s in (3, 4)], quick(seeds=(3, 4))):
        assert all(close(b, a) for a, b in zip(alone.parameters(), stacked.parameters()))

def test_evaluate_stacked():
    "The same rows, in the same order"
    train, test = color_digits()[:100], color_digits(split='test')
    evaluator = partial(evaluate, train, test, train=partial(train_classifier, net=MLP, epochs=3), networks=3, bf16=False)
    assert (evaluator(stacked=True)-evaluator(stacked=False)).abs().max().max() < 1

def test_groups_are_counted():
    "Accuracy of every group, and how far they are apart, counted by a plain loop"
    test = color_digits(split='test')
    model = train_classifier(*color_digits()[:300].xy, net=MLP, epochs=5)
    with torch.no_grad(): right = model(test.images).argmax(1) == test.labels
    naive = [[100*sum(r for r, y, b in zip(right.tolist(), test.labels, test.bias) if (y, b) == (c, g))/int(((test.labels == c) & (test.bias == g)).sum())
              for g in range(10)] for c in range(10)]
    assert torch.allclose(group_accuracy(right, test), torch.tensor(naive).double())
    row, spread = accuracy(model, test), [max(g)-min(g) for g in naive]
    assert row['worst_group'] == pytest.approx(min(map(min, naive))) and row['deo_max'] == pytest.approx(max(spread)) and row['deo_mean'] == pytest.approx(sum(spread)/10)

def test_interval_is_students():
    seeds = [pd.DataFrame({'all': a}) for a in ([80., 82, 84], [90., 91, 92], [70., 71, 72])]
    found, means = confidence_interval(*seeds, level=.9).loc['all'], torch.tensor([82., 91, 71])
    low, high = student.interval(.9, 2, means.mean(), means.std()/3**.5)
    assert found.low == pytest.approx(low, rel=1e-5) and found.high == pytest.approx(high, rel=1e-5) and found.networks == 9

def test_groupdro_is_the_plain_loop():
    "Sagawa et al., algorithm 1, group by group"
    train, net, rate, seed = color_digits()[:60], partial(ConvNet, width=4), .5, 2
    w = torch.ones(60)
    model = train_groupdro(*train.xy, bias=train.bias, seed=seed, net=net, rate=rate, epochs=1, batch=20, bf16=False)
    stats = channel_stats(train.images, w)
    groups = sorted({(y, b) for y, b in zip(train.labels.tolist(), train.bias.tolist())})
    member = torch.tensor([groups.index(g) for g in zip(train.labels.tolist(), train.bias.tolist())])
    with seeded(derive_seed(seed, 'groupdro')):
        naive = net(3, 10, 16)
        order = (1/member.bincount()[member].float()).multinomial(60, replacement=True)
    opt, q = torch.optim.Adam(naive.parameters(), lr=.001), torch.ones(len(groups))/len(groups)
    for idx in order.split(20):
        losses = F.cross_entropy(naive(standardize(train.images[idx], stats)), train.labels[idx], reduction='none')
        mean = [losses[member[idx] == g].mean() if (member[idx] == g).any() else torch.tensor(0.) for g in range(len(groups))]
        q = torch.stack([p*(rate*m.detach()).exp() for p, m in zip(q, mean)])
        q = q/q.sum()
        opt.zero_grad()
        sum(p*m for p, m in zip(q, mean)).backward()
        opt.step()
    assert all(close(a, b) for a, b in zip(model.net.parameters(), naive.parameters()))

"""Which features find the conflicting images? Shares and AUC of several, none of which sees the bias. Adds lines to
results/features.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/features.py 0            # seed 0, all sets, an hour on one slow core
    DD_DEBIAS_DATA=.data python benchmarks/features.py 0 bg_fmnist  # one set

Weights are inverse propensities from a reference sample of 5,000 images, unless the row has a rule of its own. On
`bg_fmnist, cropped` the margin of two pixels is cut off, so that garments reach the edge of the image."""
import sys
import time
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from recorded import add
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score, silhouette_score

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import FrameEncoder, GlanceEncoder, embed, train_encoder
from dd_debias.groups import group_weights
from dd_debias.kde import kde_weights
from dd_debias.nets import ConvNet, map_chunks
from dd_debias.pixels import channel_stats, standardize
from dd_debias.runtime import seeded
from dd_debias.train import train_classifier
from dd_debias.weights import conflict_share, effective_size, normalize_weights


def cropped(*args, **kwargs):
    data = bg_fmnist(*args, **kwargs)
    return replace(data, images=data.images[..., 2:-2, 2:-2].contiguous())

SETS = {'cmnist': cmnist, 'corrupted_cifar10': partial(corrupted_cifar10, severity=4),
        'bg_fmnist': bg_fmnist, 'bg_fmnist, cropped': cropped}

weights_of = partial(kde_weights, normalizer='propensity', reference=5000)

def one_encoder(train, seed, frame=16):
    encoder = train_encoder(*train.xy, seed=seed, net=partial(GlanceEncoder, frame=frame))
    return weights_of(embed(encoder, train.images), train.labels)

def two_encoders(train, seed):
    "The geometric mean of the weights of two"
    pair = [one_encoder(train, s) for s in (seed, seed+100)]
    log_mean = torch.stack(pair).log().mean(0)
    return normalize_weights(log_mean.exp(), train.labels)

def densest(train, seed):
    "A second encoder, trained on the 80% of each class that weigh the least (the idea of BiasEnsemble)"
    first = one_encoder(train, seed)
    kept = torch.zeros(len(train), dtype=torch.bool)
    for c in train.labels.unique():
        members = (train.labels == c).nonzero().flatten()
        kept[members[first[members].argsort()[:round(.8*len(members))]]] = True
    encoder = train_encoder(*train[kept].xy, seed=seed, net=FrameEncoder)
    return weights_of(embed(encoder, train.images), train.labels)

def early_clusters(train, seed):
    "Clusters of the outputs of a classifier after one epoch, each of equal weight (the idea of SPARE)"
    net = train_classifier(*train.xy, net=partial(ConvNet, width=32), epochs=1, augment='', seed=seed)
    outputs = map_chunks(net, train.images).softmax(1).numpy() # (N,10)
    groups = torch.empty_like(train.labels)
    for c in train.labels.unique():
        members = (train.labels == c).nonzero().flatten()
        z = outputs[members]
        fits = [KMeans(k, random_state=seed, n_init=1).fit(z) for k in range(2, 6)]
        scores = [silhouette_score(z, fit.labels_, sample_size=2000, random_state=seed) for fit in fits]
        groups[members] = torch.from_numpy(fits[max(range(4), key=scores.__getitem__)].labels_).long()
    return group_weights(train.labels, groups)

def committee(train, seed, members=30, sample=2000):
    "One over the share of linear classifiers of the glance, each trained on a sample, that are right (LWBC's idea)"
    glance = FrameEncoder().glance
    stats = channel_stats(train.images)
    x = map_chunks(lambda chunk: glance(standardize(chunk, stats)), train.images) # (N,n)
    x = (x-x.mean(0))/x.std(0).clamp_min(1e-3)
    with seeded(seed): drawn = torch.randint(len(x), (members, sample))
    w = torch.zeros(members, x.shape[1], 10, requires_grad=True)
    opt = torch.optim.Adam([w], lr=.01)
    for _ in range(100):
        loss = F.cross_entropy((x[drawn]@w).flatten(0, 1), train.labels[drawn].flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad(): right = ((x@w).argmax(2) == train.labels).float().mean(0) # (N,)
    return normalize_weights(1/(right+.02).double(), train.labels)

ENCODERS = {
    'glance': partial(one_encoder, frame=0),
    'with a frame of 8': partial(one_encoder, frame=8),
    'with a frame of 16': one_encoder}
WAYS = ENCODERS | {
    'frame of 16, two encoders': two_encoders,
    'frame of 16, again on the densest': densest,
    'clusters of early outputs': early_clusters,
    'committee': committee}

if __name__ == '__main__':
    seed, *names = sys.argv[1:]
    for name in names or SETS:
        for conflict in (.05, .01):
            train = SETS[name](conflict, seed=int(seed))
            for way in ENCODERS if name == 'bg_fmnist, cropped' else WAYS:
                start = time.perf_counter()
                weights = WAYS[way](train, int(seed))
                seconds = time.perf_counter()-start
                size = effective_size(weights, train.labels)
                add('features.jsonl', dict(
                    set=name, conflict=conflict, way=way, seed=int(seed),
                    share=round(conflict_share(weights, ~train.aligned), 4),
                    auc=round(roc_auc_score(~train.aligned, weights), 4),
                    smallest=round(size.min().item(), 1), median=round(size.median().item(), 1),
                    seconds=round(seconds, 1)))

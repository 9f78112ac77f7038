"""Which weights balance? Shares, effective sizes and accuracies of several forms. Adds lines to results/weights.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/weights.py share 0     # the forms and kernels
    DD_DEBIAS_DATA=.data python benchmarks/weights.py dm 0 1 2    # accuracies of DM, or of random images
    DD_DEBIAS_DATA=.data python benchmarks/weights.py wide 0      # of DM, where f_all has a wider kernel than f
    DD_DEBIAS_DATA=.data python benchmarks/weights.py framed 0    # of DM, with an encoder that sees the frame
    python benchmarks/weights.py digits 0 1 2                     # of DM, on the small digits

Accuracies are on images that are in no training set: the validation images of CMNIST and of Corrupted CIFAR-10, with
the shortcut independent of the label; on BG-FMNIST the first half of the test images, which chooses nothing."""
import sys
import time
from functools import partial
from itertools import product

from recorded import add, is_recorded
from sklearn.metrics import roc_auc_score

from dd_debias.background import bg_fmnist
from dd_debias.bias import biased, cmnist, paint_color
from dd_debias.bias_only import weigh_bias_only
from dd_debias.coresets import distill_random
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.dm import distill_dm
from dd_debias.encoder import GlanceEncoder, embed, train_encoder
from dd_debias.evaluate import evaluate
from dd_debias.groups import group_weights
from dd_debias.kde import kde_density, kde_weights
from dd_debias.nets import ConvNet
from dd_debias.sources import digits
from dd_debias.train import train_classifier
from dd_debias.weights import conflict_share, effective_size, normalize_weights

SETS = dict(cmnist=cmnist, corrupted_cifar10=partial(corrupted_cifar10, severity=4), bg_fmnist=bg_fmnist)
FORMS = ('inverse', 'propensity 1', 'propensity 1, variance .03', 'others', 'true groups')
DISTILLERS = dict(dm=partial(distill_dm, net=partial(ConvNet, width=64)), random=distill_random)

def log_densities(features, labels, variance): # (N,) log f_class, the density within the class
    within = features.new_empty(len(features)).double()
    for c in labels.unique():
        members = labels == c
        within[members] = kde_density(features[members], variance=variance, log=True)
    return within

def all_forms(features, labels, variance=.1):
    "Name of the form, and its weights"
    f_class = log_densities(features, labels, variance)
    ratios = {'inverse': -f_class}
    for factor in (1, 2, 3): # of the variance: the width of the kernel of f_all
        ratios[f'propensity {factor}'] = kde_density(features, variance=factor*variance, log=True)-f_class
    if variance == .1: # (f_all - f_class) / f_class, the odds of the other classes
        share = labels.bincount()[labels]/len(labels)
        odds = ratios['propensity 1'].exp()-share
        ratios['others'] = odds.clamp_min(1e-6).log() # a sample of all can be a little below its own class
    return {form: normalize_weights((ratio-ratio.max()).exp(), labels) for form, ratio in ratios.items()}

def on_digits(seed):
    "DM as in the demo, from four fifths of the training digits; the last fifth, in colours that tell nothing, judges"
    images, labels = digits('train')
    train = biased(images[:960], labels[:960], paint_color, .05, 'train', seed=seed)
    valid = biased(images[960:], labels[960:], paint_color, .05, 'valid', seed=seed)
    net = partial(ConvNet, width=32)
    features = embed(train_encoder(*train.xy, seed=seed), train.images)
    forms = all_forms(features, train.labels)
    forms.pop('others')
    forms['bias-only'] = weigh_bias_only(*train.xy, seed=seed)
    forms['true groups'] = group_weights(train.labels, train.bias)
    for form, weights in forms.items():
        cell = dict(what='digits', set='color_digits', conflict=.05, form=form, frame=0, distill='dm', seed=seed,
                    ipc=10)
        if is_recorded('weights.jsonl', cell): continue
        syn = distill_dm(*train.xy, weights, ipc=10, steps=150, batch=32, net=net, seed=seed)
        judge = partial(train_classifier, net=net, epochs=150)
        scores = evaluate(syn, valid, train=judge, networks=2, seed=seed)
        add('weights.jsonl', cell | dict(
            share=round(conflict_share(weights, ~train.aligned), 4), all=scores['all'].round(2).tolist()))

def shares(seed):
    for name, data in SETS.items():
        for conflict in (.05, .02, .01):
            train = data(conflict, seed=seed)
            features = embed(train_encoder(*train.xy, seed=seed), train.images)
            for variance in (.01, .03, .1, .3):
                start = time.perf_counter()
                for form, weights in all_forms(features, train.labels, variance).items():
                    size = effective_size(weights, train.labels)
                    auc = roc_auc_score(~train.aligned, weights)
                    seconds = time.perf_counter()-start
                    start = time.perf_counter()
                    add('weights.jsonl', dict(
                        what='share', set=name, conflict=conflict, form=form, variance=variance, seed=seed,
                        share=round(conflict_share(weights, ~train.aligned), 4), auc=round(auc, 4),
                        smallest=round(size.min().item(), 1), median=round(size.median().item(), 1),
                        seconds=round(seconds, 1)))

def accuracies(seed, how, forms, frame=0):
    "What has been recorded is not measured again"
    judge = partial(train_classifier, epochs=100, lr=.03)
    for (name, data), conflict in product(SETS.items(), (.05, .01)):
        cells = [dict(what='accuracy', set=name, conflict=conflict, form=form, frame=frame, distill=how, seed=seed,
                      ipc=10) for form in forms]
        missing = [cell for cell in cells if not is_recorded('weights.jsonl', cell)]
        if not missing: continue
        train = data(conflict, seed=seed)
        test = data(conflict, 'test' if name == 'bg_fmnist' else 'valid', seed=seed)[:5000]
        encoder = train_encoder(*train.xy, seed=seed, net=partial(GlanceEncoder, frame=frame))
        features = embed(encoder, train.images)
        weights = all_forms(features, train.labels)
        weights['propensity 1, variance .03'] = kde_weights(
            features, train.labels, variance=.03, normalizer='propensity')
        weights['true groups'] = group_weights(train.labels, train.bias)
        for cell in missing:
            start = time.perf_counter()
            syn = DISTILLERS[how](*train.xy, weights[cell['form']], ipc=10, seed=seed)
            seconds = time.perf_counter()-start
            scores = evaluate(syn, test, train=judge, networks=2, seed=seed)
            add('weights.jsonl', cell | dict(
                all=scores['all'].round(2).tolist(), conflicting=scores['conflicting'].round(2).tolist(),
                seconds=round(seconds, 1)))

if __name__ == '__main__':
    what, *seeds = sys.argv[1:]
    for seed in map(int, seeds):
        if what == 'share': shares(seed)
        elif what == 'digits': on_digits(seed)
        elif what == 'framed': accuracies(seed, 'dm', ('inverse', 'propensity 1'), frame=16)
        elif what == 'wide': accuracies(seed, 'dm', ('propensity 2', 'propensity 3'))
        else: accuracies(seed, what, FORMS)

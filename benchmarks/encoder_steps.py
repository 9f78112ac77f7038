"""How long may an encoder train before it learns the label and forgets the bias? What weights by its density are worth
after so many steps, for the paper's ResNet18 and for ours. Adds lines to results/encoder_steps.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/encoder_steps.py cmnist .01             # the rate of the ResNet18
    DD_DEBIAS_DATA=.data python benchmarks/encoder_steps.py corrupted_cifar10 .001

A minute a set on an H200; on one core a hundred steps of the ResNet18 take five minutes. SelecMix trains with .01 on
Colored MNIST and .001 on Corrupted CIFAR-10. Five percent of the training images are conflicting."""
import sys
import time

import torch
from recorded import add
from sklearn.metrics import roc_auc_score

from dd_debias.background import bg_fmnist
from dd_debias.bias import cmnist
from dd_debias.corruptions import corrupted_cifar10
from dd_debias.encoder import GlanceEncoder, ResNetEncoder, SmallEncoder, embed, train_encoder
from dd_debias.kde import kde_weights
from dd_debias.weights import conflict_share

SETS = dict(cmnist=cmnist, bg_fmnist=bg_fmnist, corrupted_cifar10=corrupted_cifar10)
MARKS = (25, 50, 100, 200, 400, 800, 1600) # steps, of which eight passes over the images are about 1,700

def weights_after(name, train, encoder, lr, seed, device):
    start = time.perf_counter()
    def on_step(step, steps, state):
        if step not in MARKS: return
        seconds = time.perf_counter()-start
        features = embed(state['net'].eval(), train.images)
        line = dict(set=name, conflict=.05, encoder=encoder.__name__, lr=lr, seed=seed, step=step)
        for normalizer in ('inverse', 'propensity'):
            w = kde_weights(features, train.labels, normalizer=normalizer)
            auc = roc_auc_score(~train.aligned.cpu(), w.cpu())
            line[normalizer] = dict(auc=round(auc, 4), share=round(conflict_share(w, ~train.aligned), 4))
        loss = round(state['loss'].item(), 4)
        add('encoder_steps.jsonl', line | dict(loss=loss, seconds=round(seconds, 1)), device)

    train_encoder(*train.xy, seed=seed, net=encoder, lr=lr, steps=max(MARKS), on_step=on_step)

if __name__ == '__main__':
    name, lr, *seeds = sys.argv[1:]
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    train = SETS[name](.05).to(device)
    for seed in map(int, seeds or [0]):
        for encoder, rate in ((ResNetEncoder, float(lr)), (SmallEncoder, .01), (GlanceEncoder, .001)):
            weights_after(name, train, encoder, rate, seed, device)

"Learning from failure, against the public code of its authors"
from functools import partial

import torch
import torch.nn.functional as F
from common import close

from dd_debias.lff import RelativeDifficulty, gce_loss


def test_lff_loss_matches_the_authors_code(trainers):
    labels, difficulty = trainers['labels'], RelativeDifficulty(trainers['labels'])
    plain = partial(F.cross_entropy, reduction='none')
    for i, idx in enumerate(trainers['batches']):
        b, d = (trainers[k][i].requires_grad_() for k in ('lff_b', 'lff_d'))
        y = labels[idx]
        difficulty.update(idx, plain(b, y), plain(d, y))
        loss = (difficulty.weights(idx)*plain(d, y)+gce_loss(b, y)).mean()
        gradient = torch.stack(torch.autograd.grad(loss, [b, d]))
        assert close(loss, trainers['lff_loss'][i]) and close(gradient, trainers['lff_gradient'][i])

"""What a density from a sample of a class costs and loses: `reference` of `kde_weights` on CMNIST, taken as ten classes
of 6,000 and as one of 60,000, and seconds for one class of 200,000. Adds lines to results/reference_sample.jsonl.

    DD_DEBIAS_DATA=.data python benchmarks/reference_sample.py # five minutes on one core"""
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from dd_debias.bias import cmnist
from dd_debias.encoder import embed, train_encoder
from dd_debias.kde import kde_weights
from dd_debias.records import append_line
from dd_debias.run import git_commit
from dd_debias.weights import conflict_share


def timed(features, labels, **settings):
    "Weights, and the seconds they took"
    start = time.perf_counter()
    weights = kde_weights(features, labels, **settings)
    return weights, round(time.perf_counter()-start, 1)

def compare(features, labels, conflicting, **how):
    "A row for each size of the sample; the error of a weight is relative to the one from all samples"
    exact, seconds = timed(features, labels, reference=None, **how)
    yield dict(reference=None, seconds=seconds, share=conflict_share(exact, conflicting))
    for reference in (2000, 5000, 10000, 20000):
        weights, seconds = timed(features, labels, reference=reference, **how)
        error = (weights/exact-1).abs()
        median, most = error.quantile(torch.tensor([.5, .95], dtype=error.dtype)).tolist()
        yield dict(
            reference=reference, seconds=seconds, share=conflict_share(weights, conflicting), error_median=median,
            error_95=most, error_conflicting=error[conflicting].median().item(), same=weights.equal(exact))

def main():
    train = cmnist(.05)
    features = embed(train_encoder(*train.xy), train.images)
    one_class = torch.zeros_like(train.labels)
    def record(**row):
        row |= dict(threads=torch.get_num_threads(), torch=torch.__version__, commit=git_commit())
        line = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        print(line, flush=True)
        append_line(Path(__file__).resolve().parents[1]/'results/reference_sample.jsonl', line)
    settings = [
        ('ten classes of 6,000', train.labels, 'inverse'), ('one class of 60,000', one_class, 'inverse'),
        ('ten classes of 6,000, propensity', train.labels, 'propensity')]
    for name, labels, normalizer in settings:
        for variance in (.1, .03):
            for row in compare(features, labels, ~train.aligned, variance=variance, normalizer=normalizer):
                record(set=name, variance=variance, **row)
    noise = torch.randn(200000, 128, generator=torch.Generator().manual_seed(0))
    many = F.normalize(features.repeat(4, 1)[:200000]+.02*noise, dim=1)
    for reference in (10000, 20000):
        _, seconds = timed(many, torch.zeros(200000, dtype=torch.long), reference=reference)
        record(set='one class of 200,000', variance=.1, reference=reference, seconds=seconds)

if __name__ == '__main__': main()

"The claims of README.md and the experiments, checked against results/, and the program on the front page"
import re
from functools import partial

import nbformat
import pandas as pd
from common import ROOT, needs

from dd_debias.corruptions import PRESETS
from dd_debias.distilled import load
from dd_debias.dm import distill_dm
from dd_debias.encoder import train_encoder
from dd_debias.evaluate import evaluate
from dd_debias.paper import cells, compare_to_paper
from dd_debias.records import read_records
from dd_debias.train import train_classifier


def recorded(query, value='accuracy.all'):
    "Cells of the paper, our recorded scores beside the paper's"
    ours = read_records(ROOT/'results/paper')
    paper = pd.read_csv(ROOT/'results/paper.csv')
    return compare_to_paper(cells(query), ours, paper, value=value)

def mean_score(scores): return sum(scores)/len(scores)

def test_recorded_results_reach_the_paper():
    "On Colored MNIST, weighted DM scores at least the paper's number in every cell, and far more than unweighted DM"
    d = recorded('part == "table1" and dataset == "CMNIST"').set_index(['conflict', 'ipc'])
    weighted, plain = d[d.method == 'DM+KDE'], d[d.method == 'DM']
    assert (weighted.difference > 0).all() and (weighted.ours > plain.ours+25).all()
    assert (recorded('part != "beyond"').seeds >= 1).all()
    backgrounds = recorded('part == "table1" and dataset == "BG FMNIST" and method == "DM+KDE"')
    assert (backgrounds.difference > 0).sum() >= 5
    assert weighted.ours[.05, 10] >= 90 and weighted.ours[.01, 10] >= 88 and plain.ours[.05, 10] <= 45
    paper = read_records(ROOT/'results/paper')
    for method, scores in zip(paper.method, paper['accuracy.all'], strict=True):
        assert len(scores) == (1 if method == 'full' else 2)

def test_front_page():
    "Without labels of the bias: as good as true groups, above the paper, and the numbers that README.md shows"
    d = recorded('part in ("table1", "beyond") and ipc == 10 and conflict != .02')
    d = d[d.seeds > 0].set_index(['dataset', 'conflict'])
    of = dict(list(d.groupby('method')))
    strongest, printed = of['DM2x2+propensity'].ours, of['DM+KDE'].paper
    assert len(strongest) == len(printed) == 6
    assert (strongest > of['DM+groups'].ours-.5).all() and (strongest > printed+3.5).all()
    for distiller in ('DM', 'DM2x2'):
        of_groups, unlabelled = of[f'{distiller}+groups'].ours, of[f'{distiller}+propensity'].ours
        missing = (of_groups-unlabelled).sort_index() # without labels of the bias
        assert (missing < 3.5).all() and (missing.drop('Corrupted CIFAR-10') < 1).all()
    assert (of['DM+propensity'].ours > printed).all()
    gain = (strongest-of['DM2x2'].ours).sort_index() # by the weights
    assert gain.drop('Corrupted CIFAR-10').min() > 11 and gain['Corrupted CIFAR-10'].round().tolist() == [-2, 3]
    assert abs(of['DM2x2+groups'].ours-of['DM2x2'].ours)['Corrupted CIFAR-10', .01] < .5
    text = (ROOT/'README.md').read_text()
    shown = ('DM', 'DM+KDE', 'DM+propensity', 'DM+groups', 'DM2x2', 'DM2x2+propensity', 'DM2x2+groups')
    for accuracy in (printed, *(of[method].ours for method in shown)):
        assert all(f' {number:.1f}' in text for number in accuracy)

def test_recorded_distillers_gain_from_weights():
    "DM on the embedded digits, three seeds; DSA and MTT on Colored MNIST"
    d = read_records(ROOT/'results', ROOT/'results/paper')
    d = d[(d['data.conflict'] == .05) & (d['distill.ipc'] == 10)]
    by = d.assign(score=d['accuracy.all'].map(mean_score)).groupby(['dataset', 'method']).score
    count, mean = by.count(), by.mean()
    claims = [('color_digits', 'dm', 3, 25), ('cmnist', 'dsa', 1, 40), ('cmnist', 'mtt', 1, 40)]
    for name, distiller, seeds, gain in claims:
        plain, weighted = (name, distiller), (name, f'{distiller}+kde')
        assert min(count[plain], count[weighted]) >= seeds and mean[weighted] >= mean[plain]+gain, weighted

def test_recorded_debiased_trainers():
    "They beat plain training on the whole set; on unweighted distilled sets they stay far below weighted distillation"
    d = read_records(ROOT/'results/cmnist.jsonl')
    scored = d.assign(score=d['accuracy.conflicting'].map(mean_score))
    whole = scored.groupby(['method', 'data.conflict']).score.mean()
    for t in ('lff', 'dfa', 'selecmix', 'reweighted', 'groupdro', 'clusterdro'):
        assert all(whole['full/'+t, c] > whole['full', c] for c in (.01, .05)), t
    table4 = recorded('part == "table4" and dataset == "CMNIST"', 'accuracy.conflicting')
    d = table4.set_index(['method', 'ipc']).ours
    for ipc in (10, 50):
        for t in ('DFA', 'SelectMix*'): assert d[t, ipc] < d['DM+KDE', ipc]-20, (t, ipc)

def test_recorded_density_reaches_its_auc_goals():
    "On every benchmark, with the default encoder, at 1% and 5% conflicting"
    d = pd.read_json(ROOT/'results/density.jsonl', lines=True)
    lowest = d[d.encoder == 'GlanceEncoder'].groupby('set').auc.min()
    goals = {'cmnist': .97, 'bg_fmnist, 1 scenes': .95, 'bg_fmnist, 10 scenes': .95, 'bg_fmnist, 400 scenes': .9,
             **{f'corrupted_cifar10, {p}': .9 for p in PRESETS}}
    assert {(s, c) for s in goals for c in (.01, .05)} <= set(zip(d.set, d.conflict, strict=True))
    assert all(lowest[s] >= goal for s, goal in goals.items()), lowest

def test_recorded_distilled_sets_load():
    "and each belongs to a record"
    names = set(read_records(ROOT/'results', ROOT/'results/paper').name)
    kept = sorted((ROOT/'results/paper').glob('*/distilled.safetensors')) # not what the demo has left in results/
    assert len(kept) >= 12
    for path in kept:
        syn = load(path)
        assert path.parent.name in names and syn.images.isfinite().all() and len(syn) == syn.ipc*10

@needs('mnist')
def test_front_page_program_runs():
    "As it is written, but with fewer steps and networks"
    cells = [c.source for c in nbformat.read(ROOT/'nbs/index.ipynb', 4).cells if c.cell_type == 'code']
    imports = next(c for c in cells if c.startswith('from dd_debias.bias import cmnist'))
    program = next(re.sub(r'^#\|.*\n', '', c) for c in cells if 'train, test = cmnist' in c)
    names = {}
    exec(imports, names)
    names['train_encoder'] = partial(train_encoder, steps=20)
    names['distill_dm'] = partial(distill_dm, steps=2)
    names['evaluate'] = partial(evaluate, networks=1, train=partial(train_classifier, epochs=1))
    exec(program.replace('evaluate(', 'scores = evaluate('), names)
    assert len(names['syn']) == 100 and names['scores'].shape[0] == 1 and 'conflicting' in names['scores']

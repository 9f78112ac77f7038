"The claim itself: on what was recorded, and live on the digits"
from pathlib import Path

from dd_debias.distill import load
from dd_debias.experiment import demo, read_records

ROOT = Path(__file__).resolve().parents[1]

def test_demo(tmp_path):
    "The weights gain at least 25 points on coloured digits; `results/color_digits.jsonl` has three seeds"
    scores = demo(out=tmp_path, show_progress=False)
    assert scores['all']['DM + KDE'] > scores['all']['DM']+25
    assert (tmp_path/'demo.png').stat().st_size > 10000

def test_recorded():
    "What the front page says is in results/, at the numbers that this project promised"
    d = read_records(ROOT/'results')
    score = d.assign(score=d['accuracy.all'].map(lambda a: sum(a)/len(a))).groupby(['dataset', 'data.conflict', 'method']).score
    assert (score.count() >= 3).all(), 'three seeds of each'
    mean = score.mean()
    assert mean['color_digits', .05, 'dm+kde'] > mean['color_digits', .05, 'dm']+25
    assert mean['cmnist', .05, 'dm'] <= 45 and mean['cmnist', .05, 'dm+kde'] >= 90 and mean['cmnist', .01, 'dm+kde'] >= 88
    assert {len(a) for a in d[d.dataset == 'cmnist']['accuracy.all']} == {5}, 'five networks of each'

def test_recorded_sets():
    "The distilled sets that are kept load, and belong to a record"
    names = set(read_records(ROOT/'results').name)
    kept = sorted((ROOT/'results').glob('*/distilled.safetensors'))
    assert kept
    for path in kept:
        syn = load(path)
        assert path.parent.name in names and len(syn) == syn.ipc*10

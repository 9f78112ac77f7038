"Reports, and the code that they print"
import html
import json
import re
import shutil
from functools import partial

import pytest
from common import left

from dd_debias.bias import color_digits
from dd_debias.config import PARTS, identity
from dd_debias.coresets import distill_random
from dd_debias.evaluate import evaluate
from dd_debias.nets import ConvNet
from dd_debias.records import read_records, read_runs, recorded, run_config
from dd_debias.report import report, run_code, run_page
from dd_debias.run import run
from dd_debias.train import train_classifier

quick = partial(evaluate, train=partial(train_classifier, net=partial(ConvNet, width=16), epochs=2), networks=2)

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp('runs')
    for seed in (0, 1): run(color_digits, partial(distill_random, ipc=2), None, quick, seed=seed, out=out)
    return out

def test_the_printed_code_is_the_run():
    "of every run that comes with the package, also of those that older versions recorded"
    checked = 0
    for record in read_runs(recorded('paper'), recorded()):
        names = [record[part]['function'] for part in PARTS if record[part]]
        if not all(name.startswith('dd_debias.') for name in names): continue # a function of a benchmark
        printed = {}
        code = run_code(record).replace('run(\n', 'again = run_config(\n')
        exec(code, dict(run_config=run_config), printed)
        assert identity(printed['again']) == record['identity'], code
        checked += 1
    assert checked > 300

def test_report_on_a_folder_a_file_and_one_run(runs, tmp_path):
    index = report(runs, tmp_path/'all')
    assert len(left(tmp_path/'all')) == 3
    for name in read_records(runs).name:
        assert f'href="{name}.html"' in index.read_text() and f'{name}.html' in left(index.parent)
    file = shutil.copy(runs/'color_digits.jsonl', tmp_path/'copied.jsonl')
    without_images = report(file).read_text()
    assert '<template>' in index.read_text() and '<template>' not in without_images
    folder = next(runs.glob('*/record.json')).parent
    assert len(left(report(folder, tmp_path/'one').parent)) == 2

def test_pages_load_nothing(runs, tmp_path):
    report(runs, tmp_path)
    for page in tmp_path.glob('*.html'):
        text = page.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r'<(script|link|img|iframe)\b[^>]*\b(src|href)="(?!data:)', text)

def test_names_cannot_write_html(runs):
    record = json.loads(next(runs.glob('*/record.json')).read_text())
    bad = '<script>alert(1)</script>'
    page = run_page(record | dict(classes=[bad]*10, device=bad, name=bad))
    assert bad not in page and html.escape(bad) in page

def test_runs_that_look_alike_are_told_apart(tmp_path):
    "by the settings in which they differ, and by no others"
    one = partial(run, color_digits, weigh=None, evaluate=quick, out=tmp_path)
    for augment in ('', 'crop'): one(partial(distill_random, ipc=1, augment=augment))
    one(partial(distill_random, ipc=2, repeat=True)) # differs in ipc as well
    page = report(tmp_path).read_text()
    assert page.count('<button>distill.augment</button>') == 1 and '>crop</td>' in page
    assert 'distill.repeat' not in page

def test_accuracies_that_are_no_numbers(runs):
    record = json.loads(next(runs.glob('*/record.json')).read_text())
    page = run_page(record | dict(accuracy=dict(all=[float('nan')], worst=[120.])))
    assert [f'width:{share}%' in page for share in ('0.0', '100.0', 'nan')] == [True, True, False]

def test_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match='folder: .* has no records of runs; give the folder'): report(tmp_path)
    with pytest.raises(FileNotFoundError): report(tmp_path/'missing.jsonl')
    assert not left(tmp_path)

def test_a_damaged_set_costs_one_picture(runs, tmp_path):
    copy = shutil.copytree(runs, tmp_path/'copy')
    next(copy.glob('*/distilled.safetensors')).write_bytes(b'damaged')
    with pytest.warns(UserWarning, match='a set is not shown'): index = report(copy)
    assert index.read_text().count('<template>') == 1 and len(left(index.parent)) == 3

def test_a_name_that_is_a_path_leads_nowhere(runs, tmp_path):
    record = json.loads((runs/'color_digits.jsonl').read_text().splitlines()[0]) | dict(name='../../elsewhere')
    (tmp_path/'one.jsonl').write_text(json.dumps(record))
    index = report(tmp_path/'one.jsonl', tmp_path/'a'/'b')
    assert left(tmp_path/'a') == ['elsewhere.html', 'index.html'] and index.parent == tmp_path/'a'/'b'

def test_paths_cannot_write_html(runs, tmp_path):
    "The folder of the runs is the title of the overview, and a source is shown there"
    lines = [json.loads(line) for line in (runs/'color_digits.jsonl').read_text().splitlines()]
    for line in lines: line['data']['source'] = '<script>alert(1)</script>'
    folder = tmp_path/'<script>alert(2)<'
    folder.mkdir()
    (folder/'color_digits.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    for page in report(folder, tmp_path/'pages').parent.glob('*.html'): assert '<script>alert' not in page.read_text()

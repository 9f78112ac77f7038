"The audit: its table against hand computations, its self-contained page, and its command"
import html
import json
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from common import needs
from sklearn.metrics import roc_auc_score
from torchvision.transforms.functional import to_pil_image

from dd_debias._discover import functions
from dd_debias.audit import audit, audit_page, audit_table, extremes, image_table, summarize, weight_histogram
from dd_debias.bias import biased, color_digits, paint_color
from dd_debias.bias_only import weigh_bias_only
from dd_debias.cli import main
from dd_debias.dataset import BiasedDataset
from dd_debias.encoder import FrameEncoder
from dd_debias.fairdd_sets import cifar10_s
from dd_debias.groups import weigh_clusters, weigh_groups, weigh_property
from dd_debias.kde import weigh_kde
from dd_debias.plots import figure_to_png
from dd_debias.shortcut import find_shortcut
from dd_debias.sources import digits
from dd_debias.weights import conflict_share


def noise(labels, bias=None, classes=(), channels=3, size=16):
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (len(labels), channels, size, size), generator=g, dtype=torch.uint8)
    return BiasedDataset(images, torch.tensor(labels), None if bias is None else torch.tensor(bias), classes)

def plain(images, labels, *, seed=0): return torch.arange(1., len(labels)+1, device=labels.device)

def test_audit_table_matches_hand_computation():
    "Five images, with weights that are not normalized"
    t = audit_table(noise([0, 0, 0, 1, 1], [0, 1, 1, 1, 1], ('a', 'b')), torch.tensor([1., 1, 4, 30, 10]))
    assert list(t.index) == ['a', 'b', 'all'] and t.images.tolist() == [3, 2, 5] and t.conflicting.tolist() == [2, 0, 2]
    assert t.effective_size.tolist() == pytest.approx([36/18, 1600/1000, 3.6])
    assert t.heaviest_1pct_share.tolist() == pytest.approx([4/6, 3/4, (2+1.5)/5])
    assert t.conflict_share.tolist() == pytest.approx([5/6, 0, 2.5/5])
    # aligned weigh .5, 1.5 and .5; conflicting .5 and 2: of the six pairs 3 and 1 in order, two ties
    assert t.auc[['a', 'all']].tolist() == pytest.approx([.75, 4/6]) and np.isnan(t.auc['b'])

def test_heaviest_1pct_rounds_up_to_whole_images():
    w = torch.ones(250)
    w[:3] = 1000
    t = audit_table(noise([0]*250), w)
    assert t.heaviest_1pct_share['0'] == pytest.approx(3000/3247) # three of 250, rounded up
    assert 'auc' not in t and 'The bias' not in summarize(t) and 'most uneven' in summarize(t)

def test_summary_of_equal_weights():
    data = noise([0, 1]*20, [0, 1]*20)
    table = audit_table(data, torch.ones(40))
    assert 'nearly alike' in summarize(table) and 'AUC' not in summarize(table) and table.auc.isna().all()
    assert figure_to_png(weight_histogram(data, torch.ones(40)))

@pytest.mark.parametrize('classes,channels,size,bands', [
    (1, 3, 16, 1), (2, 1, 32, 1), (6, 3, 64, 1), (12, 3, 16, 1), (13, 1, 28, 2), (100, 3, 16, 9)])
def test_extremes_of_any_shape(classes, channels, size, bands):
    names = tuple(f'class ${i}' for i in range(classes))
    data = noise(list(range(classes))*9, classes=names, channels=channels, size=size)
    fig = extremes(data, plain(*data.xy), rows=2)
    shown = [t.get_text() for ax in fig.axes for t in ax.get_xticklabels()]
    assert len(fig.axes) == bands and shown == list(data.classes) and figure_to_png(fig)

def test_extremes_are_ordered_by_weight():
    "Each image is filled with its own index, so the sheet can be read back; conflicting images have a red frame"
    images = torch.arange(100, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 20, 20).contiguous()
    data = BiasedDataset(images, torch.arange(100)%10, torch.arange(100)//10*0)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0)).repeat_interleave(10)
    sheet = extremes(data, 1.+order, rows=3).axes[0].images[0].get_array()
    edge, gap = 24, 4 # a pixel of frame and one of white on each side
    for c in range(10):
        mine = sorted(range(c, 100, 10), key=lambda i: -order[i])
        for row, i in enumerate(mine[:3]+mine[-3:]):
            y, x = row*edge+(row > 2)*gap, c*(edge+gap)
            assert (sheet[y+2:y+22, x+2:x+22] == i).all()
            assert sheet[y+1, x+1].tolist() == ([192, 57, 43] if c else [255]*3)

class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.tags.append((tag, dict(attrs)))
    def handle_data(self, data): self.text += data

def test_audit_page_is_self_contained(tmp_path):
    "Names, title and notes are escaped, nothing is loaded from elsewhere, and an old page is replaced"
    data = noise([0, 1]*20, [0, 1, 1, 1]*10, classes=('<script>alert(1)</script>', '"&{x}'))
    path = tmp_path/'new'/'page.html'
    for title in ('before', '<b>{data}</b>'):
        assert audit_page(data, plain(*data.xy), path, title=title, notes='<img src="//x">') == path
    text = path.read_text(encoding='utf-8')
    page = Page(text)
    assert not {'link', 'iframe', 'b', 'a'} & {tag for tag, _ in page.tags}
    scripts = [a for tag, a in page.tags if tag == 'script']
    assert len(scripts) == 2 and not any('src' in a for a in scripts) # the list of images as JSON, and what draws it
    assert not re.search(r'url\((?!\$\{sheet)|@import|https?:', text)
    listed = json.loads(re.search(r'<script type="application/json" id="images">(.*?)</script>', text, re.S)[1])
    assert listed['names'] == list(data.classes) and len(listed['rows']) == 40
    assert all(sheet['url'].startswith('data:image/webp;base64,') for sheet in listed['sheets'])
    images = [a for tag, a in page.tags if tag == 'img']
    assert len(images) == 2 and all(a['src'].startswith('data:image/png;base64,') and a['alt'] for a in images)
    for said in ('<script>alert(1)</script>', '"&{x}', '<b>{data}</b>', '<img src="//x">', 'Red frame'):
        assert said in page.text
    assert 'before' not in page.text and [p.name for p in path.parent.iterdir()] == ['page.html']

def test_audit_with_an_oracle_and_with_bad_input(tmp_path):
    train = color_digits()
    table, _ = audit(train, weigh_groups)
    assert table.conflict_share['all'] > .8 # six groups of conflicting to one of aligned
    unknown = replace(train, bias=None)
    def weigh_five(images, labels, *, seed): return labels[:5]
    with pytest.raises(ValueError, match='weigh_groups.* needs a set whose bias is known'):
        audit(unknown, weigh_groups, out=tmp_path/'no.html')
    with pytest.raises(ValueError, match='one number per sample'): audit(unknown, weigh_five, out=tmp_path/'no.html')
    with pytest.raises(ValueError, match='rows must be .* at least 1'): extremes(train, plain(*train.xy), rows=0)
    (tmp_path/'file').touch()
    def never(images, labels, *, seed): raise AssertionError('weighed before the page could be written')
    with pytest.raises(OSError, match='choose another folder'):
        audit(train, never, out=tmp_path/'file'/'page.html')
    assert [p.name for p in tmp_path.iterdir()] == ['file']

@pytest.mark.parametrize('f', [audit_table, weight_histogram, extremes])
def test_weights_of_an_audit(f):
    "Arrays and lists are taken, with a gradient or without; what is no weights or no data set is refused"
    data = noise([0, 1]*20)
    for weights in (np.ones(40), [1.]*40, torch.ones(40, requires_grad=True)): f(data, weights)
    for weights in (None, 'kde', [None]*40):
        with pytest.raises(ValueError, match='^weights must be a tensor, or an array or list'): f(data, weights)
    with pytest.raises(ValueError, match='^weights must be one number per sample'): f(data, [1.])
    with pytest.raises(ValueError, match='^data must be a BiasedDataset, got tuple'): f(data.xy, torch.ones(40))

def test_audit_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ['audit', 'color_digits', '--conflict', '.2']
    assert main([*arguments, '--weigh', 'random']) == 2
    assert 'weigh: no' in capsys.readouterr().err
    assert main([*arguments, '--weigh', 'groups', '--device', 'cpu', '--out', 'a.html']) == 0
    out = capsys.readouterr().out
    assert 'conflict_share' in out and '240 images (20.0%) conflict' in out and 'The page is a.html' in out
    page = (tmp_path/'a.html').read_text(encoding='utf-8')
    assert 'dd-debias audit color_digits --weigh groups --data.conflict 0.2' in page

@pytest.mark.parametrize('arguments,says', [
    ('audit colour_digits', "no 'colour_digits' (did you mean 'color_digits'?); choose one of"),
    ('audit color_digits --weigh none', "weigh: no 'none'"),
    ('audit color_digits --distill dm', 'Unknown option: --distill'),
    ('audit color_digits --conflict x', 'unable to convert "x" into float'),
    ('audit color_digits --out /proc/nowhere/a.html', 'cannot write'),
    ('audit color_digits --device nowhere', 'nowhere cannot be used here'),
    ('run color_digits --device nowhere', 'nowhere cannot be used here'),
])
def test_audit_command_rejects_bad_arguments(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())

def test_only_sets_that_need_no_arguments_are_listed():
    assert 'color_digits' in functions('data') and 'biased' not in functions('data')

def test_weights_of_all_images_are_written(tmp_path):
    data = color_digits()[:300]
    weights = torch.arange(300)+1.
    named = replace(data, bias=None, classes=tuple('abcdefghij'), paths=tuple(map(str, range(300))))
    table = image_table(named, weights)
    assert list(table.columns) == ['path', 'class', 'weight', 'rank']
    for name, rows in table.groupby('class'):
        members = (data.labels == 'abcdefghij'.index(name)).nonzero().flatten()
        assert rows['rank'].tolist() == list(range(1, len(members)+1))
        assert rows.path.tolist() == [str(i) for i in members.flip(0).tolist()]
    assert image_table(data, weights).conflicting.sum() == (~data.aligned).sum()
    audit(data, lambda images, labels, *, seed: weights, out=tmp_path/'a.html')
    assert len((tmp_path/'a.weights.csv').read_text().splitlines()) == 301

def test_density_is_written_where_weights_are_its_inverse(tmp_path):
    data = color_digits()[:300]
    audit(data, partial(weigh_kde, temperature=2.), out=tmp_path/'a.html')
    table = pd.read_csv(tmp_path/'a.weights.csv')
    assert list(table.columns) == ['path', 'class', 'weight', 'density', 'rank', 'conflicting']
    relative = table.density*table.weight**2 # the same for all images of a class
    assert relative.groupby(table['class']).agg(lambda r: r.std()/r.mean()).max() < 1e-6
    assert table.groupby('class').density.mean().tolist() == pytest.approx([1]*10)
    for weigh in (weigh_groups, partial(weigh_kde, normalizer='propensity'), partial(weigh_kde, cap=5.)):
        audit(data, weigh, out=tmp_path/'b.html')
        assert 'density' not in pd.read_csv(tmp_path/'b.weights.csv')

def mark_border(images, bias):
    painted = images.clone()
    colors = torch.randint(256, (10, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for edge in (painted[:, :, 0], painted[:, :, -1]): edge[:] = colors[bias][:, :, None]
    return painted

def test_a_planted_border_is_found_and_named(tmp_path, monkeypatch, capsys):
    "In a folder of photographs' size, by the command; the same digits without it are not said to have a shortcut"
    monkeypatch.chdir(tmp_path)
    images, labels = digits()
    colorful = biased(images, labels, paint_color, conflict=.9)
    planted = biased(*colorful.xy, mark_border, conflict=.05)
    for i, (image, label) in enumerate(zip(*planted.xy, strict=True)):
        folder = tmp_path/'images'/f'class {label}'
        folder.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(folder/f'{i}.png')
    command = ['audit', 'load_images', '--source', 'images', '--size', '16', '--device', 'cpu']
    assert main(command) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'There is a shortcut' in said and said.count('at the border') >= 5
    measured = pd.read_csv(tmp_path/'audit.properties.csv')
    assert measured['class'].unique().tolist() == [f'class {i}' for i in range(10)]
    assert 'bytes' in set(measured.property) # of the files
    assert find_shortcut(*colorful.xy)['answer'] != 'shortcut'
    _, said = audit(planted, weigh_groups) # which gives the images without the border of their class most of the weight
    assert 'will keep it' not in said[0]
    few_conflict = biased(*colorful.xy, mark_border, conflict=.01) # fewer than the heaviest tenth of a class
    _, said = audit(few_conflict, weigh_groups)
    assert 'will keep it' not in said[0]
    _, said = audit(planted, plain) # which follows nothing
    assert 'do not follow what was measured' in said[0] and 'will keep it' in said[0]
    assert '--weigh bias_only --encoder FrameEncoder' in said[0]
    as_it_says = weigh_bias_only(*planted.xy, encoder=FrameEncoder, encoder_steps=100)
    assert conflict_share(as_it_says, ~planted.aligned) > 2*conflict_share(weigh_kde(*planted.xy), ~planted.aligned)

@needs('cifar10')
def test_a_shortcut_of_two_values_is_named(tmp_path):
    "Grey and colour for ten classes: at a glance no class is told, but what half of them share is, on the page, too"
    train = cifar10_s()[:10000]
    page = tmp_path/'a.html'
    _, said = audit(BiasedDataset(*train.xy, None, train.classes), weights=torch.ones(len(train)), out=page)
    assert said[0].startswith('No shortcut is seen') and 'something in common, see below' in said[0]
    assert said[2].startswith('airplane, automobile, bird, cat and deer are greyer') and "--by 'saturation, " in said[2]
    assert all(html.escape(said[i]) in page.read_text() for i in (0, 2)) and 'verdict perhaps' in page.read_text()
    assert roc_auc_score(~train.aligned, weigh_clusters(*train.xy, num_clusters=2)) > .8
    assert roc_auc_score(~train.aligned, weigh_property(*train.xy)) > .97

def test_a_class_of_one_image(tmp_path):
    data = color_digits()[:300]
    data = data[torch.cat([(data.labels != 3).nonzero().flatten(), (data.labels == 3).nonzero().flatten()[:1]])]
    table, _ = audit(data, weights=torch.ones(len(data)), out=tmp_path/'a.html')
    assert table.images['3'] == 1 and 'Weights: as given.' in (tmp_path/'a.html').read_text()

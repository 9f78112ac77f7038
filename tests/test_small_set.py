"The small set: what is written, read by others, trained on without this package; an interrupted call goes on"
import runpy
from dataclasses import replace
from functools import partial

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import to_pil_image

from dd_debias.bias import color_digits
from dd_debias.cli import main
from dd_debias.coresets import distill_random
from dd_debias.distilled import load
from dd_debias.dm import distill_dm
from dd_debias.groups import weigh_groups
from dd_debias.nets import ConvNet
from dd_debias.pixels import standardize
from dd_debias.small_set import make_small_set

FILES = ['README.md', 'audit.html', 'audit.properties.csv', 'audit.weights.csv', 'distilled.safetensors', 'images',
         'sheets.png', 'tensors.safetensors', 'train.py']

def names(folder): return sorted(path.name for path in folder.iterdir())

def test_a_network_is_trained_without_this_package(tmp_path, monkeypatch):
    train, test = color_digits(conflict=.05), color_digits(split='test')
    named = replace(train, classes=tuple(f'digit {i}' for i in range(10)))
    narrow = partial(distill_dm, steps=40, batch=32, net=partial(ConvNet, width=32))
    make_small_set(named, narrow, weigh_groups, out=tmp_path/'small', title='Digits')
    assert names(tmp_path/'small') == FILES
    monkeypatch.chdir(tmp_path/'small')
    script = (tmp_path/'small'/'train.py').read_text()
    assert 'dd_debias' not in script
    torch.manual_seed(0)
    net = runpy.run_path('train.py')['net']
    syn = load('distilled.safetensors')
    x = standardize(test.images, (syn.mean, syn.std))
    with torch.no_grad(): accuracy = (net(x).argmax(1) == test.labels).float().mean()
    assert accuracy > .5
    assert load_file('tensors.safetensors')['images'].shape == (100, 3, 16, 16)
    folder = ImageFolder('images')
    assert folder.classes == list(named.classes) and len(folder) == 100
    card = (tmp_path/'small'/'README.md').read_text()
    head = yaml.safe_load(card.split('---')[1])
    assert head['pretty_name'] == 'Digits' and head['size_categories'] == ['n<1K']
    assert 'There is a shortcut' in card and 'digit 9' in card and '"seed": 0' in card
    with pytest.raises(ValueError, match='out: .* is not empty; choose another folder'):
        make_small_set(named, narrow, weigh_groups, out=tmp_path/'small')

def test_an_interrupted_call_goes_on(tmp_path):
    "It keeps the weights that it made, refuses to go on in another way, and leaves what an uninterrupted one leaves"
    train = color_digits(conflict=.05)[:400]
    made = []
    def weigh(images, labels, *, seed):
        made.append(seed)
        return torch.ones(len(labels))
    weigh.__qualname__ = 'weigh'
    def distill(images, labels, weights=None, *, ipc=2, seed=0):
        if len(made) == 1 and not (tmp_path/'again').exists(): raise KeyboardInterrupt
        return distill_random(images, labels, weights, ipc=ipc, seed=seed)
    distill.__qualname__ = 'distill'
    small = partial(make_small_set, train, distill, weigh, out=tmp_path/'small')
    with pytest.raises(KeyboardInterrupt): small()
    assert 'README.md' not in names(tmp_path/'small') and 'unfinished' in names(tmp_path/'small')
    (tmp_path/'again').mkdir()
    others = train[:300]
    with pytest.raises(ValueError, match='begun with'): make_small_set(others, distill, weigh, out=tmp_path/'small')
    small()
    assert made == [0] and names(tmp_path/'small') == FILES

def test_images_of_an_interrupted_call_are_replaced(tmp_path, monkeypatch):
    train = color_digits(conflict=.05)[:400]
    def small(ipc): make_small_set(train, partial(distill_random, ipc=ipc), weigh_groups, out=tmp_path/'small')
    def interrupted(*_): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr('dd_debias.small_set.save', interrupted) # after the images are written
        with pytest.raises(KeyboardInterrupt): small(1)
    (tmp_path/'small/unfinished/run/distilled.safetensors').unlink()
    small(3)
    assert len(list((tmp_path/'small/images').rglob('*.png'))) == 30 and names(tmp_path/'small') == FILES

@pytest.mark.parametrize('classes,size', [(3, 64), (20, 32)])
def test_the_command_takes_photographs_of_any_shape(classes, size, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(0)
    for i in range(8*classes):
        image = torch.randint(256, (3, 60+i%7, 90), generator=g, dtype=torch.uint8)
        for split in ('photos', 'held out')[:1+(i < classes)]:
            folder = tmp_path/split/f'class {i%classes}'
            folder.mkdir(parents=True, exist_ok=True)
            to_pil_image(image).save(folder/f'{i}.png')
    quick = ['--distill', 'random', '--ipc', '2', '--networks', '1', '--epochs', '1', '--device', 'cpu']
    command = ['distill', 'photos', '--size', str(size), '--test', 'held out', '--out', 'small', *quick]
    assert main(command) == 0, capsys.readouterr().err
    out = ' '.join(capsys.readouterr().out.split())
    assert 'The set is in small; begin with small/README.md' in out and '% of the test images right' in out
    assert load('small/distilled.safetensors').images.shape == (2*classes, 3, size, size)
    assert '| synthetic |' in (tmp_path/'small'/'README.md').read_text()
    assert main(command) == 2 and 'is not empty' in capsys.readouterr().err
    assert main(['distill']) == 2 and '--folder' in capsys.readouterr().err
    assert main([*command, '--out', '.']) == 2 and len(list((tmp_path/'photos').rglob('*.png'))) == 8*classes
    assert main(['distill', 'nowhere', '--out', 'x']) == 2 and not (tmp_path/'x').exists()
    assert main(['distill', 'photos', '--ipc', '200', '--out', 'x']) == 2 and not (tmp_path/'x').exists()

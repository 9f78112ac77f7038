"Users' own images: modes and orientations, the cache, every kind of source, error messages"
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, Subset

from dd_debias import image_folder as module
from dd_debias._decoding import cache_path, known_formats
from dd_debias.config import complete, to_config
from dd_debias.coresets import distill_random
from dd_debias.evaluate import evaluate
from dd_debias.image_folder import decode_image, load_images, read_files
from dd_debias.nets import MLP
from dd_debias.run import run
from dd_debias.train import train_classifier


def noise(*shape, seed=0): return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
def chw(im): return torch.from_numpy(np.array(im)).permute(2, 0, 1)
def left(folder): return sorted(p.name for p in Path(folder).rglob('*') if p.is_file())

@pytest.fixture
def messages(): return []

@pytest.fixture
def own(tmp_path, messages): return partial(load_images, cache=tmp_path/'cache', on_skip=messages.append, size=8)

def write(folder, n=3, classes=('a', 'b'), size=8):
    for c, name in enumerate(classes):
        (folder/name).mkdir(parents=True, exist_ok=True)
        for i in range(n): Image.fromarray(noise(size, size, 3, seed=100*c+i)).save(folder/name/f'{i:03}.png')
    return folder

# one image

def test_crop_and_resize_match_pillow():
    im = Image.fromarray(noise(30, 51, 3))
    theirs = im.crop((10, 0, 40, 30)).resize((16, 16), Image.Resampling.LANCZOS)
    assert decode_image(im, 16).equal(chw(theirs))

UNDO_ORIENTATION = [ # of EXIF orientations 1 to 8
    None, 'FLIP_LEFT_RIGHT', 'ROTATE_180', 'FLIP_TOP_BOTTOM', 'TRANSPOSE', 'ROTATE_90', 'TRANSVERSE', 'ROTATE_270']

@pytest.mark.parametrize('orientation,back', list(enumerate(UNDO_ORIENTATION, 1)))
def test_all_orientations(tmp_path, orientation, back):
    im, exif = Image.fromarray(noise(8, 8, 3)), Image.Exif()
    exif[0x112] = orientation
    (im.transpose(Image.Transpose[back]) if back else im).save(tmp_path/'x.png', exif=exif)
    assert decode_image(tmp_path/'x.png', 8).equal(chw(im))

@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'CMYK', 'YCbCr', 'HSV'])
def test_plain_modes_convert_as_in_pillow(mode):
    im = Image.fromarray(noise(8, 8, 3)).convert(mode)
    assert decode_image(im, 8).equal(chw(im.convert('RGB')))

@pytest.mark.parametrize('dtype,suffix', [('<u2', 'png'), ('<u2', 'tiff'), ('>u2', 'tiff'), ('<i4', 'tiff')])
def test_sixteen_bits_are_scaled(tmp_path, dtype, suffix):
    grey = noise(8, 8)
    Image.fromarray((grey.astype(np.int64)*257).astype(dtype)).save(tmp_path/f'x.{suffix}')
    assert decode_image(tmp_path/f'x.{suffix}', 8).equal(torch.from_numpy(grey).expand(3, -1, -1))
    dark = Image.fromarray(np.full((8, 8), 257*20, np.uint16))
    assert (decode_image(dark, 8) == 20).all() # not stretched to its own range

def test_float_images_are_scaled():
    grey = noise(8, 8)
    grey[0, :2] = 0, 255
    for a in (grey/255, grey*7.-300, grey*257e3): # in [0,1], or in a range of its own
        assert decode_image(Image.fromarray(a.astype(np.float32)), 8).equal(torch.from_numpy(grey).expand(3, -1, -1))
    assert (decode_image(Image.fromarray(np.full((8, 8), 7., np.float32)), 8) == 0).all()
    with pytest.raises(ValueError, match='NaN'): decode_image(Image.fromarray(np.full((8, 8), np.nan, np.float32)))

def test_transparent_pixels_become_white(tmp_path):
    grey = Image.new('L', (8, 8), 60)
    half = Image.fromarray(np.repeat(np.uint8([[0]*4+[255]*4]), 8, 0))
    for mode in ('LA', 'RGBA', 'PA'):
        im = grey.convert(mode)
        im.putalpha(half)
        x = decode_image(im, 8)
        assert (x[:, :, :4] == 255).all() and (x[:, :, 4:] == 60).all(), mode
    Image.fromarray(np.array(half)//255).convert('P').save(tmp_path/'x.png', transparency=0) # one colour is transparent
    assert (decode_image(tmp_path/'x.png', 8)[:, :, :4] == 255).all()

def test_arrays_and_tensors():
    a = noise(8, 8, 3)
    same = (
        a, a.transpose(2, 0, 1), torch.from_numpy(a), torch.from_numpy(a).permute(2, 0, 1),
        a/255, a.astype(np.int64), a.astype(np.uint16)*257, # other ranges
        np.dstack([a, np.full((8, 8), 255, np.uint8)])) # opaque
    for x in same: assert decode_image(x, 8).equal(chw(a))
    assert decode_image(a[..., 0], 8).equal(decode_image(a[None, ..., 0], 8))
    assert decode_image(a[..., 0] > 99, 8).unique().tolist() == [0, 255]
    mistakes = (
        (a/2., 'scale them'), (a[..., :2], '1, 3 or 4 channels'), (a[0, 0], 'axes'), (a-300., 'scale'),
        (b'', 'got bytes'))
    for wrong, why in mistakes:
        with pytest.raises(ValueError, match=why): decode_image(wrong)
    with pytest.raises(ValueError, match='size'): decode_image(a, 0)

def test_an_error_without_a_message(monkeypatch):
    def fail(path, formats): raise MemoryError
    monkeypatch.setattr(module.Image, 'open', fail)
    with pytest.raises(ValueError, match='cannot be read: MemoryError$'): decode_image(__file__)

def test_large_jpegs_are_read_reduced(tmp_path):
    smooth = Image.fromarray(noise(6, 8, 3)).resize((640, 480), Image.Resampling.BICUBIC)
    smooth.save(tmp_path/'x.jpg', quality=95)
    given = Image.open(tmp_path/'x.jpg')
    assert (decode_image(tmp_path/'x.jpg', 16).float()-decode_image(given, 16).float()).abs().mean() < 2
    assert given.size == (640, 480) # an image that is given stays as it is

# files

def test_files_are_read_in_order_and_unreadable_ones_skipped(tmp_path, messages):
    paths = sorted(write(tmp_path/'x', 60).rglob('*.png'))
    for i in (0, 7, 119): paths[i].write_bytes(b'no image')
    paths[50].write_bytes(paths[50].read_bytes()[:90])
    paths.insert(20, tmp_path/'gone.png')
    images, kept = read_files(paths, 8, cache=tmp_path/'cache', on_skip=messages.append)
    assert sorted(set(range(121))-set(kept.tolist())) == [0, 7, 20, 51, 120]
    assert images.equal(torch.stack([decode_image(paths[i], 8) for i in kept]))
    assert len(messages) == 1 and messages[0].startswith('skipped 5 of 121 images: ') and 'No such file' in messages[0]
    for p in paths[:5]: p.write_bytes(b'no image')
    read_files(paths, 8, cache=tmp_path/'cache', on_skip=messages.append)
    assert messages[1].startswith('skipped 9 of') and messages[1].endswith('; ...')
    assert messages[1].count('cannot be read') == 5

def test_no_readable_file(tmp_path, capsys):
    (tmp_path/'x.png').write_bytes(b'')
    for paths in ([tmp_path/'x.png'], []):
        images, kept = read_files(paths, 8, cache=tmp_path/'cache')
        assert images.shape == (0, 3, 8, 8) and kept.shape == (0,)
    assert capsys.readouterr().out.count('skipped 1 of 1') == 1
    with pytest.raises(ValueError, match='size'): read_files([], 0, cache=tmp_path/'cache')

def test_cache_is_used_until_a_file_changes_or_it_is_damaged(tmp_path, monkeypatch):
    paths, cache = sorted(write(tmp_path/'x').rglob('*.png')), tmp_path/'cache'
    calls, really = [], module.decode_source
    def counted(path, size, fit):
        calls.append(path)
        return really(path, size, fit)
    monkeypatch.setattr(module, 'decode_source', counted)
    def read(decoded):
        calls.clear()
        images, _ = read_files(paths, 8, cache=cache)
        assert len(calls) == decoded
        assert images.equal(torch.stack([decode_image(p, 8) for p in paths]))
        return images
    first = read(6)
    first.zero_() # a copy of one's own
    read(0)
    Image.fromarray(noise(8, 8, 3, seed=9)).save(paths[0])
    read(6)
    read(0)
    for damaged in cache.iterdir(): damaged.write_bytes(damaged.read_bytes()[:20])
    read(6)
    for done in cache.glob('*.json'): done.unlink()
    read(6)
    read(0)

def test_skipped_files_are_tried_again(tmp_path, monkeypatch, messages):
    paths = sorted(write(tmp_path/'x').rglob('*.png'))
    read, really = partial(read_files, paths, 8, cache=tmp_path/'cache', on_skip=messages.append), module.decode_source
    def denied(path, size, fit):
        if path == str(paths[2]): raise ValueError('denied')
        return really(path, size, fit)
    monkeypatch.setattr(module, 'decode_source', denied)
    assert read()[1].tolist() == [0, 1, 3, 4, 5] and read()[1].tolist() == [0, 1, 3, 4, 5]
    monkeypatch.undo()
    assert read()[1].tolist() == [*range(6)] and messages == ['skipped 1 of 6 images: denied']*2

@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
def test_interrupted_decoding_leaves_no_cache(tmp_path, monkeypatch, error):
    paths = sorted(write(tmp_path/'x', 100).rglob('*.png'))
    really = module.decode_source
    def stop(path, size, fit):
        if path == str(paths[150]): raise error
        return really(path, size, fit)
    monkeypatch.setattr(module, 'decode_source', stop)
    with pytest.raises(error): read_files(paths, 8, cache=tmp_path/'cache')
    assert left(tmp_path/'cache') == []

def test_unwritable_cache(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='choose another folder'): read_files([], 8, cache=tmp_path/'file')

# folders

def test_folder_of_classes(tmp_path, own, messages):
    folder = write(tmp_path/'x', 4)
    (folder/'a'/'deep'/'er').mkdir(parents=True)
    os.rename(folder/'a'/'003.png', folder/'a'/'deep'/'er'/'003.PNG')
    (folder/'notes.txt').write_text('')
    (folder/'a'/'notes.txt').write_text('')
    for hidden in ('.cache', 'a/.ipynb_checkpoints'): write(folder/hidden, 1)
    Image.new('RGB', (8, 8)).save(folder/'b'/'._000.png')
    data = own(str(folder))
    assert data.classes == ('a', 'b') and data.labels.tolist() == [0]*4+[1]*4 and data.bias is None
    assert data.images.equal(torch.stack([chw(noise(8, 8, 3, seed=100*c+i)) for c in (0, 1) for i in range(4)]))
    assert messages == [f'left out in {folder}: 1 .txt']

def test_folder_with_splits(tmp_path, own):
    for n, part in enumerate(('train', 'val', 'test'), 2): write(tmp_path/'x'/part, n)
    assert [len(own(tmp_path/'x', split=s)) for s in ('train', 'valid', 'test', 'all')] == [4, 6, 8, 18]
    os.rename(tmp_path/'x'/'test', tmp_path/'x'/'.test') # train and val only, as in ImageNet
    assert [len(own(tmp_path/'x', split=s)) for s in ('train', 'valid', 'test', 'all')] == [4, 6, 6, 10]
    write(tmp_path/'x'/'val', 1, classes=['c'])
    with pytest.raises(ValueError, match='must have the same classes; c is in one only'): own(tmp_path/'x')
    for part in ('train', 'test'): write(tmp_path/'y'/part)
    with pytest.raises(ValueError, match='has no valid/'): own(tmp_path/'y', split='valid')

def test_bad_folders_are_reported(tmp_path, own):
    with pytest.raises(ValueError, match='is not a folder'): own(tmp_path/'x')
    with pytest.raises(ValueError, match='has no subfolders'): own(tmp_path)
    folder = write(tmp_path/'x', 1)
    with pytest.raises(ValueError, match='class a has one image'): own(folder, split='train')
    with pytest.raises(ValueError, match="'valid' only in a folder"): own(folder, split='valid')
    with pytest.raises(ValueError, match='read_files'): own(folder, [0, 1])
    (folder/'c').mkdir()
    (folder/'c'/'x.png').write_bytes(b'')
    with pytest.raises(ValueError, match='c has no readable image; add some'): own(folder)

# what else is in folders

@pytest.mark.parametrize('train,test', [
    ('Train', 'Test'), ('TRAIN', 'TEST'), ('Training', 'Testing'), ('train', 'validation'), ('training', 'VALID'),
    ('Train', 'Val')])
def test_parts_by_any_usual_name(tmp_path, own, train, test):
    write(tmp_path/'x'/train, 2)
    write(tmp_path/'x'/test, 3)
    parts = [own(tmp_path/'x', split=split) for split in ('train', 'test', 'all')]
    assert [len(part) for part in parts] == [4, 6, 10] and {part.classes for part in parts} == {('a', 'b')}

@pytest.mark.parametrize('parts,why', [
    (['train'], 'lacks the part to train or to test on'),
    (['test', 'val'], 'lacks the part to train'),
    (['train', 'Train', 'test'], 'which mean the same'),
    (['fold1', 'fold2'], 'hold only folders'),
    (['data/train', 'data/test'], 'hold only folders')])
def test_folders_of_folders_are_no_classes(tmp_path, own, parts, why):
    for part in parts: write(tmp_path/'x'/part, 2)
    with pytest.raises(ValueError, match=why): own(tmp_path/'x')

def test_a_class_may_be_called_train(tmp_path, own):
    assert own(write(tmp_path/'x', 2, ['bus', 'train'])).classes == ('bus', 'train')

@pytest.mark.parametrize('source', ['', '~nobody/x', 'a\0b', __file__])
def test_no_folder(own, source):
    with pytest.raises(ValueError, match='not a folder|must be a folder'): own(source)

@pytest.mark.parametrize('junk', ['__MACOSX', '.git', '@eaDir', 'lost+found', '__pycache__'])
def test_folders_of_systems_are_no_classes(tmp_path, own, junk):
    folder = write(tmp_path/'x', 2)
    (folder/junk).mkdir()
    write(folder/'a'/junk, 1)
    assert len(own(folder)) == 4 and own(folder).classes == ('a', 'b')

def test_other_files_are_counted(tmp_path, own, messages):
    folder = write(tmp_path/'x', 2)
    for name in ('1.heic', '2.HEIC', '3.eps', '4'): (folder/'a'/name).write_bytes(b'1')
    os.mkfifo(folder/'a'/'5.png')
    (folder/'b'/'6.png').symlink_to('nowhere')
    assert len(own(folder)) == 4
    assert messages == [f'left out in {folder}: 2 .heic, 2 that are no regular files, 1 .eps, 1 without an ending']

LINKS = { # what a link in class a leads to -> numbers of images of a and b, which have two each
    '.': [2, 2], '..': [2, 2], '../..': [2, 2], '/': [2, 2], '../b': [2, 2], '../../elsewhere': [5, 2], 'loop': [2, 2]}

@pytest.mark.parametrize('target', LINKS)
def test_links_are_followed_once(tmp_path, own, target):
    folder = write(tmp_path/'x', 2)
    write(tmp_path/'elsewhere', 3, ['deep'])
    (tmp_path/'elsewhere'/'back').symlink_to(folder)
    for name in ('loop', 'loop2'): (folder/'a'/name).symlink_to(target)
    assert own(folder).labels.bincount().tolist() == LINKS[target]

def test_linked_files_and_classes(tmp_path, own):
    folder = write(tmp_path/'x', 2)
    plain = own(folder)
    (folder/'a'/'00.png').symlink_to('../b/000.png') # the image is of the class in which it lies
    (folder/'b'/'zz.png').symlink_to('000.png')
    assert own(folder).images.equal(plain.images) and own(folder).labels.equal(plain.labels)
    (folder/'.store').mkdir() # as git-annex does
    os.rename(folder/'a'/'000.png', folder/'.store'/'key.png')
    (folder/'a'/'000.png').symlink_to('../.store/key.png')
    assert own(folder).images.equal(plain.images)
    (folder/'c').symlink_to(write(tmp_path/'elsewhere', 3, ['deep'])/'deep')
    assert own(folder).labels.bincount().tolist() == [2, 2, 3]
    (folder/'d').symlink_to('a')
    with pytest.raises(ValueError, match='d has no readable image'): own(folder)

def test_linked_parts(tmp_path, own):
    write(tmp_path/'x'/'train', 2)
    write(tmp_path/'x'/'test', 3)
    (tmp_path/'x'/'val').symlink_to('test')
    (tmp_path/'x'/'train'/'a'/'more').symlink_to('../../test/a') # no test image is trained on
    assert [len(own(tmp_path/'x', split=split)) for split in ('train', 'valid', 'test', 'all')] == [4, 6, 6, 10]

PLACES = st.sampled_from(['a', 'b', 'a/deep', '../elsewhere'])
TARGETS = st.sampled_from(['a', 'b', 'a/deep', '.', '..', '../elsewhere', 'a/l0', 'b/l1', 'b/000.png'])

@given(st.lists(st.tuples(PLACES, TARGETS), max_size=6))
@settings(max_examples=40, deadline=None)
def test_no_links_change_what_is_read(links):
    "But for the three images elsewhere, which may be found once, in one class"
    with tempfile.TemporaryDirectory() as d:
        folder = write(Path(d, 'x'), 2)
        write(folder/'a', 1, ['deep'])
        write(Path(d), 3, ['elsewhere'])
        for i, (place, target) in enumerate(links): (folder/place/f'l{i}').symlink_to(folder/target)
        data = load_images(folder, size=8, cache=Path(d, 'cache'), on_skip=str)
        counts = data.labels.bincount().tolist()
        assert counts in ([3, 2], [6, 2], [3, 5])

@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, partial(os.symlink, '/dev/zero')])
def test_only_regular_files_are_opened(tmp_path, make):
    make(tmp_path/'x.png')
    with pytest.raises(ValueError, match='no regular file'): decode_image(tmp_path/'x.png')
    assert not len(read_files([tmp_path/'x.png'], 8, cache=tmp_path/'cache')[1])

@pytest.mark.parametrize('name', ['x.eps', 'x.ps', 'x.png', 'x.jpg', 'x'])
def test_nothing_is_executed(tmp_path, own, monkeypatch, name):
    program = tmp_path/'bin'/'gs' # in place of Ghostscript, which Pillow would call
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/executed\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(program.parent), prepend=os.pathsep)
    folder = write(tmp_path/'x', 2)
    (folder/'a'/name).write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n')
    with pytest.raises(ValueError, match='no image of a format'): decode_image(folder/'a'/name)
    assert len(own(folder)) == 4 and not (tmp_path/'executed').exists()

def test_formats_are_read_by_pillow_itself():
    from PIL import Image as pillow
    pillow.init()
    assert {'PNG', 'JPEG', 'WEBP', 'TIFF'} <= set(known_formats()) <= set(pillow.OPEN)
    assert not set(known_formats()) & {'EPS', 'WMF', 'PDF', 'GRIB', 'BUFR', 'HDF5', 'FPX', 'MIC'}

def test_decompression_bombs_are_refused(tmp_path):
    (tmp_path/'x.png').write_bytes(b'P6\n20000 20000\n255\n')
    with pytest.raises(ValueError, match='exceeds limit'): decode_image(tmp_path/'x.png')

@pytest.mark.filterwarnings('ignore') # Pillow's own
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'JPEG2000', 'TGA'])
def test_damaged_images_end_in_a_sentence(tmp_path, kind):
    Image.fromarray(noise(16, 16, 3)).save(tmp_path/'whole', kind)
    whole = (tmp_path/'whole').read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole[:generator.integers(1, len(whole)+1)])
        for i in generator.integers(0, len(damaged), 3): damaged[i] = generator.integers(256)
        (tmp_path/'x').write_bytes(damaged)
        try: assert decode_image(tmp_path/'x', 8).shape == (3, 8, 8)
        except ValueError as e: assert 'cannot be read: ' in str(e) and '\n' not in str(e)

def test_names_of_any_bytes(tmp_path, own, capsys, messages):
    folder = write(tmp_path/'x', 2, ['猫', os.fsdecode(b'caf\xe9'), 'a\nb\x1b[31m'])
    (folder/'猫'/os.fsdecode(b'\xff.png')).write_bytes(b'')
    data = own(folder)
    assert data.classes == ('a\\nb\\x1b[31m', 'caf\\udce9', '猫') and len(data) == 6
    json.dumps(data.classes).encode()
    load_images(folder, size=8, cache=tmp_path/'cache')
    assert '\\udcff.png' in capsys.readouterr().out and '\n' not in messages[0]

def test_names_that_the_terminal_lacks(tmp_path):
    folder = write(tmp_path/'x', 2, ['a', '猫'])
    (folder/'a'/'坏.png').write_bytes(b'')
    code = '; '.join([
        'import sys', 'from dd_debias.image_folder import load_images',
        'print(len(load_images(sys.argv[1], size=8, cache=sys.argv[2])))'])
    ascii_only = dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0', PYTHONIOENCODING='ascii', COLUMNS='wide')
    command = [sys.executable, '-c', code, folder, tmp_path/'cache']
    done = subprocess.run(command, env=os.environ|ascii_only, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith('4\n') and 'skipped 1 of 5' in done.stdout, done.stderr

# images that are not square

def test_fit():
    wide = noise(8, 16, 3)
    im = Image.fromarray(wide)
    assert decode_image(im, 8).equal(chw(wide[:, 4:12])) and decode_image(im, 8, 'crop').equal(decode_image(im, 8))
    assert decode_image(im, 8, 'squash').equal(chw(im.resize((8, 8), Image.Resampling.LANCZOS)))
    padded = decode_image(im, 16, 'pad')
    assert padded[:, 4:12].equal(chw(wide)) and not padded[:, :4].any() and not padded[:, 12:].any()
    turned = decode_image(im.transpose(Image.Transpose.ROTATE_90), 16, 'pad')
    assert turned.equal(padded.rot90(1, (1, 2)))
    for shape in ((1, 300, 3), (300, 1, 3)): # one line
        for fit in ('crop', 'pad', 'squash'): assert decode_image(np.full(shape, 9, np.uint8), 8, fit).max() == 9
    for fit in ('crop', 'pad', 'squash'): assert decode_image(wide[:, :8], 8, fit).equal(chw(wide[:, :8]))
    for wrong in ('Crop', '', None, 0, []):
        with pytest.raises(ValueError, match="^fit must be"): decode_image(im, 8, wrong)

def test_fit_of_every_source(tmp_path, own, messages):
    wide = noise(4, 8, 16, 3)
    for i, x in enumerate(wide):
        path = tmp_path/'x'/'ab'[i%2]/f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(path)
    order = [0, 2, 1, 3] # by class
    pairs = [(wide[i], i%2) for i in order]
    for fit in ('crop', 'pad', 'squash'):
        expected = torch.stack([decode_image(wide[i], 8, fit) for i in order])
        for again in range(2): # decoded, and from the cache
            assert own(tmp_path/'x', fit=fit).images.equal(expected), again
        assert own(wide[order], [0, 0, 1, 1], fit=fit).images.equal(expected)
        assert own(pairs, fit=fit).images.equal(expected)
    said = 'cropped 4 of 4 images to their central square, which leaves out 50.0% of each on average'
    assert len(messages) == 4 and all(message.startswith(said) for message in messages)

def test_fit_leaves_old_caches_and_records_valid(tmp_path):
    key = [('x.png', 5, 7)]
    old = hashlib.blake2b(repr((1, 8, key)).encode(), digest_size=12).hexdigest()
    assert cache_path(key, 8, 'crop', tmp_path).stem == old != cache_path(key, 8, 'pad', tmp_path).stem
    config = to_config(partial(load_images, source='x', size=8))
    assert complete({name: value for name, value in config.items() if name != 'fit'}) == config
    paths = sorted(write(tmp_path/'x').rglob('*.png'))
    images, _ = read_files(paths, 8, cache=tmp_path/'cache')
    meta, = (tmp_path/'cache').glob('*.json')
    meta.write_text('{"skipped": {}}') # as it was before
    assert read_files(paths, 8, cache=tmp_path/'cache')[0].equal(images) and meta.read_text() == '{"skipped": {}}'

# caches that somebody else wrote

HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 3, 8, 8), }".ljust(117)+b'\n'

@pytest.mark.parametrize('text', [
    b'[]', b'7', b'['*100000, b'{}', b'{"skipped":[1]}', b'{"skipped":{"x":"y"}}', b'{"skipped":{"99":"y"}}', b'\xff',
    b'', b'{"skipped":{},"cropped":"x"}', b'{"skipped":{"0":"y"}}'])
def test_a_damaged_list_of_a_cache(tmp_path, text): damage(tmp_path, '*.json', text)

@pytest.mark.parametrize('array', [
    np.zeros((3, 3, 8, 8), np.uint8), np.zeros((6, 3, 8, 8)), np.full((6, 3, 8, 8), 'a'), np.array([{}]),
    b'\x93NUMPY\x01\0v\0'+HEADER, b'', b'PK\3\4'])
def test_a_damaged_array_of_a_cache(tmp_path, array):
    if isinstance(array, np.ndarray):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        array = file.getvalue()
    damage(tmp_path, '*.npy', array)

def damage(folder, pattern, data):
    images = load_images(write(folder/'x'), size=8, cache=folder/'cache').images.clone()
    file, = (folder/'cache').glob(pattern)
    file.write_bytes(data)
    assert load_images(folder/'x', size=8, cache=folder/'cache').images.equal(images)
    file.unlink()
    os.mkfifo(file)
    assert load_images(folder/'x', size=8, cache=folder/'cache').images.equal(images)

# splits

@pytest.mark.parametrize('held_out', [.01, .2, .5, .99])
def test_held_out_share_of_each_class(own, held_out):
    labels = torch.tensor([0]*2+[1]*10+[2]*100)[torch.randperm(112, generator=torch.Generator().manual_seed(0))]
    number = torch.arange(112, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    before = torch.get_rng_state()
    def members(split, seed=0):
        d = own(number, labels, split=split, held_out=held_out, seed=seed)
        i = d.images[:, 0, 0, 0].long()
        assert labels[i].equal(d.labels)
        return i.tolist()
    train, test = members('train'), members('test')
    assert sorted(train+test) == list(range(112)) and train == sorted(train)
    assert torch.bincount(labels[test]).tolist() == [min(max(round(held_out*n), 1), n-1) for n in (2, 10, 100)]
    assert test == members('test') != members('test', 1) and torch.get_rng_state().equal(before)

# arrays and data sets

def test_array_layouts(own):
    a, y = noise(5, 8, 8, 3), [0, 1, 0, 1, 1]
    frozen = a.copy()
    frozen.setflags(write=False)
    t = torch.from_numpy(a).permute(0, 3, 1, 2)
    opaque = np.concatenate([a, a[..., :1]*0+255], 3)
    for x in (a, t, torch.from_numpy(a), a.transpose(0, 3, 1, 2), frozen, a/255, opaque):
        assert own(x, y).images.equal(t) and own((x, y)).images.equal(t)
    assert own(a[..., 0], y).images.shape == (5, 1, 8, 8) and own(a[..., :1], y).images.shape == (5, 1, 8, 8)
    assert own(a[:, :6, :, 0], y, size=4).images.equal(torch.stack([decode_image(x, 4) for x in a[:, :6, :, 0]]))

def test_labels(own):
    x = noise(4, 8, 8)
    accepted = (
        ([7, 3, 3, 9], [1, 0, 0, 2], ('3', '7', '9')),
        (['b', 'a', 'b', 'b'], [1, 0, 1, 1], ('a', 'b')),
        (torch.tensor([1, 0, 1, 0]), [1, 0, 1, 0], ('0', '1')),
        ([np.int64(2), torch.tensor(1), 1, 1], [1, 0, 0, 0], ('1', '2')),
        ((c for c in 'abba'), [0, 1, 1, 0], ('a', 'b')),
        (pandas.Series([3., 5., 3., 3.], index=[9, 8, 7, 6]), [0, 1, 0, 0], ('3', '5')), # whole numbers
        (pandas.Series(['x', 'y', 'y', 'x'], dtype='category'), [0, 1, 1, 0], ('x', 'y')),
        (pandas.Series(['None', 'nan', 'nan', 'None']), [0, 1, 1, 0], ('None', 'nan')), # names, and nothing missing
        ([True, False, True, True], [1, 0, 1, 1], ('False', 'True')))
    for labels, numbers, names in accepted:
        d = own(x, labels)
        assert d.labels.tolist() == numbers and d.classes == names
    rejected = (
        (None, 'labels must be given'),
        ([0, 1], 'same length, got 4 and 2'),
        ([0, 1, .5, 1], 'whole numbers or names, got 0.5 at number 2'),
        ([0, 1e300, 0, 1], 'whole numbers'),
        ([0, float('inf'), 0, 1], 'whole numbers'),
        ([0, 2**70, 0, 1], 'whole numbers'),
        ([0, 1j, 0, 1], 'whole numbers or names'),
        ([b'a', b'b', b'a', b'b'], 'whole numbers or names'),
        ([None]*4, '4 of 4 are missing'),
        (pandas.Series(['a', None, 'b', 'a']), '1 of 4 are missing, the first at number 1'),
        (pandas.Series([0, 1, np.nan, 1]), '1 of 4 are missing'),
        (pandas.Series([0, 1, None, 1], dtype='Int64'), '1 of 4 are missing'),
        (pandas.Series(['a', None, 'b', 'a'], dtype='category'), 'missing'),
        (np.array(['a', '', 'b', 'b']), 'missing'),
        (np.ma.array([0, 1, 0, 1], mask=[0, 0, 0, 1]), 'missing'),
        (np.eye(4, dtype=int), r'if they are one-hot, give labels.argmax\(1\)'),
        (np.eye(4, dtype=int)[:, :1], 'one for each image'),
        (torch.eye(4), 'one-hot'),
        ([[0], [1, 2], [0], [1]], 'one for each image'),
        ([0, 'a', 1, 'b'], 'all numbers or all names'),
        ('abab', 'list of one label'),
        (dict(a=0, b=1, c=2, d=3), 'list of one label'),
        ({0, 1, 2, 3}, 'list of one label'),
        (3, 'list of one label'),
        (np.array(3), 'a single one'),
        (torch.tensor(3), 'a single one'))
    for labels, why in rejected:
        with pytest.raises(ValueError, match=why): own(x, labels)

LABELS = {0: '0', 7.: '7', -3: '-3', 'a': 'a', '7': '7'} # accepted -> name of its class
REFUSED = ['', None, float('nan'), .5, b'a', [0], 1j, 2**70]

@given(st.lists(st.sampled_from([*LABELS, *REFUSED]), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_labels_are_kept_or_refused(labels):
    refused = any(label in REFUSED for label in labels)
    mixed = len({isinstance(label, str) for label in labels}) == 2
    try: data = load_images(noise(3, 8, 8), labels, size=8)
    except ValueError as e: assert str(e).startswith('labels') and (refused or mixed)
    else:
        assert not refused and not mixed
        assert [data.classes[c] for c in data.labels] == [LABELS[label] for label in labels]

def test_arrays_without_pixel_values(own):
    a = noise(4, 8, 8, 3)
    wrong = (
        a*1., a/127.5-1, a*1j, a.astype(object), np.full((4, 8, 8), 'a'), a.astype('M8[s]'), np.full((4, 8, 8), np.nan),
        a.astype(int)-300, torch.rand(4, 8, 8).to_sparse(), torch.zeros(4, 3, 8, 8, device='meta'), np.array(3),
        torch.tensor(3), np.zeros(4), a[:, :0], a[..., :2], np.zeros((4, 1, 3, 8, 8)))
    for x in wrong:
        with pytest.raises(ValueError, match='^(pixels|images|an image) '): own(x, [0, 1, 0, 1])
    assert own(torch.from_numpy(a/255).bfloat16().permute(0, 3, 1, 2), [0, 1, 0, 1]).images.shape == (4, 3, 8, 8)

def test_bytes_in_sixteen_bits_are_refused(tmp_path, own):
    grey = noise(4, 8, 8)
    dark = grey.astype(np.uint16)
    with pytest.raises(ValueError, match='which would be black; store them as 8-bit'): own(dark, [0, 1, 0, 1])
    for dtype, suffix in ((np.uint16, 'png'), (np.int32, 'tiff')):
        Image.fromarray(grey[0].astype(dtype)).save(tmp_path/f'x.{suffix}')
        with pytest.raises(ValueError, match='which would be black'): decode_image(tmp_path/f'x.{suffix}', 8)
    assert own(grey.astype(np.uint16)*257, [0, 1, 0, 1]).images.equal(torch.from_numpy(grey)[:, None])
    assert not own(np.zeros((4, 8, 8), np.uint16), [0, 1, 0, 1]).images.any()

class Pairs(Dataset):
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
    def __getitem__(self, i):
        if isinstance(self.items[i], Exception): raise self.items[i]
        return self.items[i]

def test_torch_datasets(own, messages):
    a = noise(3, 8, 8, 3)
    items = [(Image.fromarray(a[0]), 'x'), (a[1], 'y', 'more'), OSError('truncated'), (a[2]*2., 'x'), (chw(a[2]), 'x')]
    d = own(Pairs(items))
    assert d.images.equal(torch.from_numpy(a).permute(0, 3, 1, 2)) and d.labels.tolist() == [0, 1, 0]
    assert len(messages) == 1 and messages[0].startswith('skipped 2 of 5 images: source[2]: truncated; source[3]: ')
    assert own([items[0], items[1]]).classes == ('x', 'y') # two pairs, and no pair of arrays
    rejected = (
        ([], 'no image'),
        (Pairs([OSError()]), 'no image'),
        ([a[0]], r'source\[0\] must be a pair'),
        (['x.png'], 'must be a pair'),
        (dict(train=items), "such as source\\['train'\\]"),
        (None, 'got NoneType'),
        (iter(items), 'with a length'))
    for wrong, why in rejected:
        with pytest.raises(ValueError, match=why): own(wrong)

def test_class_names_of_torchvision(tmp_path, own):
    from torchvision.datasets import ImageFolder
    folder = ImageFolder(write(tmp_path/'x', 2, ['cat', 'dog']))
    assert own(folder).classes == own(Subset(folder, [0, 3])).classes == ('cat', 'dog')
    renumbered = ImageFolder(tmp_path/'x', target_transform=lambda c: c+5)
    assert own(renumbered).classes == ('5', '6')
    pairs = Pairs([(x, c) for x, c in zip(noise(3, 8, 8, 3), [0, 1, 2], strict=True)])
    pairs.classes = ['cat', 'dog']
    with pytest.raises(ValueError, match='2 names of classes, and none for 2'): own(pairs)

def test_faults_of_a_data_set_are_named(own):
    item = (noise(8, 8, 3), 'x')
    for error in (KeyError('k'), RuntimeError('r'), IndexError()):
        why = rf'source\[1\] cannot be had: {type(error).__name__}'
        with pytest.raises(ValueError, match=why): own(Pairs([item, error]))
    for error in (EOFError(), Image.DecompressionBombError()): assert len(own(Pairs([item, error]))) == 1

@pytest.mark.parametrize('paths', ['x.png', Path('x.png'), None, 5, [5], [None]])
def test_no_list_of_paths(paths):
    with pytest.raises(ValueError, match='paths must be a list of paths'): read_files(paths)

class ClassLabel:
    def __init__(self, names): self.names = names
class Feature: pass
class Value: pass
Feature.__name__ = 'Image'

class HuggingFace:
    "The part of `datasets.Dataset` that load_images uses"
    def __init__(self, features, **columns):
        self.features = features
        self.columns = columns
        self.column_names = list(columns)
        self._fingerprint = str(self.column_names)
        self.read = 0
    def __len__(self): return len(next(iter(self.columns.values())))
    def __getitem__(self, i):
        if isinstance(i, str): return self.columns[i]
        self.read += 1
        return {k: v[i] for k, v in self.columns.items()}

def test_hugging_face_datasets(own, messages):
    a = noise(4, 8, 8, 3)
    pictures = [Image.fromarray(x) for x in a]
    features = dict(photo=Feature(), coarse=ClassLabel('pq'), fine_label=ClassLabel(['dog', 'eel', 'cat']))
    d = HuggingFace(features, photo=pictures[:3]+[b''], coarse=[0]*4, fine_label=[2, 0, 2, 1])
    for reads in (4, 5): # then only what could not be read
        mine = own(d)
        assert mine.images.equal(torch.from_numpy(a[:3]).permute(0, 3, 1, 2)) and d.read == reads
        assert mine.labels.tolist() == [1, 0, 1] and mine.classes == ('dog', 'cat') # of eel there is no image
    assert messages[0] == messages[1] and 'source[3]: ' in messages[0]
    assert own(HuggingFace(dict(img=Value(), label=Value()), img=pictures, label=['u', 'v']*2)).classes == ('u', 'v')
    no_label = HuggingFace(dict(img=Feature(), x=Value()), img=pictures, x=[0]*4)
    two_images = HuggingFace(dict(x=Feature(), y=Feature(), label=Value()), x=pictures, y=pictures, label=[0]*4)
    unlabelled = HuggingFace(dict(img=Feature(), label=ClassLabel('ab')), img=pictures, label=[0, -1, -1, 1])
    rejected = (
        (no_label, "a column 'label', got img, x"),
        (two_images, "a column 'image'"),
        (unlabelled, '2 of 4 are missing'))
    for wrong, why in rejected:
        with pytest.raises(ValueError, match=why): own(wrong)

# paths, a test folder, the bias, images that are left out

def test_paths_follow_their_images(own, tmp_path):
    folder = write(tmp_path/'x', 5)
    whole = own(folder)
    for part in (whole, own(folder, split='train'), own(folder, split='test'), whole[::3], whole[[7]],
                 whole[whole.labels == 1], whole[torch.tensor([3, 0])]):
        assert len(part.paths) == len(part)
        for path, image, label in zip(part.paths, *part.xy, strict=True):
            assert decode_image(path, 8).equal(image) and Path(path).parent.name == 'ab'[label]
    assert own(noise(4, 8, 8), [0]*4).paths == ()

def test_test_folder(own, tmp_path):
    folder = write(tmp_path/'x', 5, ('a', 'b', 'c'))
    other = write(tmp_path/'y', 2, ('c', 'a'))
    assert len(own(folder, split='train', test=other)) == 15
    with pytest.raises(ValueError, match="only in a folder that holds valid/"): own(folder, split='valid', test=other)
    test = own(folder, split='test', test=other)
    assert test.labels.tolist() == [0, 0, 2, 2] and test.classes == ('a', 'b', 'c')
    write(tmp_path/'y', 2, ('d',))
    with pytest.raises(ValueError, match="test: .* has a class 'd', and .* has a, b, c; name the folders alike"):
        own(folder, split='test', test=other)
    with pytest.raises(ValueError, match='test and exclude are for a folder'): own(noise(4, 8, 8), [0]*4, test=folder)

def test_bias_from_a_file_or_a_list(own, tmp_path, monkeypatch):
    folder = write(tmp_path/'x', 2)
    table = tmp_path/'bias.csv'
    def bias_of(text, **how):
        table.write_text(text)
        return own(folder, bias=table, **how).bias.tolist()
    rows = ['a/000.png,a', 'a/001.png,b', 'b/000.png,b', f'{folder}/b/001.png,a', 'b/gone.png,a']
    text = '\n'.join(['path,bias', *rows])
    assert bias_of(text) == [0, 1, 1, 0]
    assert len(bias_of(text, split='test')) == 2
    assert own(noise(4, 8, 8), list('abab'), bias=list('aabb')).bias.tolist() == [0, 0, 1, 1]
    assert own(noise(3, 8, 8), [5, 7, 7], bias=torch.tensor([7, 7, 5])).bias.tolist() == [1, 1, 0]
    for wrong, says in ((text.replace('a/001.png,b', 'a/001.png,red'), "'red' is no class"),
                        ('path,bias\na/000.png,a', 'none for 3 images, the first'),
                        ('path\na/000.png', 'must have the columns path and bias')):
        with pytest.raises(ValueError, match=says): bias_of(wrong)
    with pytest.raises(ValueError, match='cannot be read'): own(folder, bias=tmp_path/'none.csv')
    with pytest.raises(ValueError, match="'c' is no class"): own(noise(2, 8, 8), list('ab'), bias=list('ac'))
    with pytest.raises(ValueError, match='one for each of 2'): own(noise(2, 8, 8), list('ab'), bias=list('a'))

def test_excluded_images_are_left_out(own, tmp_path):
    folder = write(tmp_path/'x', 3)
    names = tmp_path/'exclude.txt'
    names.write_text(f'a/000.png\n\n {folder}/b/002.png \n')
    kept = own(folder, exclude=names)
    assert [Path(p).name for p in kept.paths] == ['001.png', '002.png', '000.png', '001.png']
    names.write_text('a/009.png')
    with pytest.raises(ValueError, match='names a/009.png, which is no file'): own(folder, exclude=names)
    with pytest.raises(ValueError, match='cannot be read'): own(folder, exclude=tmp_path/'none.txt')

# in a run

def test_bad_arguments(own):
    for wrong in (dict(split='dev'), dict(held_out=1), dict(size=0)):
        with pytest.raises(ValueError, match=next(iter(wrong))): own(noise(4, 8, 8), [0]*4, **wrong)

def test_run_on_a_folder(tmp_path):
    folder = write(tmp_path/'x', 5)
    data = partial(load_images, source=folder, size=8, cache=str(tmp_path/'cache'))
    assert to_config(data)['source'] == str(folder)
    evaluator = partial(evaluate, train=partial(train_classifier, epochs=1, net=MLP), networks=1)
    record = run(data, partial(distill_random, ipc=1), weigh=None, evaluate=evaluator, out=tmp_path/'out')
    assert record['data']['held_out'] == .2 and record['classes'] == ['a', 'b']
    assert set(record['accuracy']) == {'all', 'common', 'rare', 'class_0', 'class_1'}

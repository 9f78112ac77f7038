"Source files of images: damaged, missing, downloaded"
import io
import os
import resource
import zipfile

import numpy as np
import pytest
import torch
from common import left

from dd_debias.bias import cmnist
from dd_debias.natural import bar, bffhq, celeba, waterbirds
from dd_debias.sources import data_root, digits, load_npz, mnist


def test_damaged_npz_is_reported(tmp_path):
    images = np.zeros((60000, 28, 28), np.uint8)
    np.savez_compressed(tmp_path/'mnist.npz', train_images=images, train_labels=np.zeros(60000, np.uint8))
    whole = (tmp_path/'mnist.npz').read_bytes()
    for damage in (whole[:len(whole)//2], whole[:100]+b'?'*50+whole[150:], b''):
        (tmp_path/'mnist.npz').write_bytes(damage)
        with pytest.raises(ValueError, match='damaged'): mnist(root=tmp_path)
    (tmp_path/'mnist.npz').write_bytes(whole)
    with pytest.raises(ValueError, match='damaged'): mnist('test', root=tmp_path) # it has no test images

def test_download_without_a_network_is_reported(tmp_path, monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'): monkeypatch.setenv(name, 'http://127.0.0.1:9')
    with pytest.raises(OSError, match='connect to a network, or set root or DD_DEBIAS_DATA'): cmnist(root=tmp_path)
    assert not left(tmp_path)

def test_download_is_kept_as_one_file(tmp_path, monkeypatch):
    "What torchvision downloads is written once, and read from that file afterwards"
    class Fake:
        calls = 0
        def __init__(self, root, train, download):
            Fake.calls += 1
            n = 60000 if train else 10000
            self.data, self.targets = torch.full((n, 28, 28), 7, dtype=torch.uint8), torch.arange(n)%10
    monkeypatch.setattr('torchvision.datasets.MNIST', Fake)
    for split, n in dict(train=55000, valid=5000, test=10000).items():
        images, labels = mnist(split, root=tmp_path)
        assert images.shape == (n, 1, 28, 28) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert Fake.calls == 2 and left(tmp_path) == ['mnist.npz']

def header(shape, descr='|u1'):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, dict(descr=descr, fortran_order=False, shape=shape))
    return file.getvalue()

def npy(x):
    file = io.BytesIO()
    np.save(file, x, allow_pickle=True)
    return file.getvalue()

def npz(path, **files):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items(): archive.writestr(f'{name}.npy', data)

CODE = b"{'descr': __import__('os').system('touch executed'), }".ljust(117)+b'\n'

@pytest.mark.parametrize('data', [
    header((10**13, 28, 28))+b'pixels', header((2**63, 2**63)), header((-1, 28)), header((5,), '|O')+b'pickle',
    header((8,)), npy(np.array([{}])), npy(np.zeros(3))+b'more', b'\x93NUMPY\x09\0', b'\x93NUMPY\x01\0v\0'+CODE,
    b'', b'hello'])
def test_hostile_headers(tmp_path, monkeypatch, data):
    "One sentence, without taking the memory that they ask for and without executing anything"
    monkeypatch.chdir(tmp_path)
    npz(tmp_path/'x.npz', images=data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match='x.npz is damaged'): load_npz(tmp_path/'x.npz', ['images'])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before < 50_000 and left(tmp_path) == ['x.npz'] # kB

@pytest.mark.parametrize('make', [
    os.mkdir, os.mkfifo, lambda path: path.write_bytes(header((10**13,))), lambda path: path.write_bytes(b'\x80\x04.')])
def test_what_is_no_npz(tmp_path, make):
    make(tmp_path/'mnist.npz')
    with pytest.raises(ValueError, match='mnist.npz is (damaged|not a file)'): mnist(root=tmp_path)

PHOTOS = np.zeros((2, 64, 64, 3), np.uint8)

@pytest.mark.parametrize('images,labels', [
    (PHOTOS*1., [0, 1]), (PHOTOS[..., 0], [0, 1]), (PHOTOS[:, :32], [0, 1]), (PHOTOS, [0]), (PHOTOS, [0, 6]),
    (PHOTOS, [0, -1]), (PHOTOS, [0, .5]), (PHOTOS, ['a', 'b']), (PHOTOS, [[0], [1]]), (PHOTOS, 0), (PHOTOS[:0], []),
    (np.array(['a']), [0])])
def test_wrong_arrays(tmp_path, images, labels):
    npz(tmp_path/'bar64.npz', train_images=npy(images), train_labels=npy(np.array(labels)))
    with pytest.raises(ValueError, match='bar64.npz must hold train (images of 8|labels that)'): bar(root=tmp_path)

def test_arguments_of_sources(monkeypatch):
    with pytest.raises(ValueError, match='root must be a folder'): mnist(root=5)
    for wrong in (None, [], 'Train'):
        for source in (digits, mnist):
            with pytest.raises(ValueError, match='split must be'): source(wrong)
    assert data_root('~nobody/x').name == 'x'

HEAD = 'img_id,img_filename,y,split,place\n'

@pytest.mark.parametrize('text,why', [
    ('a,b\n1,2', 'metadata.csv is damaged'), (HEAD+'0,1.jpg,bird,0,1', 'metadata.csv is damaged'),
    (HEAD+'0,1.jpg,1.0,0,1', 'damaged'), (bytes(range(256)), 'damaged'), ('', 'no image is listed'),
    (HEAD+'0,1.jpg,7,0,1', 'must be 0 or 1'), (HEAD+'0,1.jpg,0,0,-1', 'must be 0 or 1'),
    (HEAD+'0,../../1.jpg,0,0,1', 'outside'), (HEAD+'0,/etc/passwd,0,0,1', 'outside'),
    (HEAD+'0,1\0.jpg,0,0,1', 'cannot be read|damaged'),
    (HEAD+'0,gone.jpg,0,0,1', 'cannot be read')])
def test_damaged_lists_of_waterbirds(tmp_path, text, why):
    folder = tmp_path/'waterbird_complete95_forest2water2'
    folder.mkdir()
    (folder/'metadata.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=why): waterbirds(root=tmp_path)

NAMES = '1\n'+' '.join(['Blond_Hair', 'Male', *'abcdefghij'])

@pytest.mark.parametrize('attributes,partition,why', [
    (f'{NAMES}\n1.jpg 1', '1.jpg 0', 'list_attr_celeba.txt is damaged'),
    (f'{NAMES}\n1.jpg{" 1"*12}', '2.jpg 0', 'list_eval_partition.txt is damaged'),
    (f'{NAMES}\n1.jpg{" 1"*12}', '1.jpg train', 'no image is listed'), ('', '', 'has no names of attributes')])
def test_damaged_lists_of_celeba(tmp_path, attributes, partition, why):
    (tmp_path/'celeba'/'img_align_celeba').mkdir(parents=True)
    (tmp_path/'celeba'/'list_attr_celeba.txt').write_text(attributes)
    (tmp_path/'celeba'/'list_eval_partition.txt').write_text(partition)
    with pytest.raises(ValueError, match=why): celeba(root=tmp_path)
    with pytest.raises(ValueError, match='attribute must be another'): celeba(attribute='Blond_Hair', root=tmp_path)

@pytest.mark.parametrize('name', ['a_b_c.png', '1_7_0.png', '1_0_-1.png', '1__0.png'])
def test_names_of_bffhq(tmp_path, name):
    (tmp_path/'bffhq'/'test').mkdir(parents=True)
    (tmp_path/'bffhq'/'test'/name).write_bytes(b'')
    with pytest.raises(ValueError, match='must be named'): bffhq('test', root=tmp_path)

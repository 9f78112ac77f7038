"Source files of images: damaged, missing, downloaded"
import numpy as np
import pytest
import torch
from common import left

from dd_debias.bias import cmnist
from dd_debias.sources import mnist


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

"Every distiller on every kind of set, and files of distilled sets"
import resource
from functools import partial

import pytest
import torch
from common import any_set, few, left, some_set

from dd_debias.coresets import distill_random
from dd_debias.distilled import export, load, save
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.dsa import distill_dsa
from dd_debias.image_folder import load_images
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.runtime import Checkpoint, atomic_write

DISTILLERS = {
    'dm': partial(distill_dm, steps=2, batch=9),
    'kernel': partial(distill_dm, steps=2, batch=9, distance=kernel_distance),
    'dsa': partial(distill_dsa, rounds=1, outer=2, inner=1, batch=9),
    'mtt': partial(distill_mtt, steps=2, lr=1., lr_lr=0., syn_steps=2, max_start_epoch=1,
                   experts=partial(expert_trajectories, epochs=1, steps=2, batch=9))}

@any_set
@pytest.mark.parametrize('name', DISTILLERS)
def test_any_set_can_be_distilled(name, channels, size, sizes):
    "Grey or colour, small or large, any number of classes, and of unequal size, smaller than a batch"
    images, labels = some_set(channels, size, sizes)
    weights = torch.rand(len(labels), generator=torch.Generator().manual_seed(1))
    syn = DISTILLERS[name](images, labels, weights, ipc=1, net=partial(ConvNet, width=4))
    assert syn.images.shape == (len(sizes), channels, size, size) and syn.images.isfinite().all()

def test_export_reads_back_and_refuses_a_used_folder(tmp_path):
    "Folders sort in the order of the classes, and an earlier export is not written into"
    images, labels = torch.randint(0, 255, (24, 3, 8, 8), dtype=torch.uint8), torch.arange(24)%12
    syn = distill_random(images, labels, ipc=2)
    export(syn, tmp_path)
    back = load_images(tmp_path/'images', size=8, cache=tmp_path/'cache')
    assert back.labels.equal(syn.labels) and back.classes[2] == '02'
    with pytest.raises(ValueError, match='is there already'): export(syn, tmp_path)

def test_damaged_safetensors_are_reported(tmp_path):
    path = tmp_path/'syn.safetensors'
    save(distill_random(*few.xy, ipc=1), path)
    whole = path.read_bytes()
    for damage in (whole[:20], whole[:-1], b'', b'\0'*100):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match='is damaged or was not written by dd_debias'): load(path)
    with pytest.raises(FileNotFoundError): load(tmp_path/'nothing.safetensors')
    Checkpoint(path, every=1)(1, 2, dict(images=torch.zeros(1)))
    with pytest.raises(ValueError, match='not a synthetic set'): load(path)

def test_full_disk_leaves_no_partial_file(tmp_path):
    "A file that cannot be written completely does not appear at all"
    syn, soft = distill_random(*few.xy, ipc=4), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, soft[1]))
    try:
        with pytest.raises(OSError, match='free some space or choose another folder'):
            save(syn, tmp_path/'syn.safetensors')
        with pytest.raises(OSError, match='free some space'), atomic_write(tmp_path/'a.bin') as f:
            f.write_bytes(b'0'*5000)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert not left(tmp_path)

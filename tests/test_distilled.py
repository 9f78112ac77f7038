"Every distiller on every kind of set, and files of distilled sets"
import json
import os
import resource
import struct
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from common import any_set, few, left, some_set

from dd_debias.bias import color_digits
from dd_debias.coresets import distill_random
from dd_debias.distilled import Distilled, export, load, load_pt, save, save_pt
from dd_debias.dm import distill_dm, kernel_distance
from dd_debias.dsa import distill_dsa
from dd_debias.files import Checkpoint, atomic_write, load_tensors, save_tensors
from dd_debias.image_folder import load_images
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet
from dd_debias.pixels import standardize
from dd_debias.train import train_classifier

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

X, Y, ZEROS, ONES = torch.rand(4, 3, 8, 8), torch.tensor([0, 0, 1, 1]), torch.zeros(3), torch.ones(3)
NO_SET = { # what is wrong -> the arguments, and what the message names
    'uint8 images': (dict(images=(X*255).byte()), 'images must be a float tensor'),
    'one image': (dict(images=X[0]), 'images must be a float tensor'),
    'no image': (dict(images=X[:0], labels=Y[:0]), 'images must be a float tensor'),
    'a list': (dict(images=X.tolist()), 'images must be a float tensor'),
    'sparse': (dict(images=X.to_sparse()), 'images must be a float tensor'),
    'meta': (dict(images=X.to('meta')), 'images must be a float tensor'),
    'NaN': (dict(images=X*torch.nan), 'images must hold finite'),
    'beyond float32': (dict(images=X.double()*1e300), 'images must hold finite'),
    'float labels': (dict(labels=Y.float()), 'labels must be 4 whole'),
    'one-hot labels': (dict(labels=torch.eye(2).long()[Y]), 'labels must be 4 whole'),
    'few labels': (dict(labels=Y[:3]), 'labels must be 4 whole'),
    'names': (dict(labels=np.array(list('aabb'))), 'labels must be 4 whole'),
    'negative labels': (dict(labels=Y-1), 'labels must be 4 whole'),
    'unequal classes': (dict(labels=torch.tensor([0, 0, 0, 1])), r'labels: each class .* got \[3, 1\]'),
    'flat std': (dict(std=ZEROS), 'std must be positive'),
    'two means': (dict(mean=ZEROS[:2]), 'mean must have 3 numbers'),
    'a number': (dict(std=1.), 'std must be a float tensor'),
    'an augmentation': (dict(augment='nonsense'), "augment: 'nonsense' is none of"),
    'no augmentation': (dict(augment=None), 'augment must be a string'),
    'a list of options': (dict(config=[1]), 'config must be a dict'),
    'lr': (dict(lr=float('nan')), 'lr must be a positive number'),
    'no lr': (dict(lr=True), 'lr must be a positive number'),
    'factor': (dict(factor=3), 'factor must be a positive number that divides'),
    'a text': (dict(factor='2'), 'factor must be a positive number that divides')}

@pytest.mark.parametrize('what', NO_SET)
def test_what_is_no_set_is_refused(what, tmp_path):
    "when it is made, and in a file"
    changed, message = NO_SET[what]
    parts = dict(images=X, labels=Y, mean=ZEROS, std=ONES, augment='', config={}, lr=None, factor=1) | changed
    with pytest.raises(ValueError, match=message): Distilled(**parts)
    tensors = {name: v for name, v in parts.items() if isinstance(v, torch.Tensor) and v.device.type == 'cpu'}
    if len(tensors) < 4 or 'sparse' in what: return
    file = tmp_path/'syn.safetensors'
    save_tensors(file, tensors, {name: v for name, v in parts.items() if name not in tensors})
    with pytest.raises(ValueError, match=f'syn.safetensors holds no synthetic set: {message}'): load(file)

def test_what_can_be_put_right_is(tmp_path):
    "Order, types and shared memory; the file then holds what the record does, and exports are complete"
    config = dict(a=np.float32(.5), b=np.arange(2), c=torch.ones(1), d=(1, 2), e={3: np.bool_(True)}, f=len)
    parts = X.double().requires_grad_(), np.array([0, 1, 0, 1], dtype='>i4'), ONES, ONES
    syn = Distilled(*parts, config=config, lr=torch.tensor(.5), factor=np.int64(2))
    assert syn.labels.equal(Y) and syn.images.equal(X[[0, 2, 1, 3]]) and (syn.lr, syn.factor) == (.5, 2)
    assert syn.config == dict(a=.5, b=[0, 1], c=[1.], d=[1, 2], e={'3': True}, f=repr(len))
    save(syn, tmp_path/'syn.safetensors')
    again = load(tmp_path/'syn.safetensors')
    assert again.images.equal(syn.images) and again.config == syn.config
    assert export(syn, tmp_path/'files').startswith('16 images') and len(list(tmp_path.rglob('*.png'))) == 16

META = json.dumps(dict(augment='', config={}, lr=None, factor=1))
HEADERS = {
    'shape': dict(images=dict(dtype='F32', shape=[10**13, 28, 28], data_offsets=[0, 4])),
    'negative': dict(images=dict(dtype='F32', shape=[-1], data_offsets=[0, 4])),
    'overflow': dict(images=dict(dtype='F32', shape=[2**62, 2**62], data_offsets=[0, 4])),
    'beyond the file': dict(images=dict(dtype='F32', shape=[10**12], data_offsets=[0, 4*10**12])),
    'type': dict(images=dict(dtype='PICKLE', shape=[1], data_offsets=[0, 4])),
    'number': dict(__metadata__=dict(dd_debias=3)), 'list': dict(__metadata__=dict(dd_debias='[1]')),
    'torn': dict(__metadata__=dict(dd_debias='{')), 'deep': dict(__metadata__=dict(dd_debias='['*10**5)),
    'digits': dict(__metadata__=dict(dd_debias='{"lr":'+'9'*10**4+'}')), 'none': {}}

@pytest.mark.parametrize('what', [*HEADERS, 'length', 'pickle'])
def test_hostile_files(what, tmp_path):
    "One sentence that names the file; nothing is executed, and no memory is taken"
    header = json.dumps(dict(__metadata__=dict(dd_debias=META)) | HEADERS.get(what, {})).encode()
    if what == 'none': header = b'{}'
    size = 2**62 if what == 'length' else len(header)
    content = struct.pack('<Q', size)+header+b'0000'*('data_offsets' in header.decode())
    if what == 'pickle': content = b'\x80\x04cos\nsystem\n(S"false"\ntR.'
    (tmp_path/'a.safetensors').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.safetensors is damaged or was not written by dd_debias'):
        load_tensors(tmp_path/'a.safetensors')

def test_unknown_metadata_is_not_taken(tmp_path):
    tensors = dict(images=X, labels=Y, mean=ZEROS, std=ONES)
    save_tensors(tmp_path/'a.safetensors', tensors, dict(json.loads(META), images=3, evil='os.system'))
    assert load(tmp_path/'a.safetensors').images.equal(X)

def test_temporary_files_of_the_dead_are_removed(tmp_path):
    "and those that are a day old; not those of a process that is at work, nor other files"
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    with atomic_write(tmp_path/'a.bin') as f: at_work = f.name.replace('.a-', '.b-')
    dead = at_work.replace(f'-{os.getpid()}-', f'-{ended.pid}-')
    _, machine, *rest = at_work.split('-')
    elsewhere, old = (at_work.replace(machine, other) for other in ('0'*8, '1'*8))
    for name in (at_work, dead, elsewhere, old, '.mine-abcdefgh.bin'): (tmp_path/name).touch()
    os.utime(tmp_path/old, (time.time()-25*3600,)*2)
    with atomic_write(tmp_path/'a.bin') as f: f.write_bytes(b'1')
    assert left(tmp_path) == sorted([at_work, elsewhere, '.mine-abcdefgh.bin', 'a.bin'])

def save_as_authors(folder, syn):
    "What main_DC.py and main_DM.py save, and distill.py of MTT"
    images = standardize(syn.images, (syn.mean, syn.std))
    accuracies = {'ConvNet': [np.float64(.5), np.float32(.5), .5]}
    torch.save(dict(data=[[images+1, syn.labels], [images, syn.labels]], accs_all_exps=accuracies), folder/'res.pt')
    torch.save(images, folder/'images_best.pt')
    torch.save(syn.labels, folder/'labels_best.pt')

def test_sets_of_the_authors_are_read(tmp_path):
    syn = distill_random(*color_digits().xy, ipc=2)
    save_as_authors(tmp_path, syn)
    stats = dict(mean=syn.mean.tolist(), std=syn.std.tolist())
    of_dm = load_pt(tmp_path/'res.pt', experiment=1, **stats)
    of_mtt = load_pt(tmp_path/'images_best.pt', tmp_path/'labels_best.pt', **stats)
    for read in (of_dm, of_mtt):
        assert torch.allclose(read.images, syn.images, atol=1e-5) and read.labels.equal(syn.labels)
    assert not torch.allclose(load_pt(tmp_path/'res.pt', **stats).images, syn.images, atol=1e-2)
    for wrong, says in [(dict(experiment=2), 'holds 2, got 2'), (dict(mean=[0.]), 'a number for each channel')]:
        with pytest.raises(ValueError, match=says): load_pt(tmp_path/'res.pt', **(stats | wrong))
    with pytest.raises(ValueError, match='for MTT give labels too'): load_pt(tmp_path/'images_best.pt', **stats)

class Intruder:
    def __reduce__(self): return exec, ("import pathlib; pathlib.Path('ran').touch()",)

def test_a_file_that_could_run_code_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(data=[Intruder()]), 'evil.pt')
    (tmp_path/'text.pt').write_text('no such file')
    for name, says in [('evil.pt', 'could run code; it was not read'), ('text.pt', 'text.pt')]:
        with pytest.raises(ValueError, match=says): load_pt(name, mean=[0]*3, std=[1]*3)
    assert not (tmp_path/'ran').exists()
    with pytest.raises(FileNotFoundError): load_pt('nowhere.pt', mean=[0]*3, std=[1]*3)

def test_soft_labels_stay_with_their_images(tmp_path):
    "sorted, moved and saved with them, and refused where they are no probabilities"
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([1, 0, 1, 0])
    soft = torch.tensor([[.1, .9], [.8, .2], [.3, .7], [1., 0.]])
    stats = dict(mean=torch.zeros(1), std=torch.ones(1))
    syn = Distilled(images, labels, **stats, soft_labels=soft)
    assert syn.soft_labels.equal(soft[[1, 3, 0, 2]]) and syn.images.equal(images[[1, 3, 0, 2]])
    save(syn.to('cpu'), tmp_path/'syn.safetensors')
    assert load(tmp_path/'syn.safetensors').soft_labels.equal(syn.soft_labels)
    assert load_tensors(export(syn, tmp_path/'out') and tmp_path/'out/tensors.safetensors')[0].keys() > {'soft_labels'}
    for wrong in (soft[:3], soft*2, -soft, soft[:, :1]):
        with pytest.raises(ValueError, match='soft_labels must be'):
            Distilled(images, labels, **stats, soft_labels=wrong)

def test_soft_labels_of_one_and_zero_are_hard_labels():
    "and others change what is learnt"
    train = partial(train_classifier, net=partial(ConvNet, width=8), epochs=3, batch=32)
    one_hot = torch.nn.functional.one_hot(few.labels).float()
    given = (None, one_hot, torch.full_like(one_hot, .1))
    hard, soft, flat = (train(*few.xy, soft_labels=s)(few.images) for s in given)
    assert torch.allclose(hard, soft, atol=1e-4) and not torch.allclose(hard, flat, atol=1e-2)
    stacked = train(*few.xy, seeds=(0, 1), soft_labels=one_hot)[0](few.images)
    assert torch.allclose(stacked, soft, atol=1e-3)

def test_files_for_the_authors_code(tmp_path):
    "are read without running code, and hold what training sees"
    syn = distill_random(*few.xy, ipc=2, repeat=True)
    save_pt(syn, tmp_path/'res.pt')
    images, labels = torch.load(tmp_path/'res.pt', weights_only=True)['data'][-1]
    assert images.equal(standardize(syn.images, (syn.mean, syn.std))) and labels.equal(syn.labels)
    save_pt(syn, tmp_path/'images_best.pt', tmp_path/'labels_best.pt')
    assert torch.load(tmp_path/'images_best.pt', weights_only=True).equal(images)
    with pytest.raises(OSError): save_pt(syn, tmp_path/'res.pt'/'below.pt')

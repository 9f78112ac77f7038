"What goes wrong, and what is left when it does"
import importlib, json, os, resource, signal, subprocess, sys, time, types
from functools import partial
from pathlib import Path
import numpy as np, pytest, torch
from dd_debias.bias import assign_bias, cmnist, color_digits
from dd_debias.cli import main
from dd_debias.config import CHANGED, to_config
from dd_debias.coresets import distill_random
from dd_debias.dataset import BiasedDataset
from dd_debias.distilled import export, load, save
from dd_debias.dm import distill_dm
from dd_debias.dsa import distill_dsa
from dd_debias.encoder import train_encoder
from dd_debias.evaluate import confidence_interval, evaluate
from dd_debias.groupdro import train_groupdro
from dd_debias.groups import cluster_weights, group_weights, weigh_groups
from dd_debias.image_folder import load_images
from dd_debias.kde import kde_density, kde_weights
from dd_debias.mtt import distill_mtt, expert_trajectories
from dd_debias.nets import ConvNet, MLP
from dd_debias.paper import SETS
from dd_debias.records import read_records, run_config, run_name, table
from dd_debias.run import run, run_lock, sweep
from dd_debias.runtime import atomic_write, Checkpoint
from dd_debias.sources import mnist
from dd_debias.train import train_classifier

COMMAND = 'run color_digits --ipc 2 --steps 60 --distill.batch 8 --epochs 20 --networks 2 --seed 3 --device cpu'.split()

def left(folder): return sorted(p.name for p in Path(folder).rglob('*') if p.is_file())

def start(out):
    env = {**os.environ, 'OMP_NUM_THREADS': '1'} # one number of threads, so that sums are added up in one order
    return subprocess.Popen([sys.executable, '-c', 'import sys; from dd_debias.cli import main; sys.exit(main())', *COMMAND, '--out', str(out)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed')
    assert start(out).wait() == 0
    return out

@pytest.mark.parametrize('seen', ['config.json', 'checkpoint.safetensors', 'distilled.safetensors'])
def test_killed_and_started_again(undisturbed, tmp_path, seen):
    "SIGKILL as soon as a file is there; the same command then ends with the same bits"
    process = start(tmp_path)
    while not list(tmp_path.glob(f'*/{seen}')) and process.poll() is None: time.sleep(.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not list(tmp_path.glob('*/record.json'))
    assert start(tmp_path).wait() == 0
    a, b = (load(next(Path(d).glob('*/distilled.safetensors'))) for d in (undisturbed, tmp_path))
    assert a.images.equal(b.images) and a.mean.equal(b.mean)
    a, b = (json.loads(next(Path(d).glob('*.jsonl')).read_text()) for d in (undisturbed, tmp_path))
    assert a['accuracy'] == b['accuracy'] and a['name'] == b['name']
    assert 'checkpoint.safetensors' not in left(tmp_path)

def of_digits(out, **how):
    "A small run, and its folder"
    narrow = partial(ConvNet, width=8)
    parts = color_digits, partial(distill_dm, ipc=2, steps=60, batch=8, net=narrow), None, partial(evaluate, networks=1, train=partial(train_classifier, net=narrow, epochs=5))
    return partial(run, *parts, out=out, **how), Path(out)/run_name(run_config(*parts, 0))

def test_a_sweep_out_of_time_goes_on(tmp_path):
    one, folder = of_digits(tmp_path)
    whole = of_digits(tmp_path/'whole')[0]()
    for i in range(20):
        if sweep([one], budget=.1*1.5**i): break
    else: pytest.fail('it never ended')
    again, whole = (load(f/'distilled.safetensors') for f in (folder, tmp_path/'whole'/whole['name']))
    assert again.images.equal(whole.images) and len(read_records(tmp_path)) == 1

def test_two_sweeps_share_the_work(tmp_path):
    one, folder = of_digits(tmp_path)
    with run_lock(folder):
        with pytest.raises(BlockingIOError, match='another process; wait'): one()
        assert sweep([one]) == []
    assert not folder.exists() # nothing came of it
    assert len(sweep([one])) == 1

def test_a_sweep_from_the_shell(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SETS, 'CMNIST', color_digits)
    command = f'sweep --part table3 --set color_digits --method Random --conflict .05 --ipc 1 --device cpu --out {tmp_path}'.split()
    for n in (1, 0):
        assert main(command) == 0 and f'{n} new runs' in capsys.readouterr().out
    assert main([token.replace('cpu', 'nowhere') for token in command]) == 2 and 'nowhere cannot be used' in capsys.readouterr().err
    assert main([*command, '--budget', 'soon']) == 2
    assert 'write seconds, or 90s' in capsys.readouterr().err

def test_classes_shared_out_are_the_same_run(tmp_path):
    alone, shared = of_digits(tmp_path/'a')[0](), of_digits(tmp_path/'b', device='cpu,cpu')[0]()
    assert alone['name'] == shared['name'] and alone['accuracy'] == shared['accuracy']

def test_resume_at_every_step():
    train = color_digits()[:200]
    tiny = partial(distill_dm, *train.xy, ipc=1, steps=5, batch=4, net=partial(ConvNet, width=8))
    states = []
    whole = tiny(on_step=lambda step, steps, state: states.append(dict(images=state['images'].clone(), velocity=state['velocity'].clone(), step=step)))
    for state in states: assert tiny(resume_from=state).images.equal(whole.images)

few = color_digits()[:100]
features = torch.nn.functional.normalize(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), dim=1)

def with_batch_norm(channels, classes, size): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(channels*size*size), torch.nn.Linear(channels*size*size, classes))

WRONG = {
    'lengths': (lambda: distill_dm(few.images, few.labels[:50]), 'images and labels must have the same length'),
    'no images': (lambda: distill_dm(few.images[:0], few.labels[:0]), 'labels must be a non-empty'),
    'flat images': (lambda: train_classifier(few.images.flatten(1), few.labels), 'images must be a tensor of shape'),
    'empty class': (lambda: train_encoder(few.images, few.labels*2), 'no sample of class 1'),
    'float labels': (lambda: kde_weights(features, few.labels.float()), 'labels must be'),
    'NaN images': (lambda: train_encoder(few.images/0., few.labels), 'images hold NaN'),
    'NaN features': (lambda: kde_weights(features*float('inf'), few.labels), 'features hold NaN or infinite'),
    'NaN clusters': (lambda: cluster_weights(features*float('nan'), few.labels), 'NaN'),
    'variance': (lambda: kde_weights(features, few.labels, variance=-1.), 'variance must be positive'),
    'temperature': (lambda: kde_weights(features, few.labels, temperature=0.), 'temperature must be positive'),
    'normalizer': (lambda: kde_weights(features, few.labels, normalizer='max'), "normalizer must be 'inverse'"),
    'conflict': (lambda: color_digits(conflict=-.1), r'conflict must be a share in \[0,1\]'),
    'NaN conflict': (lambda: assign_bias(few.labels, float('nan')), r'conflict must be a share in \[0,1\]'),
    'ipc too large': (lambda: distill_dm(*few.xy, ipc=50), 'lower ipc'),
    'ipc zero': (lambda: distill_random(*few.xy, ipc=0), 'ipc must be a positive number'),
    'negative weights': (lambda: distill_dm(*few.xy, -torch.ones(100)), 'weights must be finite and non-negative'),
    'weights of zero': (lambda: distill_dm(*few.xy, torch.zeros(100)), 'every sample of class 0 has weight zero'),
    'weights too few': (lambda: distill_dm(*few.xy, torch.ones(99)), 'weights must be one number per sample'),
    'groups too few': (lambda: group_weights(few.labels, few.bias[:5]), 'groups must be one number per sample'),
    'image size': (lambda: distill_dm(few.images[..., :15, :15], few.labels, ipc=1), 'size must be a multiple of 8'),
    'sampling': (lambda: distill_dm(*few.xy, sampling='none'), "sampling must be"),
    'augment': (lambda: distill_dm(*few.xy, ipc=1, augment='colour'), "'colour' is none of"),
    'ipc of matching': (lambda: distill_dm(*few.xy, ipc=-1), 'ipc must be a positive number'),
    'ipc of gradients': (lambda: distill_dsa(*few.xy, ipc=0), 'ipc must be a positive number'),
    'ipc of trajectories': (lambda: distill_mtt(*few.xy, ipc=2.), 'ipc must be a positive number'),
    'sampling of gradients': (lambda: distill_dsa(*few.xy, sampling='none'), 'sampling must be'),
    'weights of trajectories': (lambda: distill_mtt(*few.xy, -torch.ones(100)), 'weights must be finite and non-negative'),
    'experts of another net': (lambda: distill_mtt(*few.xy, max_start_epoch=1, experts=lambda *a, net, **kw: short(*a, net=MLP, **kw), **small), 'train them with the same net'),
    'experts too short': (lambda: distill_mtt(*few.xy, max_start_epoch=2, experts=short, **small), '1 epochs are too few to go 1 ahead'),
    'expert_epochs': (lambda: distill_mtt(*few.xy, expert_epochs=0, experts=short, **small), 'expert_epochs must be at least 1'),
    'split': (lambda: color_digits(split='val'), 'split must be'),
    'severity': (lambda: color_digits(severity=9), 'severity must be 1 to 5'),
    'int32 labels': (lambda: train_classifier(few.images, few.labels.int()), r'labels.long\(\)'),
    'oblong images': (lambda: train_encoder(few.images[..., :8], few.labels), 'images must be square'),
    'meta device': (lambda: distill_dm(few.images.to('meta'), few.labels), 'images are on meta and labels on cpu'),
    'lambda': (lambda: to_config(lambda images: images), 'cannot be recorded; define it with def'),
    'sampling of a trainer': (lambda: train_classifier(*few.xy, sampling='none', net=MLP), "sampling must be 'importance' or 'weighted'"),
    'stack with buffers': (lambda: train_classifier(*few.xy, seeds=(0, 1), net=with_batch_norm), 'train with one seed at a time'),
    'bias too short': (lambda: train_groupdro(*few.xy, bias=few.bias[:5]), 'bias must be one number per sample'),
    'oracle without bias': (lambda: evaluate(distill_random(*few.xy, ipc=1), few, train=train_groupdro), 'train_groupdro needs a set whose bias is known'),
    'stacked': (lambda: evaluate(few, few, train=train_groupdro, stacked=True), 'stacked: train_groupdro trains one network at a time'),
    'no scores': (lambda: confidence_interval(), 'scores: give the result of evaluate'),
    'no such argument': (lambda: to_config(partial(distill_dm, ipcs=3)), "takes no argument 'ipcs'"),
}

@pytest.mark.parametrize('name', WRONG)
def test_bad_input_is_one_sentence(name):
    call, says = WRONG[name]
    with pytest.raises(ValueError, match=says) as e: call()
    assert '\n' not in str(e.value)

def test_degenerate_sets_work():
    "One sample in a class, nothing but duplicates"
    x, y = few.images[:3], torch.tensor([0, 0, 1])
    assert kde_weights(torch.eye(3), y).tolist() == [1, 1, 1] and kde_weights(torch.ones(3, 2), y).tolist() == [1, 1, 1]
    assert torch.isfinite(train_encoder(x, y, steps=3, batch=8)(x)).all()
    assert len(distill_dm(x, y, ipc=1, steps=2, batch=4, net=partial(ConvNet, width=8))) == 2

small = dict(ipc=1, net=partial(ConvNet, width=4))
short = partial(expert_trajectories, experts=1, epochs=1, steps=2, batch=8)
TOO_LONG = {
    'dm': (lambda **kw: distill_dm(*few.xy, ipc=1, steps=60, batch=4, lr=1e30, net=MLP, **kw), 'lower lr'),
    'dsa': (lambda **kw: distill_dsa(*few.xy, rounds=1, outer=9, inner=1, lr=1e38, batch=4, **small, **kw), 'lower lr .* or lr_net'),
    'mtt': (lambda **kw: distill_mtt(*few.xy, syn_lr=1e30, max_start_epoch=1, experts=short, **small, **kw), 'at step 1; lower lr .* lr_lr .* or syn_lr'),
    'mtt lr_lr': (lambda **kw: distill_mtt(*few.xy, lr=1., lr_lr=1e9, max_start_epoch=1, experts=short, **small, **kw), 'lower lr .* lr_lr'),
    'expert': (lambda **kw: distill_mtt(*few.xy, max_start_epoch=1, experts=partial(short, lr=1e30), **small, **kw), 'an expert is no longer finite after epoch 1; lower lr')}

@pytest.mark.parametrize('name', TOO_LONG)
def test_a_step_too_long_stops(name, tmp_path):
    "At once, with a sentence that says what to lower; a checkpoint keeps finite numbers only"
    call, says = TOO_LONG[name]
    checkpoint = Checkpoint(tmp_path/'state.safetensors', every=1)
    with pytest.raises(FloatingPointError, match=says): call(on_step=checkpoint)
    assert all(v.isfinite().all() for k, v in (checkpoint.state() or {}).items() if k != 'step')

def test_experts_are_found_again(tmp_path):
    "Killed after the second of three stacks, the third is trained alone"
    epochs = []
    train = partial(short, *few.xy, experts=3, net=partial(ConvNet, width=4), cache=tmp_path)
    def stop(epoch, *_):
        epochs.append(epoch)
        if epoch == 3: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train(on_step=stop)
    assert len(left(tmp_path)) == 2
    again = train(on_step=lambda epoch, *_: epochs.append(epoch))
    assert epochs == [1, 2, 3, 3] and all(a.equal(b) for a, b in zip(again, train(cache=None)))
    (tmp_path/left(tmp_path)[0]).write_bytes(b'?')
    with pytest.raises(ValueError, match='damaged'): train()

def test_damaged_npz(tmp_path):
    np.savez_compressed(tmp_path/'mnist.npz', train_images=np.zeros((60000, 28, 28), np.uint8), train_labels=np.zeros(60000, np.uint8))
    whole = (tmp_path/'mnist.npz').read_bytes()
    for damage in (whole[:len(whole)//2], whole[:100]+b'?'*50+whole[150:], b''):
        (tmp_path/'mnist.npz').write_bytes(damage)
        with pytest.raises(ValueError, match='damaged'): mnist(root=tmp_path)
    (tmp_path/'mnist.npz').write_bytes(whole)
    with pytest.raises(ValueError, match='damaged'): mnist('test', root=tmp_path) # it has no test images

def test_no_network(tmp_path, monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'): monkeypatch.setenv(name, 'http://127.0.0.1:9')
    with pytest.raises(OSError, match='connect to a network, or set root or DD_DEBIAS_DATA'): cmnist(root=tmp_path)
    assert not left(tmp_path)

def test_download(tmp_path, monkeypatch):
    "What torchvision brings is written once, as one file, and read from then on"
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

def test_damaged_safetensors(tmp_path):
    path = tmp_path/'syn.safetensors'
    save(distill_random(*few.xy, ipc=1), path)
    whole = path.read_bytes()
    for damage in (whole[:20], whole[:-1], b'', b'\0'*100):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match='is damaged or was not written by dd_debias'): load(path)
    with pytest.raises(FileNotFoundError): load(tmp_path/'nothing.safetensors')
    Checkpoint(path, every=1)(1, 2, dict(images=torch.zeros(1)))
    with pytest.raises(ValueError, match='not a synthetic set'): load(path)

def test_full_disk(tmp_path):
    "A file that cannot be written whole is not there at all"
    syn, soft = distill_random(*few.xy, ipc=4), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, soft[1]))
    try:
        with pytest.raises(OSError, match='free some space or choose another folder'): save(syn, tmp_path/'syn.safetensors')
        with pytest.raises(OSError, match='free some space'), atomic_write(tmp_path/'a.bin') as f: f.write_bytes(b'0'*5000)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert not left(tmp_path)

def test_folder_that_cannot_be_written(tmp_path, capsys):
    "Said before anything is computed, in one sentence and without a traceback"
    (tmp_path/'file').write_text('')
    begun = time.perf_counter()
    assert main([*COMMAND, '--out', str(tmp_path/'file')]) == 2
    assert time.perf_counter()-begun < 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'choose another folder' in said

def unlabelled_digits(split='train', *, seed=0): return BiasedDataset(*color_digits(split=split, seed=seed)[:200].xy)

def test_unknown_bias(tmp_path):
    "Everything but the judge's groups works; an oracle is refused before anything is computed"
    record = run(unlabelled_digits, partial(distill_random, ipc=1), evaluate=partial(evaluate, train=partial(train_classifier, epochs=1, net=MLP), networks=1), out=tmp_path)
    assert record['conflict_share'] is None and set(record['accuracy']) == {'all', *(f'class_{c}' for c in range(10))}
    with pytest.raises(ValueError, match='needs a set whose bias is known'): run(unlabelled_digits, weigh=weigh_groups, out=tmp_path/'no')
    assert not (tmp_path/'no').exists()

def test_an_oracle_among_trainers(tmp_path):
    "The judge gives it the bias of the set it trains on, and of nothing that is synthetic"
    evaluator = partial(evaluate, train=partial(train_groupdro, epochs=1, net=MLP), networks=1)
    record = run(color_digits, None, None, evaluator, out=tmp_path)
    assert record['name'].startswith('color_digits-c0.05-plain-full-s0-') and 'bias' not in record['evaluate']['train'] and len(record['accuracy']['deo_max']) == 1
    with pytest.raises(ValueError, match='needs a set whose bias is known'): run(color_digits, partial(distill_random, ipc=1), None, evaluator, out=tmp_path)

def test_other_runs_are_not_averaged(tmp_path):
    "Records of one cell that differ in more than the seed are not pooled"
    quick = partial(run, partial(color_digits, conflict=.05), weigh=None, out=tmp_path, evaluate=partial(evaluate, train=partial(train_classifier, epochs=1, net=MLP), networks=1))
    for augment in ('', 'crop'): quick(partial(distill_random, ipc=1, augment=augment))
    with pytest.raises(ValueError, match='differ in distill.augment'): table(read_records(tmp_path))
    assert len(table(read_records(tmp_path), index=['distill.augment'])) == 2

painted_with = [0]
def repainted(split='train', *, seed=0): return color_digits(split=split, seed=painted_with[0])[:200]
def stopped(data, test, *, seed, on_step): raise KeyboardInterrupt

@pytest.mark.parametrize('name', ['shard', 'resume_from', 'stacked', 'stats', 'split', 'devices', 'root', 'cache'])
def test_what_a_function_of_ones_own_is_given_is_recorded(name, tmp_path, monkeypatch):
    "whatever the name: these mean something else in the package"
    (tmp_path/'mine.py').write_text(f'def weigh_mine(images, labels, *, {name}=.5, seed): ...')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mine', raising=False)
    f = importlib.import_module('mine').weigh_mine
    assert to_config(partial(f, **{name: .1}))[name] == .1
    assert to_config(partial(f, **{name: .1})) != to_config(partial(f, **{name: .9}))

def test_what_is_fixed_is_recorded():
    "An argument that a run would give is part of a function in which a partial has fixed it; tensors cannot be recorded, so they are refused"
    assert to_config(partial(distill_dm, shard=(0, 2)))['shard'] == [0, 2] and 'shard' not in to_config(distill_dm)
    with pytest.raises(ValueError, match='stats: Tensor cannot be recorded'):
        to_config(partial(train_classifier, stats=(torch.zeros(3), torch.ones(3))))

@pytest.fixture
def release(monkeypatch):
    "release(options) puts a distiller with these options into the package, in place of the one it had"
    def put(options):
        module = types.ModuleType('dd_debias.trial')
        exec(f'from dd_debias.coresets import distill_random\n'
             f'def distill_trial(images, labels, weights=None, *, ipc=1, {options} seed=0):\n'
             f'    return distill_random(images, labels, weights, ipc=ipc, seed=seed)', vars(module))
        monkeypatch.setitem(sys.modules, 'dd_debias.trial', module)
        return module.distill_trial
    return put

def test_an_added_option_loses_no_record(release, tmp_path, monkeypatch):
    "and a default that changes makes another run of the old record"
    evaluator = partial(evaluate, train=partial(train_classifier, epochs=1, net=MLP), networks=1)
    def recorded(distill): return run(color_digits, distill, None, evaluator, out=tmp_path)['name']
    first = recorded(release(''))
    assert recorded(release('rate=1.,')) == first and len(read_records(tmp_path)) == 1
    chosen = recorded(partial(release('rate=1.,'), rate=2.))
    assert chosen != first and len(read_records(tmp_path)) == 2
    monkeypatch.setitem(CHANGED, 'dd_debias.trial.distill_trial', dict(rate=1.)) # the default changes, which is written down
    assert recorded(release('rate=2., warmup=0,')) == chosen
    assert recorded(partial(release('rate=2., warmup=0,'), warmup=5)) not in (first, chosen)

def test_changed_images_are_another_run(tmp_path, monkeypatch):
    "What was begun with other images is not gone on with"
    go = partial(run, repainted, partial(distill_random, ipc=1), None, stopped, out=tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): go()
    monkeypatch.setattr(f'{__name__}.painted_with', [1])
    with pytest.raises(ValueError, match='not those that the run in'): go()

def test_export_does_not_mix(tmp_path):
    "Folders sort as classes do, and an earlier export is not written into"
    images, labels = torch.randint(0, 255, (24, 3, 8, 8), dtype=torch.uint8), torch.arange(24)%12
    syn = distill_random(images, labels, ipc=2)
    export(syn, tmp_path)
    back = load_images(tmp_path/'images', size=8, cache=tmp_path/'cache')
    assert back.labels.equal(syn.labels) and back.classes[2] == '02'
    with pytest.raises(ValueError, match='is there already'): export(syn, tmp_path)

def test_features_far_from_the_origin():
    "Density stays right where float32 would lose it"
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))*.1+torch.tensor([1000., 0, 0, 0])*(torch.arange(50)%2*2-1)[:, None]
    d2 = (z[:, None].double()-z.double()).square().sum(-1)
    plain = torch.logsumexp(-d2/.2, 1)-np.log(50)-2*np.log(2*np.pi*.1)
    assert torch.allclose(kde_density(z, log=True), plain, atol=1e-3)

"""Many runs side by side: on a real cluster, two nodes of Ray on this machine, of which much is killed, and where no
storage is shared. What needs Ray is skipped where it is not installed"""
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

import pytest
from common import left

from dd_debias.bias import color_digits
from dd_debias.cluster import RayExecutor, _devices
from dd_debias.distilled import load
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate
from dd_debias.groups import weigh_groups
from dd_debias.nets import ConvNet
from dd_debias.parallel import distill_shared
from dd_debias.records import read_records
from dd_debias.run import SweepFailed, run, sweep
from dd_debias.train import train_classifier

NET = partial(ConvNet, width=8)

def eight_runs(out, **how):
    "Two ways to weigh, four seeds"
    distill = partial(distill_dm, **dict(ipc=2, steps=5, batch=8, net=NET) | how)
    evaluator = partial(evaluate, networks=1, train=partial(train_classifier, net=NET, epochs=5))
    return [partial(run, color_digits, distill, weigh, evaluator, seed=seed, out=out)
            for weigh in (None, weigh_groups) for seed in range(4)]

@pytest.fixture(scope='module')
def serial(tmp_path_factory):
    "The eight runs, one after the other in this process"
    out = tmp_path_factory.mktemp('serial')
    sweep(eight_runs(out))
    return out

def check_same(out, serial):
    "The same records, one line each, the same bits and the same files"
    a, b = (read_records(d).sort_values('name') for d in (out, serial))
    assert a.name.tolist() == b.name.tolist() and len(a) == 8
    assert a['accuracy.all'].tolist() == b['accuracy.all'].tolist()
    for name in a.name:
        assert load(out/name/'distilled.safetensors').images.equal(load(serial/name/'distilled.safetensors').images)
        assert [f for f in left(out/name) if f != '.lock'] == left(serial/name) # it stays after some kills
    assert not list(out.glob('.sweep-*'))

# ---- without Ray

class Elsewhere(Executor):
    "Makes each call here, but as a machine that does not see the folder of the results"
    def __init__(self): self.put = []

    def share(self, value):
        self.put.append(value)
        return value

    def submit(self, f, one, sets, end, mark):
        future = Future()
        mark.unlink()
        future.set_result(f(one, sets, end, mark))
        mark.touch()
        return future

def test_without_shared_storage_the_files_are_sent(tmp_path, serial):
    executor, told = Elsewhere(), []
    sweep(eight_runs(tmp_path/'out'), executor=executor, on_record=told.append)
    check_same(tmp_path/'out', serial)
    assert len(told) == 8
    assert len(executor.put) == 4 # one for each seed
    assert len(sweep(eight_runs(tmp_path/'out'), executor=executor)) == 8 and len(executor.put) == 4

def no_images(split, *, seed=0): raise FileNotFoundError('no images')

def test_failures_of_a_sweep_side_by_side(tmp_path, capsys):
    "A run that cannot be made, images that cannot, and a process that died: a sentence each, the others are recorded"
    class Dies(Elsewhere):
        def submit(self, f, one, *others):
            if one.keywords['seed'] != 3: return super().submit(f, one, *others)
            future = Future()
            future.set_exception(RuntimeError('the worker died'))
            return future

    runs = eight_runs(tmp_path)[:4]
    runs += [partial(runs[0], distill=None), partial(run, no_images, *runs[0].args[1:], out=tmp_path, seed=0)]
    runs[4] = partial(run, color_digits, partial(distill_dm, ipc=1000), *runs[0].args[2:], out=tmp_path, seed=0)
    with pytest.raises(SweepFailed, match='3 of 6'): sweep(runs, executor=Dies())
    said = capsys.readouterr().err
    assert 'the worker died' in said and 'no images' in said and '1000 images per class' in said
    assert len(read_records(tmp_path)) == 3
    assert sweep(eight_runs(tmp_path/'b'), executor=Elsewhere(), budget=0) == []

def test_a_cluster_that_is_not_there():
    pytest.importorskip('ray')
    with pytest.raises(ValueError, match='no Ray answers at 127.0.0.1:1; start it there'): RayExecutor('127.0.0.1:1')

def test_ray_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ValueError, match='it needs Ray; pip install ray'): RayExecutor()

def test_shares_of_a_gpu_are_all_used():
    nodes = [dict(Alive=True, Resources=dict(CPU=100., GPU=1.))]
    for share, slots in ((.05, 20), (.1, 10), (.2, 5), (.3, 3), (1, 1)):
        assert _devices(nodes, CPU=1, GPU=share) == ('cuda',)*slots

# ---- on a cluster

@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    "Two nodes with a processor each"
    pytest.importorskip('ray')
    if not Path('/proc/self/task').exists(): pytest.skip('asks Linux for the processes')
    from ray.cluster_utils import Cluster
    slow = tmp_path_factory.mktemp('not imported') # takes seconds in each process of Ray, which wait only so long
    (slow/'rfc3987_syntax.py').write_text('raise ImportError')
    with pytest.MonkeyPatch.context() as env:
        env.setenv('PYTHONPATH', os.pathsep.join([str(slow), *filter(None, [os.environ.get('PYTHONPATH')])]))
        env.setenv('RAY_USAGE_STATS_ENABLED', '0')
        cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
        cluster.second = cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()

def test_classes_are_shared_and_budget_holds(cluster, tmp_path):
    train = color_digits()
    distill = partial(distill_dm, steps=3, batch=8, net=NET)
    with RayExecutor(cluster.address) as executor:
        assert executor.devices == ('cpu', 'cpu')
        shared = distill_shared(*train.xy, ipc=2, distill=distill, executor=executor)
        assert shared.images.equal(distill(*train.xy, ipc=2).images)
        start = time.monotonic()
        assert sweep(eight_runs(tmp_path, steps=10**6, compiled=False), executor=executor, budget=5) == []
        assert time.monotonic()-start < 20
    with pytest.raises(ValueError, match='no machine of it has 2 CPUs'): RayExecutor(cluster.address, cpus_per_task=2)

DRIVER = '''
import sys
from dd_debias.cluster import RayExecutor
from dd_debias.run import sweep
from test_cluster import eight_runs
with RayExecutor(sys.argv[1]) as executor: sweep(eight_runs(sys.argv[2], steps=int(sys.argv[3])), executor=executor)
'''

def wait_until(happens, driver):
    while not (found := happens()):
        assert driver.poll() is None, driver.communicate()
        time.sleep(.02)
    return found

def busy_workers(raylet): # process numbers of those of its children that are at a run
    children = {pid for tasks in Path(f'/proc/{raylet}/task').glob('*/children') for pid in tasks.read_text().split()}
    return [int(pid) for pid in children if b'ray::_call' in Path(f'/proc/{pid}/cmdline').read_bytes()]

def test_eight_records_after_all_the_killing(cluster, tmp_path):
    "A process, then the sweep itself, then a node: what was recorded is not made again, and all is as if undisturbed"
    serial, out = tmp_path/'serial', tmp_path/'out'
    sweep(eight_runs(serial, steps=100))
    def start(): return subprocess.Popen([sys.executable, '-c', DRIVER, cluster.address, str(out), '100'],
                                         cwd=Path(__file__).parent, stderr=subprocess.PIPE)
    def records(): return len(list(out.glob('*/record.json')))

    driver = start()
    wait_until(lambda: list(out.glob('*/checkpoint.safetensors')), driver)
    raylet = cluster.head_node.all_processes['raylet'][0].process.pid
    busy = wait_until(lambda: busy_workers(raylet), driver) # the checkpoint may be of the other node
    os.kill(busy[0], signal.SIGKILL)
    wait_until(lambda: records() >= 2, driver)
    driver.kill()
    driver.communicate()
    before = {f: f.read_text() for f in out.glob('*/record.json')}
    driver = start()
    wait_until(lambda: records() > len(before), driver)
    cluster.remove_node(cluster.second, allow_graceful=False)
    assert driver.wait() == 0, driver.communicate()
    for mark in out.glob('.sweep-*'): mark.unlink() # of the sweep that was killed
    assert all(f.read_text() == text for f, text in before.items())
    check_same(out, serial)

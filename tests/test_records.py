"The identity of a run, and what its record says"
import importlib
import json
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from common import ROOT

from dd_debias.bias import color_digits
from dd_debias.config import CHANGED, complete, config_code, to_config
from dd_debias.coresets import distill_random
from dd_debias.dataset import BiasedDataset
from dd_debias.dm import distill_dm
from dd_debias.evaluate import evaluate, evaluate_across
from dd_debias.groupdro import train_groupdro
from dd_debias.groups import weigh_groups
from dd_debias.image_folder import load_images
from dd_debias.nets import MLP
from dd_debias.paper import cell_records, cells, compare_to_paper, load_cell
from dd_debias.records import append_line, read_json, read_records, recorded, table, upgrade
from dd_debias.run import run
from dd_debias.train import train_classifier


@pytest.mark.parametrize('name', ['shard', 'resume_from', 'stacked', 'stats', 'split', 'devices', 'root', 'cache'])
def test_arguments_of_user_functions_are_recorded(name, tmp_path, monkeypatch):
    "even those whose name means something else in the package"
    (tmp_path/f'weigh_{name}.py').write_text(f'def weigh_mine(images, labels, *, {name}=.5, seed): ...')
    monkeypatch.syspath_prepend(tmp_path)
    f = importlib.import_module(f'weigh_{name}').weigh_mine
    assert to_config(partial(f, **{name: .1}))[name] == .1
    assert to_config(partial(f, **{name: .1})) != to_config(partial(f, **{name: .9}))

def test_arguments_fixed_by_partial_are_recorded():
    """An argument that a run would set itself is recorded where a partial fixes it; tensors cannot be recorded and are
    refused"""
    assert to_config(partial(distill_dm, shard=(0, 2)))['shard'] == [0, 2]
    assert 'shard' not in to_config(distill_dm)
    with pytest.raises(ValueError, match='stats: Tensor cannot be recorded'):
        to_config(partial(train_classifier, stats=(torch.zeros(3), torch.ones(3))))

def test_what_a_name_alone_does_not_tell_is_refused_or_recorded(tmp_path, monkeypatch):
    "a method without its object is refused; a module of one's own may be called torch-something"
    (tmp_path/'torch_tools.py').write_text('class Weigher:\n    def weigh(self): ...\ndef weigh_mine(*, seed): ...')
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module('torch_tools')
    with pytest.raises(ValueError, match='^Weigher.weigh cannot be recorded; define it with def'):
        to_config(module.Weigher().weigh)
    assert 'source_hash' in to_config(module.weigh_mine) and 'source_hash' not in to_config(torch.nn.Linear)

def test_one_is_one():
    "whichever type the number is of"
    configs = [to_config(partial(color_digits, min_strength=one)) for one in (1, 1., np.float64(1))]
    assert all(complete(config) == configs[1] for config in configs)
    assert len({json.dumps(complete(config)) for config in configs}) == 1
    assert type(configs[2]['min_strength']) is float

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

def test_old_records_survive_a_new_option(release, tmp_path, monkeypatch):
    "and after a default has changed, the old default is another run"
    def recorded(distill): return run(color_digits, distill, None, quick_evaluate, out=tmp_path)['name']
    first = recorded(release(''))
    assert recorded(release('rate=1.,')) == first and len(read_records(tmp_path)) == 1
    chosen = recorded(partial(release('rate=1.,'), rate=2.))
    assert chosen != first and len(read_records(tmp_path)) == 2
    # the default changes, and CHANGED says what it was
    monkeypatch.setitem(CHANGED, 'dd_debias.trial.distill_trial', dict(rate=1.))
    assert recorded(release('rate=2., warmup=0,')) == chosen
    assert recorded(partial(release('rate=2., warmup=0,'), warmup=5)) not in (first, chosen)

quick_evaluate = partial(evaluate, train=partial(train_classifier, epochs=1, net=MLP), networks=1)

def test_different_runs_are_not_averaged(tmp_path):
    "Records of one cell that differ in more than the seed are not pooled"
    quick = partial(run, partial(color_digits, conflict=.05), weigh=None, out=tmp_path, evaluate=quick_evaluate)
    for augment in ('', 'crop'): quick(partial(distill_random, ipc=1, augment=augment))
    with pytest.raises(ValueError, match='differ in distill.augment'): table(read_records(tmp_path))
    assert len(table(read_records(tmp_path), index=['distill.augment'])) == 2

def test_arguments_that_are_lists_are_compared(tmp_path):
    nets = partial(evaluate_across, nets=[MLP], train=partial(train_classifier, epochs=1))
    for seed in np.arange(2): run(color_digits, partial(distill_random, ipc=1), None, nets, seed=seed, out=tmp_path)
    assert table(read_records(tmp_path)).size == 1

def test_a_chosen_precision_is_another_run(tmp_path):
    configs = [to_config(f) for f in (distill_dm, partial(distill_dm, bf16=False), partial(distill_dm, bf16=True))]
    assert 'bf16' not in configs[0] and [c['bf16'] for c in configs[1:]] == [False, True]

painted_with = [0]

def repainted(split='train', *, seed=0): return color_digits(split=split, seed=painted_with[0])[:200]

def from_source(split='train', *, source='a', seed=0): return repainted(split)

def test_an_argument_called_source_is_one(tmp_path):
    "beside the hash of one's own code, also of a record from before the hash had its own key; and it is printed"
    config = to_config(from_source)
    assert config['source'] == 'a' and len(config['source_hash']) == 8
    assert "source='b'" in config_code(to_config(partial(from_source, source='b')), {})
    assert "source='b'" in config_code(to_config(partial(load_images, source='b')), {})
    earlier = dict(function='mine.weigh', source='0123abcd')
    assert upgrade(dict(weigh=earlier))['weigh'] == dict(function='mine.weigh', source_hash='0123abcd')
    assert upgrade(dict(data=config))['data'] == config

def test_what_a_function_of_ones_own_makes_is_looked_at_again(tmp_path, monkeypatch):
    go = partial(run, repainted, partial(distill_random, ipc=1), None, quick_evaluate, out=tmp_path)
    assert go() == go()
    monkeypatch.setattr(f'{__name__}.painted_with', [1])
    with pytest.raises(ValueError, match='not those that the run in'): go()

def in_front_of(split='train', *, scene_source, seed=0): return repainted(split)

def test_changed_scenes_do_not_give_the_record(tmp_path, monkeypatch):
    (tmp_path/'scenes').mkdir()
    data = partial(in_front_of, scene_source=str(tmp_path/'scenes'))
    go = partial(run, data, partial(distill_random, ipc=1), None, quick_evaluate, out=tmp_path)
    assert go() == go()
    monkeypatch.setattr(f'{__name__}.painted_with', [1])
    with pytest.raises(ValueError, match='not those that the run in'): go()

def stopped(data, test, *, seed, on_step): raise KeyboardInterrupt

def test_changed_images_do_not_resume_a_run(tmp_path, monkeypatch):
    "An interrupted run is not continued with other images"
    go = partial(run, repainted, partial(distill_random, ipc=1), None, stopped, out=tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): go()
    monkeypatch.setattr(f'{__name__}.painted_with', [1])
    with pytest.raises(ValueError, match='not those that the run in'): go()

def unlabelled_digits(split='train', *, seed=0): return BiasedDataset(*color_digits(split=split, seed=seed)[:200].xy)

def test_run_on_a_set_of_unknown_bias(tmp_path):
    "All but group accuracies is computed; an oracle is refused before anything is computed"
    record = run(unlabelled_digits, partial(distill_random, ipc=1), evaluate=quick_evaluate, out=tmp_path)
    columns = {'all', 'common', 'rare', *(f'class_{c}' for c in range(10))}
    assert record['conflict_share'] is None and set(record['accuracy']) == columns
    with pytest.raises(ValueError, match='needs a set whose bias is known'):
        run(unlabelled_digits, weigh=weigh_groups, out=tmp_path/'no')
    assert not (tmp_path/'no').exists()

def test_trainer_that_is_an_oracle(tmp_path):
    "Evaluation gives it the bias of the real set it trains on; synthetic sets have none"
    evaluator = partial(evaluate, train=partial(train_groupdro, epochs=1, net=MLP), networks=1)
    record = run(color_digits, None, None, evaluator, out=tmp_path)
    assert record['name'].startswith('color_digits-c0.05-plain-full-s0-')
    assert 'bias' not in record['evaluate']['train'] and len(record['accuracy']['deo_max']) == 1
    with pytest.raises(ValueError, match='needs a set whose bias is known'):
        run(color_digits, partial(distill_random, ipc=1), None, evaluator, out=tmp_path)

NO_RECORD = ['{"a": 1', '\xff', '5', '[1]', 'null', '['*10**5, '{"accuracy": {}}']+[
    json.dumps(dict(accuracy=dict(all=[1]), data=data, weigh=None, distill=None, evaluate=None, seed=0))
    for data in (5, dict(function=1), dict(function=[1]), dict(function='dd_debias.artifacts.os'))]

@pytest.mark.parametrize('line', NO_RECORD, ids=range(len(NO_RECORD)))
def test_damaged_lines_are_left_out(line, tmp_path):
    "with a warning that names file and line; the lines around it are read, and the next record is not lost with it"
    good = (ROOT/'results/color_digits.jsonl').read_text().splitlines()
    file = tmp_path/'digits.jsonl'
    file.write_text(f'{good[0]}\n{line}')
    append_line(file, good[1])
    with pytest.warns(UserWarning, match=r'digits\.jsonl, line 2 is .* left out'): assert len(read_records(file)) == 2
    (tmp_path/'record.json').write_text(line)
    with pytest.raises(ValueError, match=r'record\.json is damaged'): read_json(tmp_path/'record.json')

def test_cells_that_are_not_recorded(tmp_path):
    "in a folder without any record"
    chosen = cells('part == "table1"')[:2]
    assert compare_to_paper(chosen, read_records(tmp_path)).seeds.tolist() == [0, 0]
    with pytest.raises(FileNotFoundError, match='has no record of this cell; run: dd-debias sweep'):
        load_cell(next(chosen.itertuples()), tmp_path)

def test_records_that_are_not_there(tmp_path):
    for name in ('no.jsonl', 'no'):
        with pytest.raises(FileNotFoundError, match=f'{name} does not exist; give'): read_records(tmp_path/name)
    with pytest.raises(OSError, match='cannot write .*; choose another'): append_line(tmp_path, '')

def test_every_recorded_run_of_the_paper_is_found_by_its_cell():
    records = read_records(recorded('paper'))
    assert set(cell_records(cells(), records).name) == set(records.name)

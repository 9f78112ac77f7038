# mypy: disable-error-code="valid-type, attr-defined"
"""The commands of `dd-debias`. Their options are the arguments of the package's functions, read off the signatures."""
import inspect
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial, wraps
from itertools import zip_longest
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pandas as pd
import torch
from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.validators import Number
from rich.console import Console

import dd_debias

from ._decoding import SPLITS, find_splits
from ._discover import find, functions, import_name
from .artifacts import run_folder
from .audit import audit
from .cluster import RayExecutor
from .config import PARTS, to_config
from .demo import demo
from .distilled import export, load
from .estimate import estimate
from .evaluate import evaluate
from .paper import METHODS, SETS, cell_command, cells, sweep_cells
from .recipes import apply_recipe
from .records import run_config, run_name
from .report import report
from .run import check_nets, default_arguments, error_sentence, peak_memory, run
from .runtime import accepted_kwargs, check_device, progress_bar
from .small_set import check_folder, make_small_set
from .watch import tensorboard_log, trackio_log
from .watch import watch as watch_hook

__all__ = ['main']

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'

# ---- options from signatures

def _comments(f:Callable)->dict[str, str]:
    "The comment beside each parameter in the source"
    signature = re.split(r'^\)', inspect.getsource(f), maxsplit=1, flags=re.M)[0]
    return dict(re.findall(r'^\s+(\w+)\s*[:=,].*?#\s*(.*)$', signature, re.M))

def _in_words(text:str)->str:
    "Python's words as they are typed on a command line: none, --repeat, --fit pad"
    text = re.sub(r'\bNone\b', 'none', text.replace('`', ''))
    text = re.sub(r'\b([a-z_]+)=True\b', r'--\1', text)
    return re.sub(r"\b([a-z_]+)='(\w+)'", r'--\1 \2', text)

def _named_set(tokens:Sequence[str])->str|None:
    "The word that names the set: one that follows no option, else one that is a set's name"
    sets = functions('data')
    def takes_value(token): return token.startswith('--') and '=' not in token and token not in SWITCHES
    words = [t for t, before in zip(tokens, ['', *tokens], strict=False) if not (t[0] == '-' or takes_value(before))]
    named = [t for t in words if t in sets or ':' in t] or words or [t for t in tokens if t in sets]
    return named[0] if named else None

SWITCHES = ('--dry-run', '--baseline', '--no-baseline')

def _shown(default:Any)->str:
    "A default as the help shows it: a function by its name, a partial with what it fixes"
    if default in ('', None): return 'none'
    if not callable(default): return str(default)
    fixed = [f'{name}={value}' for name, value in getattr(default, 'keywords', {}).items()]
    name = getattr(default, 'func', default).__name__
    return f"{name}({', '.join(fixed)})" if fixed else name

def _annotation(default:Any, annotation:Any)->tuple[Any, dict]|None:
    "The type of an option and how to read it; None for what cannot be written on a command line"
    if callable(default):
        home = getattr(default, 'func', default).__module__
        return Any, dict(converter=lambda kind, tokens: import_name(tokens[0].value, home))
    is_union = isinstance(annotation, UnionType) or get_origin(annotation) is Union # such as int|None
    kinds = get_args(annotation) if is_union else (annotation,)
    optional = NoneType in kinds
    for kind in (bool, int, float, str):
        if kind not in kinds: continue
        how = dict(converter=_whole_or_none if optional else _whole) if kind is int else {}
        if optional and kind in (str, float): how = dict(converter=partial(_or_none, kind))
        return (kind|None if optional else kind), how
    return None

def _to_whole(word:str)->int:
    "A whole number; cyclopts would round 1.5"
    if not re.fullmatch(r'[+-]?[0-9]{1,18}', word): raise ValueError(f'{word!r} is not a whole number.')
    return int(word)

def _whole(kind:Any, tokens:Sequence)->int: return _to_whole(tokens[0].value)

def _whole_or_none(kind:Any, tokens:Sequence)->int|None:
    return None if tokens[0].value == 'none' else _whole(kind, tokens)

def _or_none(read:Callable, kind:Any, tokens:Sequence)->Any:
    return None if tokens[0].value == 'none' else read(tokens[0].value)

def _or_empty(kind:Any, tokens:Sequence)->str: return '' if tokens[0].value == 'none' else tokens[0].value

def _wholes(kind:Any, tokens:Sequence)->list[int]: return [_to_whole(token.value) for token in tokens]

def _options(part:str, f:partial, count:Callable)->Iterator[inspect.Parameter]:
    """An option --part.name for each argument of `f` that a number, a word, a switch or a function's name can set,
    which is also called --name where no other part has one of that name"""
    doc = _in_words((f.func.__doc__ or '').partition('. Raises')[0])
    group = Group(f'{part}: {f.func.__name__}', help=doc)
    comments = _comments(f.func)
    for name, p in inspect.signature(f, eval_str=True).parameters.items():
        if p.default is p.empty or name in ('seed', 'split', 'train', 'learnt_lr'): continue
        read = _annotation(p.default, type(p.default) if p.annotation is p.empty else p.annotation)
        if read is None: continue
        kind, how = read
        flags = [f'--{part}.{name}'.replace('_', '-')]
        if count(name) == 1: flags.insert(0, f'--{name}'.replace('_', '-'))
        shown = False if p.default is None else _shown
        text = _in_words(comments.get(name, ''))
        if p.default == '' or "'' for none" in text:
            how = dict(converter=_or_empty)
            text = text.replace("'' for none", 'or none')
        option = Annotated[kind, Parameter(name=flags, group=group, help=text, show_default=shown, **how)]
        yield inspect.Parameter(f'{part}__{name}', p.KEYWORD_ONLY, default=p.default, annotation=option)

def _named(recipe:str, names:dict[str, str], optional:Collection[str]=())->dict[str, partial]:
    "The functions that are called so, with the recipe's arguments; without the optional parts that are called none"
    names = {part: name for part, name in names.items() if part not in optional or name != 'none'}
    return {part: apply_recipe(find(part, name), recipe) for part, name in names.items()}

def _given(parts:dict[str, partial], options:dict[str, Any])->dict[str, partial]:
    "The functions with the options of the command line, which are called part__name"
    for option, value in options.items():
        part, _, name = option.partition('__')
        parts[part] = partial(parts[part], **{name: value})
    return parts

def _with_options(command:Callable, tokens:list[str])->Callable:
    "A command with the options of the functions that the command line names"
    takes = inspect.signature(command).parameters
    names = {name: p.default for name, p in takes.items() if name in ('set', 'weigh', 'distill', 'train', 'recipe')}
    if 'set' in names and tokens:
        names['set'] = _named_set(tokens) or names['set']
    for token, following in zip_longest(tokens, tokens[1:], fillvalue=''): # --name value, or --name=value
        name, equals, value = token.removeprefix('--').partition('=')
        if token.startswith('--') and name in names: names[name] = value if equals else following
    recipe = names.pop('recipe')
    optional = ('weigh', 'distill') if 'distill' in names else ()
    parts = _named(recipe, dict(data=names.pop('set', 'load_images'), **names), optional)
    if 'train' in names: parts['evaluate'] = partial(evaluate)
    arguments = [name for f in parts.values() for name, p in inspect.signature(f).parameters.items()
                 if p.default is not p.empty]
    options = [option for part, f in parts.items() for option in _options(part, f, arguments.count)]
    without = {_distill: ['data__source'], _audit: ['data__test', 'data__held_out']} # given already; no test there
    options = [p for p in options if p.name not in without.get(command, [])]
    if command is _distill: options = [p.replace(default=None) if p.name == 'data__held_out' else p for p in options]
    own = [p for p in takes.values() if p.kind is not p.VAR_KEYWORD]
    extended = wraps(command)(partial(command))
    extended.__signature__ = inspect.Signature(own+options)
    return extended

# ---- the commands

def _use_threads(threads:int|None)->None:
    if threads: torch.set_num_threads(threads)

def _help(kind:Any, text:str, **how:Any)->Any: return Annotated[kind, Parameter(help=text, **how)]

def _choice(part:str, more:str='')->Any: return _help(str, f"{', '.join(functions(part))}{more}, or module:function")

Recipe = _help(Literal['default', 'quick', 'paper'], "the functions' own defaults, those for two cores, or the paper's")
Seed = _help(int, 'of every part', converter=_whole)
Device = _help(str, 'such as cuda:0; several, such as cuda:0,cuda:1, share the work')
Threads = _help(int|None, 'of the CPU; as many as there are cores unless given', validator=Number(gte=1),
                converter=_whole)
Out = _help(str, 'where the results go')

def _run(
    set:_choice('data')='cmnist',
    *,
    weigh:_choice('weigh', ', none')='kde',
    distill:_choice('distill', ', none (the whole set)')='dm',
    train:_choice('train')='classifier',
    recipe:Recipe='quick',
    seed:Seed=0,
    device:Device=DEVICE,
    threads:Threads=None,
    out:Out='results',
    baseline:_help(bool, 'where the bias is unknown, distil also without weights, to compare')=True,
    watch:_help(Literal['tensorboard', 'trackio']|None, 'log losses and images while it works')=None,
    dry_run:_help(bool, 'print every setting and, after a few steps of each phase, how long it will take; record '
                  'nothing', negative='')=False,
    accuracy_every:_help(int, 'with --watch: steps between two evaluations of the set as it is then; 0: none',
                         validator=Number(gte=0), converter=_whole)=0,
    **options:Any,
)->None:
    """Make a biased set, weigh it, distil it, evaluate the result.
    An interrupted run goes on when the same command is given again.

    Example: dd-debias run cmnist --conflict 0.05 --ipc 10 --distill dm --weigh kde"""
    _use_threads(threads)
    parts = _named(recipe, dict(data=set, weigh=weigh, distill=distill, train=train), optional=('weigh', 'distill'))
    parts = _given(parts | dict(evaluate=partial(evaluate)), options)
    evaluator = partial(parts['evaluate'], train=parts['train'])
    _check_paths(parts, out)
    if 'distill' not in parts and (weigh not in ('kde', 'none') or any(o.startswith('weigh__') for o in options)):
        raise ValueError('weigh: no distiller draws by these weights; give one, or --train reweighted --train.weigh')
    if accuracy_every and not watch: raise ValueError('accuracy_every: it is logged; add --watch tensorboard')

    def of_run(weigh): return parts['data'], parts.get('distill'), weigh, evaluator
    if dry_run:
        _print_dry_run(*of_run(parts.get('weigh')), seed=seed, device=device, out=out)
        if baseline and 'distill' in parts and 'weigh' in parts:
            print('If the bias of the set is unknown, as of images of your own, as much follows for a run without weights '
                  '(not with --no-baseline)')
        return

    def one(weigh):
        hook = _watch_run(watch, run_name(run_config(*of_run(weigh), seed)), out, accuracy_every, evaluator) if watch else None
        return run(*of_run(weigh), seed=seed, device=device, out=out, show_progress=True, on_step=hook)

    record = one(parts.get('weigh'))
    sets = {'': record}
    unknown = 'conflicting' not in record['accuracy']
    if unknown and baseline and record['distill'] and record['weigh']:
        sets = {'with weights': record, 'without': one(None)}
    _print_accuracy(sets)
    if unknown:
        of_a_folder = 'held_out' in record['data'] and not record['data'].get('test')
        print(f"\n{fill(UNKNOWN+HELD_OUT if of_a_folder else UNKNOWN, 100)}\n")
    if record['conflict_share'] is not None:
        print(f"{100*record['conflict_share']:.0f}% of the weight is on bias-conflicting images")
    for r in sets.values(): print(f"{sum(r['seconds'].values()):.0f} s; see {Path(out)/r['name']}")

def _as_call(config:Any)->str:
    "A function and its arguments, from `to_config`, as they are written in Python"
    if not isinstance(config, dict) or 'function' not in config: return repr(config)
    name = config['function'].rpartition('.')[2]
    return f"{name}({', '.join(f'{k}={_as_call(v)}' for k, v in config.items() if k != 'function')})"

def _print_dry_run(data:Callable, distill:Callable|None, weigh:Callable|None, evaluate:Callable, *, seed:int, device:str,
                   out:str)->None:
    config = run_config(data, distill, weigh, evaluate, seed)
    for part in PARTS:
        print(fill(_as_call(config[part]), 100, initial_indent=f'{part:10}', subsequent_indent=' '*10,
                   break_on_hyphens=False))
    folder = run_folder(out, config)
    state = 'is recorded in' if (folder/'record.json').exists() else 'was begun in' if folder.exists() else 'would be in'
    print(f"{'seed':10}{seed}\nThe run {state} {folder}\n")
    device = device.split(',')[0] # one is enough to time a step
    expected = estimate(data, distill, weigh, evaluate, seed=seed, device=device)
    shown = expected.rename(columns=dict(a_step='s a step', seconds='s in all')).round(2)
    print(shown.astype(object).fillna('').to_string())
    print(f'about {expected.seconds.sum()/60:.1f} min in all; the most memory that was used: {peak_memory(device)} MB')

def _watch_run(tracker:str, name:str, out:str, accuracy_every:int, evaluator:Callable)->Callable: # a hook
    log = tensorboard_log(Path(out)/'tensorboard'/name) if tracker == 'tensorboard' else trackio_log(name)
    one_network = partial(evaluator, networks=1)
    return watch_hook(log, evaluate=one_network, accuracy_every=accuracy_every)

UNKNOWN = ('The bias of this set is unknown. Rare images are the tenth of the test images of each class that is rarest in '
           'the features of an encoder. Those that go against a shortcut are among them where the encoder follows it; '
           'whether weights help against it, only images or labels without it can tell.')
HELD_OUT = (' The test images are held out of the training images and carry the same bias, so weights may lower the '
            'accuracy on all and on common ones. To know more, give images without the shortcut as --test FOLDER, or the '
            'bias as --bias FILE.')

def _check_outside(name:str, path:str|Path, options:dict[str, Any])->None: # options: of the set
    "Raises ValueError for a folder in which files would be taken for images of a class, or for those to test on"
    where = Path(path).resolve()
    for folder in filter(None, (options.get('source'), options.get('test'))):
        root = Path(folder).expanduser()
        usual = [root/part for names in SPLITS.values() for part in names]
        for classes in [*_parts_of(folder).values(), *usual] if _parts_of(folder) else [root]:
            if classes.resolve() in (where, *where.parents):
                raise ValueError(f'{name}: {path} lies in {classes}, whose folders are classes of images; '
                                 'choose one elsewhere')

def _check_paths(parts:dict[str, partial], out:str)->None:
    "Raises ValueError for what would else be found after all images have been read, or would be taken for images"
    options = parts['data'].keywords
    _check_outside('out', out, options)
    if options.get('cache'): _check_outside('cache', options['cache'], options)
    if 'held_out' in options and (options.get('test') or _parts_of(options.get('source'))):
        raise ValueError('--held-out: there are images to test on already; leave it out')
    size = default_arguments(parts['data']).get('size')
    if not isinstance(size, int): return
    evaluator = partial(parts['evaluate'], train=parts['train'])
    check_nets(parts.get('distill'), evaluator, torch.zeros(1, 3, size, size), 2)

def _print_accuracy(records:dict[str, dict])->None: # heading -> record
    scores = {heading: pd.DataFrame(record['accuracy']) for heading, record in records.items()}
    first = next(iter(scores.values()))
    by_class = first.columns.str.startswith('class_') # those that are in the test set
    classes = len(next(iter(records.values()))['classes']) or by_class.sum()
    deo = '; deo: the difference between the groups of a class' if 'deo_max' in first else ''
    print(f'accuracy in percent over {len(first)} networks; chance is {100/classes:.1f}{deo}')
    if len(scores) > 1: print(f"{'':12}", *(f'{heading:>14}' for heading in scores))
    for column in first.columns[~by_class]:
        spread = [f' ± {s[column].std(ddof=0):.1f}' if len(s) > 1 else '' for s in scores.values()]
        cells = [f'{s[column].mean():5.1f}{of_it}' for s, of_it in zip(scores.values(), spread, strict=True)]
        print(f"{column.replace('_', ' '):12}", *(f'{cell:>14}' if len(scores) > 1 else cell for cell in cells))

def _audit(
    set:_choice('data')='cmnist',
    *,
    weigh:_choice('weigh')='kde',
    recipe:Recipe='quick',
    seed:Seed=0,
    device:_help(str, 'such as cuda:0')=DEVICE,
    threads:Threads=None,
    out:_help(str, 'the page that is written')='audit.html',
    **options:Any,
)->None:
    """Weigh the images of a set, and show on one page which are heavy and which are light.

    Example: dd-debias audit color_digits --conflict 0.01 --out audit.html"""
    _use_threads(threads)
    check_device(device)
    if Path(out).is_dir(): raise ValueError(f'out: {out} is a folder; give the name of a file in it')
    parts = _given(_named(recipe, dict(data=set, weigh=weigh)), options)
    for f in parts.values(): to_config(f) # refuses bad arguments before there is work
    of_set = parts['data'].keywords
    if Path(out).resolve().parent != Path(of_set.get('source') or out).resolve(): # files beside the classes do no harm
        _check_outside('out', Path(out).parent, of_set)
    hooks = {name: progress_bar('weigh') for name in accepted_kwargs(parts['weigh'], 'on_step')}
    chosen = {name: seed for name in accepted_kwargs(parts['data'], 'seed')}
    if _parts_of(parts['data'].keywords.get('source')): chosen['split'] = 'train'
    data = parts['data'](**chosen).to(device)
    given = ''.join(f" --{option.replace('__', '.')} {shlex.quote(str(value))}" for option, value in options.items())
    title = f'dd-debias audit {set} --weigh {weigh}{given}'
    table, said = audit(data, partial(parts['weigh'], **hooks), seed=seed, out=out, title=title)
    print(table.round(2).to_string(na_rep=''))
    _print_sentences(said)
    print(f"\nThe page is {out}; beside it {Path(out).with_suffix('.weights.csv')} has the weight of each image, "
          f"{Path(out).with_suffix('.properties.csv')} what was measured of each class")

def _parts_of(source:str|None)->dict: # train, valid, test
    return find_splits(Path(source).expanduser()) if source else {}

def _print_sentences(said:Sequence[str])->None:
    for sentences in said:
        short = len(sentences) < 160 # of one class: below each other
        print(fill(sentences, 100, initial_indent='- ' if short else '\n', subsequent_indent='  ' if short else '',
                   break_on_hyphens=False))

def _distill(
    folder:_help(str, 'of images, with a subfolder for each class'),
    *,
    weigh:_choice('weigh')='kde',
    distill:_choice('distill')='dm',
    train:_choice('train')='classifier',
    recipe:Recipe='quick',
    seed:Seed=0,
    device:Device=DEVICE,
    threads:Threads=None,
    out:_help(str, 'folder that gets everything')='small',
    **options:Any,
)->None:
    """Make a small set from a folder of images: look at them, weigh, distil, and write a folder that others can use.
    It is evaluated on the images in --test FOLDER, or in a subfolder test/ beside train/, or on a share --held-out of
    each class. An interrupted command goes on when it is given again.

    Example: dd-debias distill path/to/folder --ipc 10 --size 64 --out small"""
    _use_threads(threads)
    for d in device.split(','): check_device(d)
    parts = _named(recipe, dict(data='load_images', weigh=weigh, distill=distill, train=train))
    parts = _given(parts | dict(evaluate=partial(evaluate)), options | dict(data__source=folder))
    for f in parts.values(): to_config(f) # refuses bad arguments before there is work
    check_folder(out)
    _check_paths(parts, out)
    read = partial(parts['data'], seed=seed)
    has_test = bool('data__held_out' in options or read.keywords.get('test') or _parts_of(folder))
    in_vain = [name for name in options if name.startswith(('evaluate__', 'train__'))]
    if not has_test and (in_vain or train != 'classifier'):
        option = in_vain[0].replace('__', '.').replace('_', '-') if in_vain else 'train'
        raise ValueError(f'--{option} is for an evaluation; add --test FOLDER, or --held-out .2')
    small = dict(test=read(split='test'), evaluate=partial(parts['evaluate'], train=parts['train'])) if has_test else {}
    images = read(split='train' if has_test else 'all')
    said = make_small_set(images, parts['distill'], parts['weigh'], out=out, seed=seed, device=device,
                          title=Path(folder).resolve().name, show_progress=True, **small)
    _print_sentences(said)
    print(f"\nThe set is in {out}; begin with {Path(out)/'README.md'}")

def _demo(
    *,
    seed:Seed=0,
    device:Device=DEVICE,
    threads:Threads=1, # enough for images so small, and does not wait for others where the machine is busy
    out:Out='results/demo',
)->None:
    "Distil coloured digits with and without weights, and draw the result: about a minute, no download"
    _use_threads(threads)
    print(demo(seed=seed, device=device, out=out).round(1))
    print(f"\nThe picture is {Path(out)/'demo.png'}")

def _duration(kind:type, tokens:list)->float: # seconds
    "Read 90, 90s, 9m or 1.5h"
    found = re.fullmatch(r'(\d+\.?\d*|\.\d+)([smh]?)', tokens[0].value)
    if not found: raise ValueError(f'{tokens[0].value!r} is not a time; write seconds, or 90s, 9m, 1.5h')
    return float(found[1])*dict(s=1, m=60, h=3600)[found[2] or 's']

CELLS = cells()

def _set_names()->dict[str, str]: return {f.__name__: name for name, f in SETS.items()}

def _values(column:str)->list: # of `cells`, as they are written on the command line
    known:dict[str, dict] = dict(dataset=_set_names(), method=METHODS)
    return [*known[column]] if column in known else sorted(CELLS[column].unique().tolist())

def _column(name:str, kind:Any=str, shown:str='')->Any:
    text = shown or ', '.join(map(str, _values(name)))
    how = dict(converter=_wholes) if kind is int else {}
    return _help(list[kind]|None, text, consume_multiple=True, negative='', **how)

def _sweep(
    *,
    part:_column('part')=None,
    set:_column('dataset')=None,
    method:_column('method')=None,
    conflict:_column('conflict', float)=None,
    ipc:_column('ipc', int, 'images per class: 1, 10, 50; 0 is the whole set')=None,
    recipe:Literal['quick', 'paper']='quick',
    seeds:_help(int, 'runs of each cell', validator=Number(gte=1), converter=_whole)=1,
    budget:_help(float, 'stop after so long, such as 9m', converter=_duration)=float('inf'),
    list:_help(bool, 'print the commands of the cells, and run nothing', negative='')=False,
    device:_help(str, 'such as cuda:0')=DEVICE,
    threads:Threads=None,
    cluster:_help(str|None, 'make the runs on a Ray cluster: local (this machine), auto (the one that this machine is '
                  'part of), or host:port')=None,
    cpus_per_task:_help(int, 'with --cluster: reserved for each run', validator=Number(gte=1), converter=_whole)=1,
    gpus_per_task:_help(float, 'with --cluster: reserved for each run; below 1, runs share a GPU',
                        validator=Number(gte=0))=0,
    out:Out='results/paper',
)->None:
    """Run cells of the paper's tables and figures, those with the fewest seeds first.
    What is recorded is not run again, what was interrupted goes on. Several sweeps may work in one folder.
    With --cluster several runs are made at a time, on all machines of a cluster.

    Example: dd-debias sweep --part table1 --set cmnist --seeds 3 --budget 1h"""
    titles = _set_names()
    chosen = CELLS
    for option, wanted in dict(part=part, set=set, method=method, conflict=conflict, ipc=ipc).items():
        column = 'dataset' if option == 'set' else option
        if wanted is None: continue
        if not wanted: raise ValueError(f'--{option} needs a value')
        for value in wanted:
            if value not in _values(column):
                raise ValueError(f"--{option} must be one of {', '.join(map(str, _values(column)))}, got {value}")
        chosen = chosen[chosen[column].isin([titles.get(value, value) for value in wanted])]
    if chosen.empty: raise ValueError('no cell has all of these; dd-debias sweep --list prints all there are')
    if list:
        elsewhere = '' if out == 'results/paper' else out
        commands = [cell_command(c, recipe=recipe, seeds=seeds, out=elsewhere) for c in chosen.itertuples()]
        print('\n'.join(dict.fromkeys(commands)))
        return
    if ',' in device:
        raise ValueError('device: a sweep works on one; for all of this machine give --cluster local --gpus-per-task 1')
    work = partial(sweep_cells, chosen, recipe=recipe, seeds=seeds, budget=budget, out=out, show_progress=True)
    if cluster:
        if threads: raise ValueError('threads: on a cluster a task has --cpus-per-task of them')
        tasks = RayExecutor(cluster, cpus_per_task=cpus_per_task, gpus_per_task=gpus_per_task)
        with tasks as executor: done = work(executor=executor, device=executor.devices[0])
    else:
        if (cpus_per_task, gpus_per_task) != (1, 0):
            raise ValueError('cpus_per_task and gpus_per_task are for a cluster; for this machine add --cluster local')
        _use_threads(threads)
        done = work(device=device)
    print(f'{len(done)} new runs; see {out}')

def _export(
    file:_help(str, 'a synthetic set, such as results/NAME/distilled.safetensors'),
    folder:_help(str, 'where to write'),
)->None:
    "Write a synthetic set as PNG files and as tensors"
    print(export(load(file), folder))

def _report(
    folder:_help(str, 'that runs were written to')='results',
    *,
    out:_help(str|None, 'folder for the pages; report/ in the other one unless given')=None,
)->None:
    "Write a page for each run, and one on which all of them can be sorted and laid side by side"
    print(f'The overview is {report(folder, out)}')

COMMANDS:dict[str, Callable] = dict(
    demo=_demo, audit=_audit, distill=_distill, run=_run, sweep=_sweep, report=_report, export=_export)

def _app(tokens:list[str])->App:
    width = min(120, max(80, get_terminal_size((100, 24)).columns))
    console = Console(width=width, highlight=False, markup=False, force_jupyter=False)
    app = App('dd-debias', version=dd_debias.__version__, console=console, result_action='return_value',
              suppress_keyboard_interrupt=False,
              help='Distil a biased image set into a few synthetic images that do not carry the bias.')
    for name, command in COMMANDS.items():
        if name in tokens[:1] and command in (_run, _audit, _distill): command = _with_options(command, tokens[1:])
        app.command(command, name=name)
    return app

def _fail(message:object, status:int=2)->int:
    print(f"dd-debias: {' '.join(str(message).split())}", file=sys.stderr)
    return status

def _status(call:Callable, command:str='')->int:
    "The exit status of a command, and a sentence on what went wrong"
    warnings.formatwarning = lambda message, *where, **more: f'{message}\n' # without a line of our source
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'): stream.reconfigure(errors='backslashreplace') # some cannot print ±
    try:
        call()
        print(end='', flush=True) # so that a full disk is noticed here
    except CycloptsError as e:
        text = str(e) if str(e).endswith(('.', '?')) else f'{e}.'
        folder = next((token for token in getattr(e, 'unused_tokens', None) or [] if os.path.isdir(token)), None)
        if folder: text = f'{folder} is a folder; write --source {shlex.quote(folder)}.'
        return _fail(f'{text} See dd-debias {command} --help')
    except KeyboardInterrupt: return _fail('stopped; what was begun goes on when the same command is given again', 130)
    except BaseException as e: # SystemExit too, of a module that is not ours
        if BrokenPipeError in (type(e), type(e.__context__)): return 141 # as of other commands before `head`
        if os.environ.get('DD_DEBIAS_DEBUG'): raise
        return _fail(error_sentence(e).replace('repeat=True', '--repeat'))
    return 0

def main(
    argv:list[str]|None=None, # None: those of the process
)->int: # exit status: 0, 2 when something failed, 130 when interrupted, 141 when nobody reads the output
    "The command line. With DD_DEBIAS_DEBUG=1 in the environment a failure shows its traceback"
    tokens = sys.argv[1:] if argv is None else argv
    return _status(lambda: _app(tokens)(tokens, exit_on_error=False, print_error=False), ' '.join(tokens[:1]))

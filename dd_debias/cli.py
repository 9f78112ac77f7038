"The same functions, as commands. Their options are the functions' own arguments, read off their signatures."
import argparse, importlib, inspect, os, pkgutil, re, shlex, subprocess, sys
from functools import partial
from pathlib import Path
from textwrap import fill
import pandas as pd
import torch
import dd_debias
from dd_debias.audit import audit, summarize
from dd_debias.dataset import BiasedDataset
from dd_debias.demo import demo
from dd_debias.distilled import export, load
from dd_debias.evaluate import evaluate
from dd_debias.paper import cell_command, cells, METHODS, SETS, sweep_cells
from dd_debias.recipes import apply_recipe, RECIPES
from dd_debias.run import run
from dd_debias.runtime import accepted_kwargs, check_device, progress_bar

def functions(
    part:str, # 'data', 'weigh', 'distill' or 'train'
)->dict: # short name -> function
    "The package's functions for one part of a run"
    found = {}
    for m in pkgutil.iter_modules(dd_debias.__path__):
        if m.name[0] == '_' or m.name == 'cli': continue
        module = importlib.import_module(f'dd_debias.{m.name}')
        for name in getattr(module, '__all__', []):
            f = getattr(module, name)
            if not inspect.isfunction(f): continue
            asks, takes = inspect.signature(f).parameters, {'images'} if part == 'weigh' else {'images', 'weights'}
            alone = all(p.default is not p.empty for p in asks.values())
            if part == 'data' and alone and f.__annotations__.get('return') is BiasedDataset: found[name] = f
            if name.startswith(part+'_') and takes <= set(asks):
                found[name.removeprefix(part+'_')] = f
    return found

def by_name(
    module:str, # where to look
    name:str, # a function there, or another's as module:function
):
    "A function by name. Raises ValueError if there is none"
    home, _, attribute = name.rpartition(':')
    if os.getcwd() not in sys.path: sys.path.insert(0, os.getcwd()) # a console script does not look here by itself
    try: return getattr(importlib.import_module(home or module), attribute)
    except (ImportError, AttributeError) as e:
        raise ValueError(f'{name} cannot be imported ({e}); '
                         'write module:function, the module in this folder or installed') from e

def find(
    part:str,
    name:str, # a short name, or module:function
):
    "A function by name. Raises ValueError with the names there are"
    if ':' in name: return by_name('', name)
    known = functions(part)
    if name not in known:
        raise ValueError(f"{part}: no {name!r}; choose one of {', '.join(known)}, or write module:function")
    return known[name]

def comments(
    f,
)->dict: # parameter -> the comment beside it
    "What the source says of each parameter"
    signature = re.split(r'^\)', inspect.getsource(f), maxsplit=1, flags=re.M)[0]
    return dict(re.findall(r'^\s+(\w+)\s*[:=,].*?#\s*(.*)$', signature, re.M))

def add_options(
    group, # of an argparse parser
    part:str, # options are called --part.name
    f, # the function or partial whose keyword arguments they are
    short:set, # names that no other part has: --name will do
):
    "An option for each keyword argument that a number, a word, a yes or no, or the name of a function can set"
    said = comments(getattr(f, 'func', f))
    for name, p in inspect.signature(f, eval_str=True).parameters.items():
        annotation = type(p.default) if p.annotation is p.empty else p.annotation
        kind = next((t for t in (bool, int, float, str) if annotation in (t, t|None)), None)
        if p.default is p.empty or not (kind or callable(p.default)) or name in ('seed', 'split', 'train'): continue
        flags = [f'--{p}{name}'.replace('_', '-') for p in ([''] if name in short else [])+[part+'.']]
        bare, fixed = getattr(p.default, 'func', p.default), getattr(p.default, 'keywords', {}) # of a partial, or itself
        default = getattr(bare, '__name__', bare)
        if fixed: default += f"({', '.join(f'{k}={v}' for k, v in fixed.items())})"
        def named(text, home=getattr(bare, '__module__', '')):
            try: return by_name(home, text)
            except ValueError as e: raise argparse.ArgumentTypeError(e) from e
        if callable(p.default): how = dict(type=named, metavar='name')
        elif kind is bool: how = dict(action=argparse.BooleanOptionalAction)
        else: how = dict(type=kind, metavar=kind.__name__)
        help = said.get(name, '')+('' if p.default is None else f" [{'none' if default == '' else default}]")
        group.add_argument(*flags, dest=f'{part}.{name}', default=argparse.SUPPRESS, help=help.replace('%', '%%'), **how)

class Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog):
        width = min(120, max(80, int(os.environ.get('COLUMNS', 100))))
        super().__init__(prog, max_help_position=34, width=width)

    def _format_action_invocation(self, action): # of --name and --part.name, show the first
        names = action.option_strings
        if len(names) < 2 or names[0] == '-h': return super()._format_action_invocation(action)
        return f'{names[0]} {action.metavar}' if action.metavar else names[0]

def fail(message):
    print(f'dd-debias: {message}', file=sys.stderr)
    return 2

def common(parser, out, metavar='folder', seed=True):
    "Options that every run has"
    if seed: parser.add_argument('--seed', type=int, default=0, metavar='int', help='of every part of the run [0]')
    best = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=best, help='[%(default)s]')
    parser.add_argument('--out', default=out, metavar=metavar, help='where results go [%(default)s]')

def parser_of(command, argv):
    "The parser of `run` or `audit`, with the options of the functions that `argv` names, and these functions"
    which, runs = argparse.ArgumentParser(add_help=False, allow_abbrev=False), command == 'run'
    def choice(part, default, also='', about=''):
        which.add_argument(f'--{part}', default=default, metavar='name',
                           help=f"{about}{', '.join(functions(part))}{also}, or module:function [{default}]")
    choice('weigh', 'kde', also=', none' if runs else '')
    if runs:
        choice('distill', 'dm', also=', none (judge the full set)')
        choice('train', 'classifier', about='what the judge trains with: ')
    which.add_argument('--recipe', default='quick', choices=list(RECIPES),
                       help="where the options below start from: default (the functions' own), "
                            'quick (two CPU cores) or paper [quick]')
    chosen = vars(which.parse_known_args(argv)[0])
    recipe = chosen.pop('recipe')
    parts = dict(data=argv[0] if argv and argv[0][:1] != '-' else 'cmnist', **chosen)
    for part, name in parts.items():
        left_out = runs and name == 'none' and part in ('weigh', 'distill')
        parts[part] = None if left_out else apply_recipe(find(part, name), recipe)
    if runs: parts['evaluate'] = apply_recipe(evaluate, recipe)
    about = dict(
        run=('Make a biased set, weigh it, distil it, judge the result. '
             'An interrupted run goes on when the same command is given again.',
             'Example: dd-debias run cmnist --conflict 0.05 --ipc 10 --distill dm --weigh kde'),
        audit=('Weigh the images of a set, and show on one page which are heavy and which are light.',
               'Example: dd-debias audit color_digits --conflict 0.01 --out audit.html'))
    p = argparse.ArgumentParser(
        prog=f'dd-debias {command}', formatter_class=Formatter, allow_abbrev=False, parents=[which],
        usage=f'dd-debias {command} [SET] [options]', description=about[command][0], epilog=about[command][1])
    p.add_argument('set', nargs='?', default='cmnist', metavar='SET',
                   help=f"{', '.join(functions('data'))}, or module:function [cmnist]; comes first")
    common(p, *(['results'] if runs else ['audit.html', 'file']))
    known = [n for f in parts.values() if f for n in inspect.signature(f).parameters]
    for part, f in parts.items():
        if f:
            doc = (f.func.__doc__ or '').partition('. Raises')[0].replace('%', '%%')
            group = p.add_argument_group(f'{part}: {f.func.__name__}', doc)
            add_options(group, part, f, {n for n in known if known.count(n) == 1})
    return p, parts

def options(command, argv):
    "What `argv` says: the arguments, and the functions with theirs"
    p, parts = parser_of(command, argv)
    args = vars(p.parse_args(argv))
    if args['set'] not in ('cmnist', *argv[:1]): p.error(f"the set comes first: dd-debias {command} {args['set']} ...")
    for part, f in parts.items():
        given = {k.partition('.')[2]: v for k, v in args.items() if k.startswith(part+'.')}
        if f: parts[part] = partial(f, **given)
    return args, parts

def main_run(argv):
    args, parts = options('run', argv)
    train = parts.pop('train')
    parts['evaluate'] = partial(parts['evaluate'], train=train)
    record = run(**parts, seed=args['seed'], device=args['device'], out=args['out'], show_progress=True)
    scores = pd.DataFrame(record['accuracy'])
    print(f'accuracy in percent over {len(scores)} networks; deo: how far the groups of a class are apart')
    for k in scores.columns[~scores.columns.str.startswith('class_')]:
        print(f"{k.replace('_', ' '):12} {scores[k].mean():5.1f} ± {scores[k].std(ddof=0):.1f}")
    if 'conflicting' not in scores:
        print('The bias of this set is unknown, so nothing is said of aligned and conflicting images, or of groups.')
    if record['conflict_share'] is not None:
        print(f"{100*record['conflict_share']:.0f}% of the weight is on bias-conflicting images")
    print(f"{sum(record['seconds'].values()):.0f} s; see {Path(args['out'])/record['name']}")

def main_audit(argv):
    args, parts = options('audit', argv)
    check_device(args['device'])
    weigh = partial(parts['weigh'], **{k: progress_bar('weigh') for k in accepted_kwargs(parts['weigh'], 'on_step')})
    data = parts['data'](**{k: args['seed'] for k in accepted_kwargs(parts['data'], 'seed')}).to(args['device'])
    table = audit(data, weigh, seed=args['seed'], out=args['out'], title='dd-debias audit '+shlex.join(argv))
    print(table.round(2).to_string(na_rep=''), fill(summarize(table), 100, break_on_hyphens=False), sep='\n\n')
    print(f"\nThe page is {args['out']}")

def main_demo(argv):
    p = argparse.ArgumentParser(prog='dd-debias demo', formatter_class=Formatter, description=demo.__doc__)
    common(p, 'results/demo')
    args = p.parse_args(argv)
    print(demo(seed=args.seed, device=args.device, out=args.out).round(1))
    print(f"\nThe picture is {Path(args.out)/'demo.png'}")

def duration(
    text:str, # such as 90, 90s, 9m or 1.5h
)->float: # seconds
    "How long something may take"
    found = re.fullmatch(r'(\d+\.?\d*|\.\d+)([smh]?)', text)
    if not found: raise argparse.ArgumentTypeError(f'{text!r} is not a time; write seconds, or 90s, 9m, 1.5h')
    return float(found[1])*dict(s=1, m=60, h=3600)[found[2] or 's']

def main_sweep(argv):
    p = argparse.ArgumentParser(
        prog='dd-debias sweep', formatter_class=Formatter, allow_abbrev=False, epilog="Example: dd-debias sweep --part table1 --set cmnist --seeds 3 --budget 1h",
        description="Run cells of the paper's tables and figures, those with the fewest seeds first. What is recorded is\nnot run again, what was interrupted goes on. "
                    'Several sweeps may work in one folder; of several\ndevices, each gets one.')
    every = cells()
    names = {f.__name__: name for name, f in SETS.items()}
    def choose(flag, column, values, kind=str, shown=None):
        p.add_argument(f'--{flag}', dest=column, nargs='+', type=kind, choices=values, metavar=flag, help=shown or ', '.join(map(str, values)))
    choose('part', 'part', sorted(every.part.unique()))
    choose('set', 'dataset', list(names))
    choose('method', 'method', list(METHODS))
    choose('conflict', 'conflict', sorted(every.conflict.unique().tolist()), float)
    choose('ipc', 'ipc', sorted(every.ipc.unique().tolist()), int, 'images per class: 1, 10, 50; 0 is the whole set')
    p.add_argument('--recipe', default='quick', choices=('quick', 'paper'), help='quick (two CPU cores) or paper [quick]')
    p.add_argument('--seeds', type=int, default=1, metavar='int', help='runs of each cell [1]')
    p.add_argument('--budget', type=duration, default=float('inf'), metavar='time', help='stop after so long, such as 9m [no limit]')
    p.add_argument('--list', action='store_true', help='print the commands of the cells, and run nothing')
    common(p, 'results/paper', seed=False)
    args = p.parse_args(argv)
    chosen = every
    for column in ('part', 'dataset', 'method', 'conflict', 'ipc'):
        if wanted := getattr(args, column): chosen = chosen[chosen[column].isin([names.get(w, w) for w in wanted])]
    if chosen.empty: raise ValueError('there is no such cell in the paper; dd-debias sweep --list prints all there are')
    how = dict(recipe=args.recipe, seeds=args.seeds)
    if args.list:
        print('\n'.join(dict.fromkeys(cell_command(c, **how) for c in chosen.itertuples())))
        return
    if len(devices := args.device.split(',')) > 1:
        each = [subprocess.Popen([sys.executable, '-c', 'from dd_debias.cli import main; raise SystemExit(main())', 'sweep', *argv, '--device', d]) for d in devices]
        if any([e.wait() for e in each]): raise OSError('a sweep failed; see above')
        return
    done = sweep_cells(chosen, **how, budget=args.budget, device=args.device, out=args.out, show_progress=True)
    print(f'{len(done)} new runs; see {args.out}')

def main_export(argv):
    p = argparse.ArgumentParser(prog='dd-debias export', formatter_class=Formatter, description=export.__doc__)
    p.add_argument('file', help='a synthetic set, such as results/<run>/distilled.safetensors')
    p.add_argument('folder', help='where to write')
    args = p.parse_args(argv)
    print(export(load(args.file), args.folder))

COMMANDS = dict(demo=main_demo, audit=main_audit, run=main_run, sweep=main_sweep, export=main_export)

def main(
    argv:list|None=None, # None: those of the process
)->int: # exit status: 0, 2 for bad input, 130 when interrupted
    "dd-debias"
    argv = sys.argv[1:] if argv is None else argv
    p = argparse.ArgumentParser(
        prog='dd-debias', formatter_class=Formatter,
        description='Distil a biased image set into a few synthetic images that do not carry the bias.',
        epilog='demo    coloured digits that come with the package; half a minute, no download\n'
               'audit   a page that shows what the weights see in a set: is there a shortcut?\n'
               'run     one experiment: a set, weights, a distiller, a judge\n'
               'sweep   cells of the paper\'s tables and figures\n'
               'export  a synthetic set as PNG files and as tensors\n\n'
               'dd-debias COMMAND --help says more.')
    p.add_argument('command', choices=list(COMMANDS), metavar='{'+','.join(COMMANDS)+'}')
    p.add_argument('--version', action='version', version=dd_debias.__version__)
    command = p.parse_args(argv[:1]).command
    try: COMMANDS[command](argv[1:])
    except (ValueError, OSError, FloatingPointError) as e: return fail(e)
    except KeyboardInterrupt:
        resumes = command in ('demo', 'run', 'sweep')
        return fail('stopped'+('; the same command goes on from the last checkpoint' if resumes else '')) and 130
    return 0

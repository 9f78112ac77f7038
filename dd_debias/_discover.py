"""Functions by name, for the command line."""
import importlib
import inspect
import os
import pkgutil
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from types import FunctionType

import dd_debias

from .dataset import BiasedDataset

ARGUMENTS = dict( # part of a run -> what its functions are given by position
    data=(), weigh=('images', 'labels'), distill=('images', 'labels', 'weights'), train=('images', 'labels', 'weights'))

def functions(part:str)->dict[str, Callable]: # part: 'data', 'weigh', 'distill' or 'train'
    "The package's functions for one part of a run, by their short names"
    needed = ARGUMENTS[part]
    found:dict[str, Callable] = {}
    for module_info in pkgutil.iter_modules(dd_debias.__path__):
        if module_info.name.startswith('_') or module_info.name == 'cli': continue
        module = importlib.import_module(f'dd_debias.{module_info.name}')
        for name in getattr(module, '__all__', []):
            f = getattr(module, name)
            if not isinstance(f, (FunctionType, partial)): continue
            takes = inspect.signature(f).parameters
            if part == 'data':
                makes_a_set = getattr(f, '__annotations__', {}).get('return') is BiasedDataset
                if makes_a_set and all(p.default is not p.empty for p in takes.values()): found[name] = f
            elif name.startswith(f'{part}_') and tuple(takes)[:len(needed)] == needed:
                found[name.removeprefix(f'{part}_')] = f
    return found

def import_name(name:str, home:str='')->Callable:
    "A function as module:function, or by its name in the module `home`. Raises ValueError if there is none"
    module, _, attribute = name.rpartition(':')
    try:
        if os.getcwd() not in sys.path: sys.path.insert(0, os.getcwd()) # a console script does not look here by itself
        f = getattr(importlib.import_module(module or home), attribute)
    except (Exception, SystemExit) as e: # whatever a module of the user's may do
        near = get_close_matches(attribute, dir(sys.modules.get(module or home)), 1)
        meant = f'did you mean {near[0]!r}? Or' if near else ''
        raise ValueError(f'{name} cannot be imported ({type(e).__name__}: {e}); {meant} '
                         'write module:function, the module in this folder or installed') from e
    if not callable(f): raise ValueError(f'{name} is not a function but {f!r:.40}')
    return f

def find(part:str, name:str)->Callable:
    "A function of the package by its short name, or another as module:function. Raises ValueError if there is none"
    if ':' not in name:
        known = functions(part)
        if name in known: return known[name]
        if part == 'data' and os.path.isdir(name):
            raise ValueError(f'{name} is a folder; write load_images --source {shlex.quote(name)}')
        near = get_close_matches(name, known, 1)
        meant = f' (did you mean {near[0]!r}?)' if near else ''
        raise ValueError(f"{part}: no {name!r}{meant}; choose one of {', '.join(known)}, or write module:function")
    f = import_name(name)
    try: inspect.signature(f).bind_partial(*ARGUMENTS[part], **dict(split='train') if part == 'data' else dict(seed=0))
    except (TypeError, ValueError) as e: raise ValueError(f'{part}: {name} does not take what is given to it: {e}') from e
    return f

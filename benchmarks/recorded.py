"""A line of results, with what it was measured on."""
import json
import platform
from pathlib import Path

import torch

from dd_debias.artifacts import records_file
from dd_debias.config import identity
from dd_debias.records import append_line, read_records, run_config
from dd_debias.run import git_commit, load_average

RESULTS = Path(__file__).resolve().parents[1]/'results'

def is_recorded(name, line):
    "Whether results/<name> has a line with all of these values"
    path = RESULTS/name
    lines = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    return any(line.items() <= old.items() for old in lines)

def unrecorded(runs):
    "Those of some partials of `run` that results/ has no record of, also where their folders are not at hand"
    for one in runs:
        config = run_config(*one.args, one.keywords['seed'])
        file = records_file(RESULTS, config)
        if not file.exists() or identity(config) not in set(read_records(file).identity): yield one

def add(name, line, device='cpu', show=True):
    "Add a line to results/<name>, and print it"
    cpu = f'{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}' # such as AVX2
    machine = torch.cuda.get_device_name() if device == 'cuda' else cpu
    line = json.dumps(dict(
        line, threads=torch.get_num_threads(), device=machine, load=load_average(), torch=torch.__version__,
        commit=git_commit()))
    if show: print(line, flush=True)
    append_line(RESULTS/name, line)

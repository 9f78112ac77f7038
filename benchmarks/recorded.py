"""A line of results, with what it was measured on."""
import json
import platform
from pathlib import Path

import torch

from dd_debias.records import append_line
from dd_debias.run import git_commit

RESULTS = Path(__file__).resolve().parents[1]/'results'

def add(name, line, device='cpu', show=True):
    "Add a line to results/<name>, and print it"
    machine = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    line = json.dumps(dict(
        line, threads=torch.get_num_threads(), device=machine, torch=torch.__version__, commit=git_commit()))
    if show: print(line, flush=True)
    append_line(RESULTS/name, line)

"benchmarks/speed.py runs: each of our hot paths and its plain reference, once, at a tiny size"
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'benchmarks'))
from speed import ROWS, SIDES, WORK, measure


@pytest.mark.parametrize('row', ROWS)
def test_every_row_can_be_measured(row):
    assert row in WORK
    for side in SIDES.get(row, ('ours', 'reference')):
        m = measure(row, side, 'cpu', True)
        assert m.seconds > 0 and m.peak >= m.added >= 0

"""Planning many cells, of plugins that do nothing. By hand, when idle: `pytest -n 0 -m slow tests/performance`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from idle import IDLE, board

from distributions import make_distribution

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PLAN = """
import json, resource, sys, time
from pathlib import Path
from sparring.catalogue import discover
from sparring.plan import make_plan
from sparring.suite import load_suite
catalogue = discover()
suite = load_suite(Path(sys.argv[1]), catalogue)
begun = time.process_time()
plan = make_plan(suite, catalogue)
stages = len(plan.stages_of(plan.cells))
seconds = time.process_time() - begun
print(json.dumps([len(plan.cells), stages, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def test_planning_many_cells(tmp_path: Path) -> None:
    """100,000 cells in 20 CPU seconds and 1.5 GB; and ten times the cells take ten times as long."""
    site = make_distribution(tmp_path / "site", "sparring-idle", "1.0", IDLE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    file, cost = tmp_path / "suite.yaml", {}
    for repetitions in (10, 100, 1000):
        file.write_text(board(attacks=10, victims=10, defences=1, repetitions=repetitions))
        told = subprocess.run(
            [sys.executable, "-c", PLAN, str(file)], env=environment, capture_output=True, check=True, text=True
        )
        cells, stages, seconds, megabytes = json.loads(told.stdout)
        print(f"{cells} cells, {stages} stages: {seconds:.2f} s, {megabytes:.0f} MB")
        assert cells == 100 * repetitions
        cost[cells] = seconds
    assert seconds < 20
    assert megabytes < 1500
    assert cost[100_000] < 12 * cost[10_000]

"""What the package declares: light to import, complete, and objecting where a cell makes no sense."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pluggy
import pytest

import sparring_attacks
from sparring import hookspecs
from sparring.cell import Cell, Selection
from sparring.threat import ThreatModel

UNCITED = {"none", "gaussian-noise", "uniform-noise", "random-pixel", "hand-placed-pixel", "random-search-pixel"}
"""Plain controls, which nobody has to be credited with."""

HEAVY = ("torch", "torchvision", "art", "torchattacks", "sklearn", "scipy", "numpy", "pydantic")


def test_importing_and_asking_loads_nothing_heavy() -> None:
    code = (
        "import sys, sparring_attacks as p\n"
        "[spec.params() for spec in p.sparring_attacks()]\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hooks_give_unique_names_and_load() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(sparring_attacks)
    (specs,) = manager.hook.sparring_attacks()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names) > 50
    assert all(spec.summary and (spec.citation or spec.name in UNCITED) for spec in specs)
    for spec in specs:
        loaded = spec.load(spec.params())
        assert all(hasattr(loaded, act.value) for act in spec.acts)
        assert spec.reads >= spec.threat.stated().keys()


@pytest.mark.parametrize("attack", ["label-flip", "label-flip-loss", "badnets", "dba", "random-pixel"])
def test_clean_label_threat_rules_out_attacks_that_relabel(attack: str) -> None:
    plain = Selection("x")
    threat = ThreatModel(label_changes=False)
    cell = Cell(dataset=plain, victim=plain, attack=Selection(attack), defence=plain, threat=threat, repetition=0)
    assert bool(list(sparring_attacks.sparring_objections(cell))) == (attack != "random-pixel")
    assert not list(sparring_attacks.sparring_objections(replace(cell, threat=ThreatModel())))

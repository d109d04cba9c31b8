"""What the package declares."""

from __future__ import annotations

import subprocess
import sys

import pluggy

import sparring_defences
from sparring import hookspecs
from sparring.plugin import Act

METHODS = {
    Act.SANITISE: "sanitise",
    Act.REINFORCE: "reinforce",
    Act.OWN_FIT: "fit",
    Act.INSPECT: "inspect",
    Act.REPAIR: "repair",
    Act.GUARD: "guard",
    Act.DETECT: "score",
    Act.CERTIFY: "certify",
}


def test_importing_and_asking_loads_nothing_heavy() -> None:
    heavy = ("torch", "torchvision", "art", "sklearn", "scipy", "PIL", "numpy", "pydantic")
    code = (
        "import sys, sparring_defences as p\n"
        "[spec.params() for spec in p.sparring_defences()]\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hooks_give_unique_names_and_load() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(sparring_defences)
    (specs,) = manager.hook.sparring_defences()
    names = [s.name for s in specs]
    assert len(names) == len(set(names)) >= 30
    assert names[:2] == ["none", "adversarial-training"]
    for spec in specs:
        loaded = spec.load(spec.params())
        assert all(hasattr(loaded, METHODS[act]) for act in spec.acts)

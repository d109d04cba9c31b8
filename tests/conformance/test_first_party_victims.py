"""Every victim of this repository keeps to its contract."""

from __future__ import annotations

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

REDUCED = {"fed-avg": "[clients=3,rounds=6]"}
"""Where the defaults train many times."""

VICTIMS = [
    f"victim/{entry.spec.name}{REDUCED.get(entry.spec.name, '')}"
    for entry in discover().entries(Kind.VICTIM)
    if entry.distribution == "sparring"
]


@parametrize_plugins(
    *VICTIMS,
    "cnn[channels=[4,8],batch_norm=true,pooling=average]",
    "feature-svm[backbone=resnet,stages=[1,1],width=8]",
)
def test_victims(trial: Trial) -> None:
    trial.run()

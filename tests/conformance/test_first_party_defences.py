"""Every defence of this repository keeps to its contract."""

from __future__ import annotations

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

REDUCED = {
    "neural-cleanse": "[rounds=10,epochs=1]",
    "partition-vote": "[parts=3]",
    "roni": "[harm=0,trials=2]",  # none of the kit's rows does harm: those that do not help go
}
"""Budgets that suit the kit's few images."""

DEFENCES = [
    f"defence/{entry.spec.name}{REDUCED.get(entry.spec.name, '')}"
    for entry in discover().entries(Kind.DEFENCE)
    if entry.distribution == "sparring"
]


@parametrize_plugins(
    *DEFENCES,
    "adversarial-training[method=fgsm,norm=l2]",
    "feature-squeezing[bit_depth=8,window=3]",
    "activation-clustering[reduction=ica,analysis=relative-size]",
)
def test_defences(trial: Trial) -> None:
    trial.run()

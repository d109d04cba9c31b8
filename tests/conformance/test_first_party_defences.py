"""Every defence of this repository keeps to its contract."""

from __future__ import annotations

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

DEFENCES = [f"defence/{e.spec.name}" for e in discover().entries(Kind.DEFENCE) if e.distribution == "sparring"]


@parametrize_plugins(
    *DEFENCES,
    "adversarial-training[method=fgsm,norm=l2]",
    "feature-squeezing[bit_depth=8,window=3]",
    "activation-clustering[reduction=ica,analysis=relative-size]",
)
def test_defences(trial: Trial) -> None:
    trial.run()

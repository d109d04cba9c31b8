"""What the attacker may do: the threat model, and the vocabulary of access.

Import-light (standard library only): plugin declarations use these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any


class When(StrEnum):
    """When the attacker acts."""

    NEVER = "never"
    TRAINING = "training"
    INFERENCE = "inference"


class Goal(StrEnum):
    """What the attacker wants."""

    NOTHING = "nothing"
    EVASION = "evasion"  # any wrong answer on the attacked input
    TARGETED = "targeted"  # a chosen wrong answer on a chosen input
    AVAILABILITY = "availability"  # many wrong answers on clean test inputs
    BACKDOOR = "backdoor"  # a chosen answer wherever the trigger is present
    REPROGRAM = "reprogram"  # another task computed by the victim


class Knowledge(StrEnum):
    """What the attacker sees of the model it attacks."""

    WHITE_BOX = "white-box"
    SCORES = "scores"
    DECISIONS = "decisions"
    NONE = "none"


class Norm(StrEnum):
    """How a perturbation is measured; per image, over all C x H x W values (L0: over pixels, any channel changed)."""

    LINF = "linf"
    L2 = "l2"
    L0 = "l0"


class Budget(StrEnum):
    """`BOUNDED`: epsilon constrains. `MINIMAL`: no epsilon, nothing is clipped, the distortion is the result."""

    BOUNDED = "bounded"
    MINIMAL = "minimal"


class Access(StrEnum):
    """What an attack or a defence needs, and a victim or a guard offers."""

    DECISIONS = "decisions"  # the predicted class
    SCORES = "scores"  # any class values that preserve their order
    PROBABILITIES = "probabilities"
    GRADIENTS = "gradients"  # logits differentiable in the input
    FEATURES = "features"  # penultimate activations
    WEIGHTS = "weights"
    RECIPE = "recipe"  # the training follows a Recipe, so that it can be changed
    TRAINING_DATA = "training data"
    ORACLE = "oracle"  # the truth about what was poisoned; controls only


MODEL_ACCESS = frozenset(
    {Access.DECISIONS, Access.SCORES, Access.PROBABILITIES, Access.GRADIENTS, Access.FEATURES, Access.WEIGHTS}
)
"""Access to the victim's model itself. An attack that needs none of these is made once for all models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatModel:
    """One point of the threat axis. A field that is `None` is not stated.

    Attributes:
        when: when the attacker acts.
        goal: what the attacker wants.
        knowledge: what the attacker sees of the victim.
        adaptive: whether an inference-time attacker knows the guard in front of the model.
        norm: the norm that `epsilon` is measured in.
        budget: whether epsilon constrains or distortion is the result.
        epsilon: largest distortion of one image, in units of [0, 1] pixels. With `MINIMAL` it is `None`.
        poison_fraction: poisoned rows / all rows of the training set, in [0, 1].
        label_changes: whether poisoned rows may carry another label.
        query_budget: model evaluations per attacked image, forward and gradient together.
    """

    when: When | None = None
    goal: Goal | None = None
    knowledge: Knowledge | None = None
    adaptive: bool | None = None
    norm: Norm | None = None
    budget: Budget | None = None
    epsilon: float | None = None
    poison_fraction: float | None = None
    label_changes: bool | None = None
    query_budget: int | None = None

    def stated(self) -> dict[str, Any]:
        """The fields that are not `None`, in declaration order."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}

    def over(self, defaults: ThreatModel) -> ThreatModel:
        """This threat model with `defaults` where it states nothing."""
        return replace(defaults, **self.stated())

    def restricted_to(self, names: frozenset[str]) -> ThreatModel:
        """This threat model without the fields outside `names`."""
        return ThreatModel(**{k: v for k, v in self.stated().items() if k in names})

    def __str__(self) -> str:
        return ", ".join(f"{k}={_plain(v)}" for k, v in self.stated().items()) or "any"


ALIASES: Mapping[str, str] = {"eps": "epsilon", "fraction": "poison_fraction", "queries": "query_budget"}
"""Short names that a suite or a selector may use for threat fields."""

THREAT_FIELDS = frozenset(f.name for f in fields(ThreatModel))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)

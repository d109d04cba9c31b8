"""Loss-maximising label flips: what a clean model is surest of gets the label that it believes least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, param, reference
from sparring.threat import Goal, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets

DEFAULT_FRACTION = 0.1


class Label(StrEnum):
    LEAST = "least-likely"
    SECOND = "second-likely"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    surrogate: Selection = reference(Kind.VICTIM, "logistic", "the clean model that is asked; it offers scores")
    label: Label = param(Label.LEAST, "what a flipped image becomes, by the surrogate's scores")


class LabelFlipLoss:
    """Chooses the flips that raise the loss of the clean model the most, all at once: the first step of ALFA (Xiao et
    al. 2012, algorithm 1 and equation 9, whose hinge loss becomes the difference of scores; that of the cross-entropy,
    where scores are logits). ALFA goes on to fit the model to the flips and to choose again."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there is only one class."""
        import numpy as np
        import torch

        from sparring.data import Poisoned

        if train.classes < 2:
            raise ValueError("label-flip-loss needs at least two classes")
        surrogate, each = aux.surrogates["surrogate"], np.arange(len(train))
        scores = surrogate.scores(torch.from_numpy(np.array(train.x)).to(ctx.device)).double().cpu().numpy()
        others = scores.copy()
        others[each, train.y] = np.inf if self.params.label is Label.LEAST else -np.inf
        chosen = others.argmin(axis=1) if self.params.label is Label.LEAST else others.argmax(axis=1)
        gain = scores[each, train.y] - scores[each, chosen]
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        count = int(fraction * len(train) + 1e-9)  # 0.29 * 100 is 28.999...
        rows = np.sort(np.argsort(-gain, kind="stable")[:count]).astype(np.int64)
        return [Poisoned(rows, train.rows(rows).x, chosen[rows].astype(np.int64))]


SPEC = AttackSpec(
    name="label-flip-loss",
    summary="Wrong labels on the training images of which a clean model is surest.",
    citation="Xiao, Xiao & Eckert 2012, Adversarial label flips attack on support vector machines, section 3.2; "
    "Biggio, Nelson & Laskov 2011, Support vector machines under adversarial label noise, section 4.2",
    params=Params,
    randomised=False,
    load=LabelFlipLoss,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
    surrogates=("surrogate",),
)

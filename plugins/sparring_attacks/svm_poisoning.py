"""Poisoning support vector machines: rows with wrong labels, moved to where they cost a linear machine the most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    c: float = param(0.01, "weight of the losses of the attacker's machine against its regularisation", above=0)
    steps: int = param(15, "steps of all poisoned rows, after each of which the machine is fitted anew", at_least=0)
    step_size: float = param(1.0, "length of the first step, in L2; it falls to 0 along a line", above=0)


class SvmPoisoning:
    """Gradient ascent on the hinge loss of held-out rows, through a linear machine that is fitted to the poisoned set
    (Biggio, Nelson & Laskov 2012, section 3, algorithm 1).

    The paper adds one point to a problem of two classes and moves it along its normalised gradient; here rows that
    exist get another label and are moved, all in the same step, and there is a machine for each class. The gradient is
    the exact one of the primal with the squared hinge loss, that of `linear-svm`; victims of other kinds get what the
    attacker's linear machine suffers from. The held-out rows are the attacker's, where the suite cuts some, else the
    clean rows that are not poisoned. Of all steps the one with the largest loss is kept.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there is only one class."""
        import numpy as np

        from sparring.data import Poisoned

        if train.classes < 2:
            raise ValueError("svm-poisoning needs at least two classes")
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.arange(len(train)), len(train), fraction, ctx.rng)
        shift = ctx.rng.integers(1, train.classes, size=len(rows))
        labels = (train.y[rows] + shift) % train.classes
        images = train.rows(rows).x
        kept = np.setdiff1d(np.arange(len(train)), rows)
        held = aux.attacker_val if aux.attacker_val is not None else train.rows(kept)
        if len(rows) and len(held):
            images = self._moved(train, rows, labels, held, ctx)
        return [Poisoned(rows, images, labels)]

    def _moved(
        self, train: ArrayDataset, rows: IntArray, labels: IntArray, held: ArrayDataset, ctx: Context
    ) -> FloatArray:
        """(R, C, H, W) the images of `rows`, where they do most harm under `labels`."""
        import numpy as np
        import torch

        from sparring_attacks.hinge_machines import HingeMachines

        params, at = self.params, torch.from_numpy(rows)
        x, y, outside, truth = (
            torch.from_numpy(np.array(part)).to(ctx.device) for part in (train.x, train.y, held.x, held.y)
        )
        x, outside = x.flatten(1).double(), outside.flatten(1).double()
        y[at] = torch.from_numpy(labels).to(ctx.device)
        machines, best, worst = None, x[at], -1.0
        for step in range(params.steps + 1):
            ctx.progress(step, params.steps + 1, "machines fitted")
            machines = HingeMachines.fitted(x, y, train.classes, params.c, start=machines)
            if (loss := float(machines.hinge(outside, truth))) > worst:
                best, worst = x[at], loss
            if step < params.steps:
                way = machines.ascent(at, outside, truth)
                length = params.step_size * (1 - step / params.steps)
                x[at] = (x[at] + length * way / way.norm(dim=1, keepdim=True).clamp(min=1e-30)).clamp(0, 1)
        made: FloatArray = best.float().cpu().numpy().reshape(len(rows), *train.image_shape)
        return made


SPEC = AttackSpec(
    name="svm-poisoning",
    summary="Rows with wrong labels, moved to where they cost a linear support vector machine the most.",
    citation="Biggio, Nelson & Laskov 2012, Poisoning attacks against support vector machines, ICML, section 3; "
    "arXiv 1206.6389; Mei & Zhu 2015, Using machine teaching to identify optimal training-set attacks, AAAI",
    params=Params,
    load=SvmPoisoning,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)

"""Adversarial poisoning: training images moved along the axis from the clean classifier to another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.feature_walk import Loss, Method, Walk, descended, features_of
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets
    from sparring.model import Model
    from sparring_attacks.linear_proxy import LinearProxy

DEFAULT_EPSILON = 3 / 255


class Proxy(StrEnum):
    CLEAN = "clean"
    SHIFTED_LABELS = "shifted-labels"
    VALIDATION = "validation"


class Objective(StrEnum):
    CROSS_ENTROPY = "cross-entropy"
    PUSH = "push"
    NORM = "norm"


class Sign(StrEnum):
    ASCEND = "ascend"
    DESCEND = "descend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    proxy: Proxy = param(
        Proxy.CLEAN,
        "w_t; clean: w_c itself; shifted-labels: fitted on the training set with every label raised by one; "
        "validation: fitted on the attacker's clean rows",
    )
    objective: Objective = param(
        Objective.CROSS_ENTROPY,
        "of an image with label y and features f; cross-entropy: of w_t f at y; push: ((w_t - w_c) f)_y; "
        "norm: |(w_t - w_c) f|, literally",
    )
    sign: Sign = param(Sign.ASCEND, "whether images are moved to raise or to lower the objective")
    method: Method = param(Method.PGD, "fgsm: one step of the whole budget; pgd: several, each projected")
    steps: int = param(10, "gradient steps of pgd", at_least=1)
    step_size: float | None = param(None, "of pgd; null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(100, "images moved at a time", at_least=1)

    def __post_init__(self) -> None:
        if self.proxy is Proxy.CLEAN and self.objective is not Objective.CROSS_ENTROPY:
            raise ValueError(
                f"adversarial-poisoning: with proxy=clean, w_t - w_c is 0; "
                f"objective={self.objective} needs another proxy"
            )


class AdversarialPoisoning:
    """max |(w_t - w_c)' f(z)| over |z - x| <= ε for every training image x, labels unchanged (Chan-Hon-Tong 2021,
    section 2.2, after Chan-Hon-Tong 2018). The paper leaves open what the proxy w_t is and how a norm of several
    classes' margins is meant; the released code ascends the cross-entropy of a proxy. All readings are parameters.

    w_c and w_t are linear support vector machines on the frozen features. The cross-entropy is that of the softmax over
    their margins.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there are no features, or `proxy=validation` finds no rows of the attacker."""
        import numpy as np
        import torch

        from sparring.data import Poisoned

        if aux.features is None:
            raise ValueError("adversarial-poisoning needs the features of the victim")
        fraction = 1.0 if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.arange(len(train)), len(train), fraction, ctx.rng)
        images = train.rows(rows)
        loss = self._loss(train, torch.from_numpy(np.array(images.y)).to(ctx.device), aux, ctx)
        moved = descended(aux.features, torch.from_numpy(np.array(images.x)), loss, self._walk(threat), ctx)
        return [Poisoned(rows, moved.numpy(), images.y.astype(np.int64))]

    def _walk(self, threat: ThreatModel) -> Walk:
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        return Walk.of(self.params.method, epsilon, self.params.steps, self.params.step_size, self.params.batch_size)

    def _loss(self, train: ArrayDataset, y: Tensor, aux: Aux, ctx: Context) -> Loss:
        """What is lowered: the objective, or, ascending, its negative. `y` (N,) are the labels of the images."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        assert aux.features is not None, "checked by `poison`"
        proxy, axis = self._classifiers(aux.features, train, aux.attacker_val, ctx)
        sense = -1.0 if self.params.sign is Sign.ASCEND else 1.0

        def cross_entropy(found: Tensor, rows: slice) -> Tensor:
            loss: Tensor = F.cross_entropy(proxy.margins(found), y[rows], reduction="sum")
            return sense * loss

        def push(found: Tensor, rows: slice) -> Tensor:
            return sense * (found * axis[y[rows]]).sum()

        def norm(found: Tensor, rows: slice) -> Tensor:
            lengths: Tensor = torch.linalg.vector_norm(found @ axis.T, dim=1)
            return sense * lengths.sum()

        return {Objective.CROSS_ENTROPY: cross_entropy, Objective.PUSH: push, Objective.NORM: norm}[
            self.params.objective
        ]

    def _classifiers(
        self, features: Model, train: ArrayDataset, validation: ArrayDataset | None, ctx: Context
    ) -> tuple[LinearProxy, Tensor]:
        """w_t, and the axis w_t - w_c (K, D)."""
        import numpy as np
        import torch

        from sparring_attacks.linear_proxy import fitted_proxy

        def known(data: ArrayDataset) -> Tensor:
            return features_of(features, torch.from_numpy(np.array(data.x)), self.params.batch_size, ctx)

        found = known(train)
        clean = fitted_proxy(found, train.y, train.classes)
        match self.params.proxy:
            case Proxy.CLEAN:
                proxy = clean
            case Proxy.SHIFTED_LABELS:
                proxy = fitted_proxy(found, (train.y + 1) % train.classes, train.classes)
            case Proxy.VALIDATION:
                if validation is None:
                    raise ValueError(
                        "adversarial-poisoning: proxy=validation needs clean rows of the attacker; "
                        "set splits.attacker_val in the suite"
                    )
                proxy = fitted_proxy(known(validation), validation.y, train.classes)
        return proxy, proxy.weight - clean.weight


SPEC = AttackSpec(
    name="adversarial-poisoning",
    summary="All training images moved in frozen features, so that the classifier on top turns away from its optimum.",
    citation="Chan-Hon-Tong 2018, An algorithm for generating invisible data poisoning using adversarial noise; "
    "Chan-Hon-Tong 2021, Features which are robust to adversarial attacks are also robust to several poisoning "
    "attacks, section 2.2",
    params=Params,
    randomised=False,
    load=AdversarialPoisoning,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=1.0, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)

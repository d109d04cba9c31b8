"""Transfer: the inner attack, as it is, against a surrogate; the victim is never asked."""

from __future__ import annotations

import pytest
import torch

from sparring.cell import Selection
from sparring.contracts import Aux, DeadlineExceeded
from sparring.model import MeteredModel, Model, NotOffered, QueryBudgetExceeded
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel
from sparring_attacks import deepfool, pgd, transfer


class OnlyDecisions(Model):
    """What stands for a forest: no gradients, no scores."""

    offers = frozenset({Access.DECISIONS})
    classes = 10

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def predict(self, x):
        return self.inner.predict(x)

    def state(self):
        return {}


def aux(surrogate: Model, attack: object, goal_labels: torch.Tensor | None = None) -> Aux:
    return Aux(surrogates={"surrogate": surrogate}, attacks={"attack": attack}, goal_labels=goal_labels)


def through() -> transfer.Transfer:
    return transfer.Transfer(transfer.Params(attack=Selection("pgd"), surrogate=Selection("cnn")))


def test_it_is_the_inner_attack_on_the_surrogate(victim, untrained, images, labels, white_box, context) -> None:
    inner = pgd.ProjectedGradientDescent(pgd.Params(steps=10))
    threat = ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, budget=Budget.BOUNDED, epsilon=0.2)
    asked = MeteredModel(untrained((1, 8, 8), 10), frozenset())
    made = through().perturb(asked, images, labels, threat, aux(victim, inner), context(3))
    assert torch.equal(made, inner.perturb(white_box(victim), images, labels, threat, Aux(), context(3)))
    assert asked.meter.forward == asked.meter.gradient == 0
    assert (victim.predict(made) != labels).float().mean() > 0.8


def test_goal_norm_and_minimal_budget_reach_the_inner_attack(victim, images, labels, context) -> None:
    nobody = MeteredModel(OnlyDecisions(victim), frozenset())
    minimal = ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL)
    made = through().perturb(
        nobody, images, labels, minimal, aux(victim, deepfool.DeepFool(deepfool.Params())), context()
    )
    assert (victim.predict(made) != labels).all()
    wanted = (labels + 1) % 10
    inner = pgd.ProjectedGradientDescent(pgd.Params())
    targeted = ThreatModel(goal=Goal.TARGETED, norm=Norm.LINF, epsilon=0.4)
    made = through().perturb(nobody, images, labels, targeted, aux(victim, inner, wanted), context())
    assert (victim.predict(made) == wanted).float().mean() > 0.9


def test_a_surrogate_gives_what_it_offers_and_no_more(victim, images, labels, context) -> None:
    nobody = MeteredModel(victim, frozenset())
    inner = deepfool.DeepFool(deepfool.Params())
    threat = ThreatModel(goal=Goal.EVASION, norm=Norm.L2, epsilon=1.0)
    with pytest.raises(NotOffered):
        through().perturb(nobody, images, labels, threat, aux(OnlyDecisions(victim), inner), context())


def test_a_query_budget_is_that_of_the_surrogate(victim, images, labels, context) -> None:
    class Greedy:
        def perturb(self, model, x, y, threat, aux, ctx):
            model.predict(torch.cat([x, x, x]))
            return x

    nobody = MeteredModel(victim, frozenset())
    threat = ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.2, query_budget=2)
    with pytest.raises(QueryBudgetExceeded):
        through().perturb(nobody, images, labels, threat, aux(victim, Greedy()), context())


def test_it_stops_between_the_reports_of_the_inner_attack(victim, images, labels, context) -> None:
    class Silent:
        def perturb(self, model, x, y, threat, aux, ctx):
            model.predict(x)
            return x

    late = context()
    late.deadline = 0.0
    threat = ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.2)
    with pytest.raises(DeadlineExceeded):
        through().perturb(MeteredModel(victim, frozenset()), images, labels, threat, aux(victim, Silent()), late)

"""DeepFool, C&W and L-BFGS: small distortions, against the libraries by hand, budgets, and images that are finished."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Aux, DeadlineExceeded
from sparring.model import MeteredModel, Model, NetworkModel
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel
from sparring_attacks import cw_l2, deepfool, lbfgs
from sparring_attacks.quasi_newton import minimise

MINIMAL = ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL)
TARGETED = ThreatModel(goal=Goal.TARGETED, norm=Norm.L2, budget=Budget.MINIMAL)


def attacks() -> list[Any]:
    return [
        deepfool.DeepFool(deepfool.Params()),
        cw_l2.CarliniWagner(cw_l2.Params(searches=4, steps=40)),
        lbfgs.BoxConstrainedLbfgs(lbfgs.Params(searches=4)),
    ]


def named(attack: object) -> str:
    return type(attack).__name__


def lengths(x_adv: Tensor, x: Tensor) -> Tensor:
    return (x_adv.double() - x.double()).flatten(1).norm(dim=1)


def wrong(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    return model.predict(x) != labels


@pytest.fixture(scope="module")
def few(images) -> Tensor:
    return images[:60]


@pytest.fixture(scope="module")
def true(labels) -> Tensor:
    return labels[:60]


def linear(classes: int = 2) -> tuple[NetworkModel, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(classes, 12, generator=generator)

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(weight)

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight.T

    return NetworkModel(Linear(), classes), weight


@pytest.mark.parametrize(
    ("attack", "excess"),
    [
        (deepfool.DeepFool(deepfool.Params()), 1.03),
        (cw_l2.CarliniWagner(cw_l2.Params(searches=9, steps=200, learning_rate=0.01)), 1.03),
        (lbfgs.BoxConstrainedLbfgs(lbfgs.Params(searches=14)), 1.03),
    ],
    ids=lambda value: named(value) if not isinstance(value, float) else "",
)
def test_two_linear_classes_have_a_closed_form(white_box, context, attack, excess) -> None:
    """The distance to the boundary is the margin divided by the length of the difference of weights."""
    model, weight = linear()
    generator = torch.Generator().manual_seed(2)
    x = 0.5 + 0.1 * (torch.rand(16, 3, 2, 2, generator=generator) - 0.5)  # far from 0 and 1: nothing is clipped
    y = model.predict(x)
    apart = weight[1] - weight[0]
    exact = (x.flatten(1) @ apart).abs() / apart.norm()
    x_adv = attack.perturb(white_box(model), x, y, MINIMAL, Aux(), context())
    assert wrong(model, x_adv, y).all()
    ratio = lengths(x_adv, x) / exact
    assert float(ratio.min()) > 0.999
    assert float(ratio.median()) < excess


def test_all_succeed_and_the_optimising_ones_need_least(victim, few, true, white_box, context) -> None:
    means = []
    for attack in (
        deepfool.DeepFool(deepfool.Params()),
        cw_l2.CarliniWagner(cw_l2.Params()),
        lbfgs.BoxConstrainedLbfgs(lbfgs.Params()),
    ):
        x_adv = attack.perturb(white_box(victim), few, true, MINIMAL, Aux(), context())
        assert wrong(victim, x_adv, true).all()
        means.append(float(lengths(x_adv, few).mean()))
    assert 0.3 < means[1] < 0.7  # of an image of 8 x 8; a step of FGSM needs more than 1
    assert means[0] < 1.05 * means[1]
    assert abs(means[2] / means[1] - 1) < 0.03


@pytest.mark.parametrize("attack", attacks()[1:], ids=named)
def test_targeted_reaches_the_wanted_labels(victim, few, true, white_box, context, attack) -> None:
    wanted = (true + 3) % 10
    x_adv = attack.perturb(white_box(victim), few, true, TARGETED, Aux(goal_labels=wanted), context())
    assert (victim.predict(x_adv) == wanted).float().mean() > 0.95
    untargeted = attack.perturb(white_box(victim), few, true, MINIMAL, Aux(), context())
    assert lengths(x_adv, few).mean() > 1.3 * lengths(untargeted, few).mean()


@pytest.mark.parametrize("attack", attacks(), ids=named)
def test_images_that_are_wrong_already_stay(victim, images, labels, white_box, context, attack) -> None:
    fallen = wrong(victim, images, labels)
    assert fallen.any()
    x_adv = attack.perturb(white_box(victim), images[fallen], labels[fallen], MINIMAL, Aux(), context())
    assert torch.equal(x_adv, images[fallen])


@pytest.mark.parametrize("attack", attacks(), ids=named)
def test_what_needs_more_than_epsilon_is_left_clean(victim, few, true, white_box, context, attack) -> None:
    free = attack.perturb(white_box(victim), few, true, MINIMAL, Aux(), context())
    bounded = ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.BOUNDED, epsilon=0.5)
    x_adv = attack.perturb(white_box(victim), few, true, bounded, Aux(), context())
    near = lengths(free, few) <= 0.5
    assert 0.2 < near.float().mean() < 0.9
    assert torch.equal(x_adv[near], free[near])
    assert torch.equal(x_adv[~near], few[~near])


def test_another_norm_is_refused(victim, few, true, white_box, context) -> None:
    with pytest.raises(ValueError, match="minimal in l2"):
        attacks()[0].perturb(white_box(victim), few, true, ThreatModel(norm=Norm.LINF, epsilon=0.1), Aux(), context())


@pytest.mark.parametrize("budget", [1, 2, 12, 30, 100])
@pytest.mark.parametrize("attack", attacks(), ids=named)
def test_query_budget_is_kept(victim, few, true, context, attack, budget) -> None:
    view = MeteredModel(victim, frozenset({Access.GRADIENTS}), query_rows=budget * len(few))
    threat = ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=budget)
    x_adv = attack.perturb(view, few, true, threat, Aux(), context())
    if budget == 100:
        assert wrong(victim, x_adv, true).float().mean() > 0.9
        assert view.meter.forward + view.meter.gradient > 20 * len(few)


def test_deepfool_drops_what_has_fallen(victim, images, labels, white_box, context) -> None:
    few, true = images[:12], labels[:12]
    view = white_box(victim)
    one_by_one = 0
    for row in range(len(few)):
        alone = white_box(victim)
        part = slice(row, row + 1)
        attacks()[0].perturb(alone, few[part], true[part], MINIMAL, Aux(), context())
        one_by_one += alone.meter.gradient
    attacks()[0].perturb(view, few, true, MINIMAL, Aux(), context())
    assert view.meter.gradient == pytest.approx(one_by_one, rel=0.02)  # nobody waits for the slowest
    # two forward evaluations a step and one to find that it has fallen, a gradient for each other class
    assert view.meter.gradient / 9 == pytest.approx((view.meter.forward - len(few)) / 2, rel=0.02)


def test_fewer_candidates_cost_less_and_fool_as_many(victim, few, true, white_box, context) -> None:
    views = [white_box(victim), white_box(victim)]
    for view, candidates in zip(views, (10, 3), strict=True):
        attack = deepfool.DeepFool(deepfool.Params(candidates=candidates))
        assert wrong(victim, attack.perturb(view, few, true, MINIMAL, Aux(), context()), true).all()
    assert views[1].meter.gradient < 0.4 * views[0].meter.gradient


def test_cw_stops_each_image_on_its_own(victim, images, labels, white_box, context) -> None:
    few, true = images[:20], labels[:20]
    view = white_box(victim)
    cw_l2.CarliniWagner(cw_l2.Params(searches=2, steps=300)).perturb(view, few, true, MINIMAL, Aux(), context())
    right = int((~wrong(victim, few, true)).sum())
    assert view.meter.gradient < 0.8 * 2 * 300 * right
    assert view.meter.gradient % right  # not all of them at once
    attack = cw_l2.CarliniWagner(cw_l2.Params(searches=2, steps=150))
    both = attack.perturb(white_box(victim), few[:2], true[:2], MINIMAL, Aux(), context())
    single = attack.perturb(white_box(victim), few[:1], true[:1], MINIMAL, Aux(), context())
    torch.testing.assert_close(both[:1], single, atol=2e-3, rtol=0)


def test_cw_confidence_is_a_margin_of_logits(victim, few, true, white_box, context) -> None:
    attack = cw_l2.CarliniWagner(cw_l2.Params(confidence=2.0))
    x_adv = attack.perturb(white_box(victim), few, true, MINIMAL, Aux(), context())
    logits = victim.scores(x_adv)
    others = logits.scatter(1, true[:, None], float("-inf")).amax(dim=1)
    margins = others - logits.gather(1, true[:, None]).squeeze(1)
    assert float(margins.min()) > 1.99
    assert float(margins.median()) < 2.2


def test_cw_does_not_see_a_shift_of_all_logits(victim, few, true, white_box, context) -> None:
    """torchattacks multiplies logits by the one-hot label, so that all of them shifted by -100 give no success."""

    class Shifted(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return victim.logits(x) - 100

    attack = cw_l2.CarliniWagner(cw_l2.Params(searches=3, steps=40))
    x_adv = attack.perturb(white_box(NetworkModel(Shifted(), 10)), few, true, MINIMAL, Aux(), context())
    assert wrong(victim, x_adv, true).all()


@pytest.mark.parametrize("attack", attacks(), ids=named)
def test_deadline_stops(victim, few, true, white_box, context, attack) -> None:
    late = context()
    late.deadline = 0.0
    with pytest.raises(DeadlineExceeded):
        attack.perturb(white_box(victim), few, true, MINIMAL, Aux(), late)


def test_the_quasi_newton_minima_are_scipys(victim, few, true) -> None:
    """Distortion plus loss, within a box that many coordinates end at: SciPy's L-BFGS-B image by image, in double."""
    wanted = (true + 1) % 10
    x = few[:6]
    twice = torch.nn.Module.double

    def value(points: Tensor, rows: Tensor, network: Any) -> Tensor:
        loss = F.cross_entropy(network(points), wanted[rows], reduction="none")
        return 0.3 * (points - x[rows].to(points.dtype)).square().flatten(1).sum(1) + loss

    def objective(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        leaf = points.detach().requires_grad_(True)
        values = value(leaf, rows, victim.weights())
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    found = minimise(objective, x, torch.zeros_like(x), torch.ones_like(x), steps=100, tolerance=1e-7)
    ours = objective(found, torch.arange(len(x)))[0]
    import copy

    exact = twice(copy.deepcopy(victim.weights()))
    for row in range(len(x)):

        def scalar(flat: np.ndarray, row: int = row) -> tuple[float, np.ndarray]:
            leaf = torch.tensor(flat).view(1, 1, 8, 8).requires_grad_(True)
            out = value(leaf, torch.tensor([row]), exact).sum()
            return float(out.detach()), torch.autograd.grad(out, leaf)[0].numpy().ravel()

        start = x[row].double().numpy().ravel()
        theirs = minimize(scalar, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 64, options={"ftol": 1e-10})
        assert float(ours[row]) < theirs.fun * 1.02 + 1e-4
    assert (found == 0).float().mean() > 0.05


@pytest.mark.fidelity
def test_deepfool_against_the_libraries(victim, images, labels, white_box, context) -> None:
    """As many fall as by ART's, which needs more; torchattacks clamps without going on."""
    import torchattacks
    from art.attacks.evasion import DeepFool as ArtDeepFool
    from art.estimators.classification import PyTorchClassifier

    right = ~wrong(victim, images, labels)
    x, y = images[right], labels[right]
    ours = attacks()[0].perturb(white_box(victim), x, y, MINIMAL, Aux(), context())
    estimator = PyTorchClassifier(
        victim.weights(), torch.nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    made = ArtDeepFool(estimator, max_iter=50, epsilon=0.02, batch_size=len(x), verbose=False).generate(x.numpy())
    theirs = torch.tensor(made)
    others = torchattacks.DeepFool(victim.weights(), steps=50)(x, y).detach()
    rates = [float(wrong(victim, made, y).float().mean()) for made in (ours, theirs, others)]
    assert rates[0] == 1
    assert rates[0] >= max(rates)
    both = wrong(victim, theirs, y)
    assert lengths(ours, x)[both].mean() <= 1.01 * lengths(theirs, x)[both].mean()


@pytest.mark.fidelity
def test_cw_against_the_libraries(victim, images, labels, white_box, context) -> None:
    import torchattacks
    from art.attacks.evasion import CarliniL2Method
    from art.estimators.classification import PyTorchClassifier

    x, y = images[:40], labels[:40]
    ours = cw_l2.CarliniWagner(cw_l2.Params()).perturb(white_box(victim), x, y, MINIMAL, Aux(), context())
    estimator = PyTorchClassifier(
        victim.weights(), torch.nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    settings = {"binary_search_steps": 6, "max_iter": 20, "learning_rate": 0.1, "initial_const": 1.0}
    made = CarliniL2Method(estimator, **settings, batch_size=40, verbose=False).generate(x.numpy(), np.eye(10)[y])
    theirs = torch.tensor(made)
    others = torchattacks.CW(victim.weights(), c=1, steps=600, lr=0.05)(x, y).detach()
    assert wrong(victim, ours, y).all()
    for other in (theirs, others):
        fell = wrong(victim, other, y)
        assert fell.float().mean() <= 1
        assert lengths(ours, x)[fell].mean() <= 1.05 * lengths(other, x)[fell].mean()

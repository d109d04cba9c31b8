"""NES, finite differences, ZO-signSGD, ZO-ADAM, ZOO, AutoZOOM and GenAttack: strength, budgets, queries."""

from __future__ import annotations

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from sparring.contracts import Aux, DeadlineExceeded
from sparring.data import ArrayDataset
from sparring.model import MeteredModel, Model, NotOffered
from sparring.threat import Access, Goal, Norm, ThreatModel
from sparring_attacks import autozoom, finite_difference, gen_attack, nes, uniform_noise, zo_adam, zo_signsgd, zoo
from sparring_attacks.aim import Aim
from sparring_attacks.coordinate_adam import AdamRates, CoordinateAdam
from sparring_attacks.gradient_estimators import central, forward, gaussian, on_sphere, signs_of_each
from sparring_attacks.margin import margin
from sparring_attacks.penalty_search import PenaltyConstants
from sparring_attacks.query_ledger import QueryLedger

BOUNDED = [
    (nes, {}),
    (finite_difference, {"grouping": "none"}),
    (finite_difference, {"grouping": "random", "directions": 24}),
    (finite_difference, {"grouping": "pca", "directions": 24}),
    (zo_signsgd, {}),
    (zo_signsgd, {"estimator": "central"}),
    (zo_signsgd, {"estimator": "majority-vote"}),
    (zo_adam, {}),
    (zo_adam, {"variant": "adam"}),
    (gen_attack, {}),
]
MINIMAL = [
    (zoo, {"learning_rate": 0.05, "coordinates": 16, "difference": 0.05}),
    (zoo, {"learning_rate": 0.05, "coordinates": 16, "difference": 0.05, "sampling": "importance"}),
    (autozoom, {"learning_rate": 0.03}),
    (autozoom, {"learning_rate": 0.03, "space": "autoencoder"}),
]


def named(case: object) -> str | None:
    if isinstance(case, dict):
        return "-".join(str(value) for value in case.values()) or "default"
    return case.SPEC.name if hasattr(case, "SPEC") else None


def score_view(model: Model) -> MeteredModel:
    return MeteredModel(model, frozenset({Access.SCORES}))


class Spy(Model):
    """Knows what it was asked, and answers as `inner`."""

    offers = frozenset({Access.DECISIONS, Access.SCORES})

    def __init__(self, inner: Model) -> None:
        self.inner, self.classes = inner, inner.classes
        self.seen: list[Tensor] = []

    def scores(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return self.inner.scores(x)

    def state(self):
        return self.inner.state()


class Forest(Model):
    """scikit-learn's forest; piecewise constant."""

    offers = frozenset({Access.DECISIONS, Access.SCORES, Access.PROBABILITIES})
    classes = 10

    def __init__(self, digits: ArrayDataset) -> None:
        forest = RandomForestClassifier(50, random_state=0)
        self.forest = forest.fit(digits.x[:-300].reshape(-1, 64), digits.y[:-300])

    def scores(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.forest.predict_proba(x.flatten(1).numpy())).float()

    def state(self):
        return {}


@pytest.fixture(scope="module")
def forest(digits) -> Forest:
    return Forest(digits)


def attacked(module, params, model, images, labels, digits, ctx, goal_labels=None, **fields) -> Tensor:
    aux = Aux(train=digits, goal_labels=goal_labels)
    goal = Goal.EVASION if goal_labels is None else Goal.TARGETED
    plugin = module.SPEC.load(module.Params(**params))
    return plugin.perturb(score_view(model), images, labels, ThreatModel(goal=goal, **fields), aux, ctx)


def success(model: Model, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) != labels).float().mean())


@pytest.mark.parametrize(("module", "params"), BOUNDED, ids=named)
def test_bounded_attacks_beat_noise_and_more_queries_do_no_less(
    victim, images, labels, digits, context, module, params
) -> None:
    few_images, few_labels = images[:60], labels[:60]
    noise = uniform_noise.UniformNoise(uniform_noise.SPEC.params())
    bounded = ThreatModel(norm=Norm.LINF, epsilon=0.2)
    by_chance = success(
        victim, noise.perturb(score_view(victim), few_images, few_labels, bounded, Aux(), context()), few_labels
    )
    rates = []
    for budget in (150, 700):
        x_adv = attacked(
            module,
            params,
            victim,
            few_images,
            few_labels,
            digits,
            context(),
            norm=Norm.LINF,
            epsilon=0.2,
            query_budget=budget,
        )
        assert float((x_adv.double() - few_images.double()).abs().max()) <= 0.2
        rates.append(success(victim, x_adv, few_labels))
    assert rates[1] > by_chance + 0.4
    assert rates[1] >= rates[0]


@pytest.mark.parametrize(("module", "params"), [case for case in BOUNDED if case[0] is not gen_attack], ids=named)
def test_they_descend_in_l2_too(victim, images, labels, digits, context, module, params) -> None:
    few, few_labels = images[:40], labels[:40]
    x_adv = attacked(
        module, params, victim, few, few_labels, digits, context(), norm=Norm.L2, epsilon=1.2, query_budget=600
    )
    assert float((x_adv.double() - few.double()).flatten(1).norm(dim=1).max()) <= 1.2
    assert success(victim, x_adv, few_labels) > 0.6


@pytest.mark.parametrize(("module", "params"), BOUNDED[:1] + BOUNDED[3:5] + BOUNDED[7:8] + BOUNDED[9:], ids=named)
def test_targeted_attacks_reach_the_wanted_labels(victim, images, labels, digits, context, module, params) -> None:
    few, wanted = images[:40], (labels[:40] + 1) % 10
    x_adv = attacked(
        module,
        params,
        victim,
        few,
        labels[:40],
        digits,
        context(),
        wanted,
        norm=Norm.LINF,
        epsilon=0.5,
        query_budget=1000,
    )
    assert (victim.predict(x_adv) == wanted).float().mean() > 0.7


@pytest.mark.parametrize(("module", "params"), BOUNDED[:1] + BOUNDED[2:5] + BOUNDED[7:8] + BOUNDED[9:], ids=named)
def test_a_forest_falls_too(forest, images, labels, digits, context, module, params) -> None:
    right = (forest.predict(images) == labels).nonzero()[:20, 0]
    few, few_labels = images[right], labels[right]
    x_adv = attacked(
        module, params, forest, few, few_labels, digits, context(), norm=Norm.LINF, epsilon=0.25, query_budget=250
    )
    assert success(forest, x_adv, few_labels) > 0.5


@pytest.mark.parametrize(("module", "params"), MINIMAL, ids=named)
def test_minimal_attacks_find_near_examples_and_more_queries_bring_them_nearer(
    victim, images, labels, digits, context, module, params
) -> None:
    few, few_labels = images[:12], labels[:12]
    reached, distances = [], []
    for budget in (400, 1200):
        x_adv = attacked(module, params, victim, few, few_labels, digits, context(), query_budget=budget)
        wrong = victim.predict(x_adv) != few_labels
        reached.append(wrong)
        distances.append((x_adv - few).flatten(1).norm(dim=1))
        assert (distances[-1][~wrong] == 0).all(), "where nothing was found, nothing is changed"
    assert reached[1].float().mean() > 0.9
    assert (reached[1] >= reached[0]).all()
    both = reached[0]
    assert (distances[1][both] <= distances[0][both] + 1e-6).all()
    assert distances[1][reached[1]].mean() < 1.3, "projected gradient descent needs about 0.7"


@pytest.mark.parametrize(("module", "params"), MINIMAL[::2], ids=named)
def test_minimal_attacks_reach_wanted_labels_and_forests(
    victim, forest, images, labels, digits, context, module, params
) -> None:
    few, wanted = images[:12], (labels[:12] + 1) % 10
    x_adv = attacked(module, params, victim, few, labels[:12], digits, context(), wanted, query_budget=1500)
    assert (victim.predict(x_adv) == wanted).float().mean() > 0.7
    right = (forest.predict(images) == labels).nonzero()[:12, 0]
    x_adv = attacked(module, params, forest, images[right], labels[right], digits, context(), query_budget=400)
    assert success(forest, x_adv, labels[right]) > 0.4


def test_constants_grow_until_they_serve_and_close_in_from_there() -> None:
    constants, rows = PenaltyConstants(1.0, torch.zeros(2)), torch.arange(2)
    for reached in ([False, False], [True, False], [False, False], [True, False]):
        constants.tried(rows, torch.tensor(reached))
    assert constants.value.tolist() == pytest.approx([6.625, 1e4])  # 1, 10; 5.5; 7.75; 6.625
    for _ in range(10):
        constants.tried(rows[1:], torch.tensor([False]))
    assert float(constants.value[1]) == pytest.approx(1e10)


@pytest.mark.parametrize("budget", [1, 2, 40, 301])
@pytest.mark.parametrize(("module", "params"), BOUNDED + MINIMAL, ids=named)
def test_no_image_spends_more_than_its_budget(victim, images, labels, digits, context, module, params, budget) -> None:
    """One image, so that what was seen is what it spent; and its queries are images."""
    spy, one = Spy(victim), slice(budget % 7, budget % 7 + 1)
    attacked(
        module,
        params,
        spy,
        images[one],
        labels[one],
        digits,
        context(budget),
        norm=Norm.LINF,
        epsilon=0.02,
        query_budget=budget,
    )
    assert 1 <= sum(len(seen) for seen in spy.seen) <= budget
    assert all(seen.min() >= 0 and seen.max() <= 1 for seen in spy.seen)


@pytest.mark.parametrize(("module", "params"), BOUNDED, ids=named)
def test_images_that_are_wrong_already_cost_one_query(victim, images, labels, digits, context, module, params) -> None:
    spy = Spy(victim)
    others = (victim.predict(images) + 1) % 10
    x_adv = attacked(module, params, spy, images, others, digits, context(), norm=Norm.LINF, epsilon=0.2)
    assert torch.equal(x_adv, images)
    assert sum(len(seen) for seen in spy.seen) == len(images)


def test_success_curve_counts_queries_of_each_image(victim, images, labels, digits, context) -> None:
    ctx = context()
    x_adv = attacked(
        nes, {}, victim, images[:60], labels[:60], digits, ctx, norm=Norm.LINF, epsilon=0.2, query_budget=600
    )
    queries, shares = zip(*ctx.curves["success"], strict=True)
    assert list(queries) == sorted(set(queries))
    assert queries[0] >= 1
    assert queries[-1] <= 600
    assert shares[-1] == pytest.approx(success(victim, x_adv, labels[:60]))


def test_ledger_refuses_an_overdraft(victim, images, labels) -> None:
    ledger = QueryLedger(score_view(victim), Aim(labels[:3], targeted=False), 4)
    ledger.margins(torch.tensor([0, 2]), images[[0, 2], None].expand(-1, 3, -1, -1, -1))
    assert ledger.spent.tolist() == [3, 0, 3]
    assert ledger.affording(2).tolist() == [1]
    with pytest.raises(ValueError, match="more than the rest of the budget of 4 queries"):
        ledger.margins(torch.tensor([0]), images[:1, None].expand(-1, 2, -1, -1, -1))


def test_scores_are_enough_and_nothing_else_is_asked(victim, images, labels, digits, context) -> None:
    assert all(module.SPEC.needs <= {Access.SCORES, Access.TRAINING_DATA} for module, _ in BOUNDED + MINIMAL)
    with pytest.raises(NotOffered):
        nes.SPEC.load(nes.Params()).perturb(
            MeteredModel(victim, frozenset({Access.DECISIONS})), images, labels, ThreatModel(), Aux(), context()
        )


@pytest.mark.parametrize(("module", "params"), BOUNDED[::3] + MINIMAL[::2], ids=named)
def test_time_limits_stop_them(victim, images, labels, digits, context, module, params) -> None:
    late = context()
    late.deadline = 0.0
    with pytest.raises(DeadlineExceeded):
        attacked(module, params, victim, images, labels, digits, late)


@pytest.mark.parametrize(("module", "params"), [BOUNDED[3], MINIMAL[3]], ids=named)
def test_training_images_are_asked_for_where_they_are_missing(victim, images, labels, context, module, params) -> None:
    with pytest.raises(ValueError, match="training images"):
        attacked(module, params, victim, images, labels, None, context())


def test_margin_is_negative_exactly_where_the_aim_is_reached() -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0], [1.0, 1.0, 0.0]])
    zeros = torch.zeros(3, dtype=torch.int64)
    assert margin(scores, Aim(zeros, targeted=False)).tolist() == [2.0, -5.0, 0.0]
    assert margin(scores, Aim(zeros, targeted=True)).tolist() == [-2.0, 5.0, 0.0]


# estimators


def losses_and_gradients(victim, x: Tensor, labels: Tensor):
    """The margin as a function of (M, Q, C, H, W), its values and its true gradients at `x`."""
    aim = Aim(labels, targeted=False)

    def ask(points: Tensor) -> Tensor:
        with torch.no_grad():
            scores = victim.scores(points.flatten(0, 1))
        return margin(scores, aim.rows(torch.arange(len(x)).repeat_interleave(points.shape[1]))).view(len(x), -1)

    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(margin(victim.logits(leaf), aim).sum(), leaf)
    return ask, ask(x[:, None])[:, 0], gradient


@pytest.mark.parametrize("estimator", ["antithetic", "forward", "central", "votes"])
def test_random_estimates_point_on_average_along_the_true_gradient(victim, images, labels, estimator) -> None:
    """2,000 directions in 64 dimensions: the cosine is about sqrt(q / (q + d)) = 0.98; nothing is near 0 or 1."""
    x, generator = 0.3 + 0.4 * images[:8], torch.Generator().manual_seed(0)
    ask, values, gradient = losses_and_gradients(victim, x, labels[:8])
    ways = on_sphere(x, 2000, 0.05, generator)
    estimate = {
        "antithetic": lambda: central(ask, x, gaussian(x, 2000, 0.005, generator)),
        "forward": lambda: forward(ask, x, values, ways),
        "central": lambda: central(ask, x, ways),
        "votes": lambda: signs_of_each(ask, x, values, ways),
    }[estimator]()
    cosine = torch.cosine_similarity(estimate.flatten(1), gradient.flatten(1))
    assert cosine.mean() > (0.85 if estimator == "votes" else 0.95)


def test_size_of_a_random_estimate_is_q_over_d_of_the_gradient(victim, images, labels) -> None:
    x = 0.3 + 0.4 * images[:8]
    ask, _, gradient = losses_and_gradients(victim, x, labels[:8])
    estimate = central(ask, x, on_sphere(x, 6400, 0.02, torch.Generator().manual_seed(1)))
    along = (estimate * gradient).flatten(1).sum(dim=1) / gradient.flatten(1).square().sum(dim=1)
    torch.testing.assert_close(along, torch.full((8,), 6400 / 64), rtol=0.1, atol=0)


def test_differences_along_all_pixels_are_the_gradient(victim, images, labels) -> None:
    x = 0.3 + 0.4 * images[:8]
    ask, _, gradient = losses_and_gradients(victim, x, labels[:8])
    estimate = central(ask, x, 1e-2 * torch.eye(64).view(1, 64, 1, 8, 8))
    assert torch.cosine_similarity(estimate.flatten(1), gradient.flatten(1)).min() > 0.98


def test_groups_hold_every_value_once_and_components_are_orthogonal(digits, context) -> None:
    groups = finite_difference.random_groups(64, 10, context())
    assert groups.sum(dim=0).eq(1).all()
    assert set(groups.sum(dim=1).tolist()) == {6.0, 7.0}
    components = finite_difference.principal_components(digits, 5).double()
    assert components.abs().amax(dim=1).tolist() == pytest.approx([1] * 5)
    products = components @ components.T
    assert (products - products.diag().diag()).abs().max() < 1e-3
    images = torch.tensor(digits.x).flatten(1).double()
    spread = (images @ (components / components.norm(dim=1, keepdim=True)).T).std(dim=0)
    assert spread.tolist() == sorted(spread.tolist(), reverse=True)


def test_components_need_fewer_queries_than_pixels_for_the_same_success(
    victim, images, labels, digits, context
) -> None:
    spent = {}
    for grouping in ("none", "pca"):
        ctx = context()
        params = {"grouping": grouping, "directions": 16}
        x_adv = attacked(
            finite_difference,
            params,
            victim,
            images[:80],
            labels[:80],
            digits,
            ctx,
            norm=Norm.L2,
            epsilon=1.5,
            query_budget=1300,
        )
        assert success(victim, x_adv, labels[:80]) > 0.9
        spent[grouping] = next(queries for queries, share in ctx.curves["success"] if share > 0.9)
    assert spent["pca"] < 0.7 * spent["none"]


def test_adam_over_chosen_coordinates_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = torch.nn.Parameter(torch.zeros(3, 5))
    optimiser = torch.optim.Adam([theirs], lr=0.1)
    adam, ours, rows = CoordinateAdam(torch.zeros(3, 6), AdamRates(0.1)), torch.zeros(3, 6), torch.arange(3)
    for _ in range(5):
        gradient = torch.randn(3, 5, generator=generator)
        ours[:, :5] -= adam.step(rows, torch.arange(5)[None], gradient)
        theirs.grad = gradient
        optimiser.step()
    torch.testing.assert_close(ours[:, :5], theirs.detach(), rtol=1e-4, atol=1e-5)
    assert (ours[:, 5] == 0).all(), "coordinates that are never chosen stay"


def test_monotone_adam_divides_by_the_largest_second_moment() -> None:
    adam, row = CoordinateAdam(torch.zeros(1, 1), AdamRates(1.0, 0.5, 0.5, monotone=True)), torch.zeros(1).long()
    steps = [float(adam.step(row, row[None], torch.tensor([[slope]]))) for slope in (4.0, 0.0, 2.0)]
    # means 2, 1, 1.5; second moments 8, 4, 4, of which 8 stays the largest
    assert steps == pytest.approx([mean / 8**0.5 for mean in (2, 1, 1.5)])

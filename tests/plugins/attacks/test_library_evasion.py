"""Evasion attacks that torchattacks and ART implement: as strong as the library called by hand on the same model and
images with the same budget, within their budgets, on victims without gradients, and stopped by a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparring.contracts import Aux, DeadlineExceeded
from sparring.model import MeteredModel, Model, NetworkModel
from sparring.plugin import AttackSpec
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel
from sparring_attacks import (
    apgd,
    autoattack,
    bim,
    boundary,
    ead,
    fab,
    fgm_l2,
    geoda,
    hop_skip_jump,
    jsma,
    mi_fgsm,
    one_pixel,
    sign_opt,
    simba,
    square,
)
from sparring_attacks.distortion_limits import distance

BOUNDED = ThreatModel(budget=Budget.BOUNDED, epsilon=0.15)
DECISION_BASED = (boundary, hop_skip_jump, sign_opt, geoda)
ALL = (fgm_l2, bim, mi_fgsm, apgd, fab, ead, jsma, autoattack, square, simba, one_pixel, *DECISION_BASED)


@pytest.fixture(scope="module")
def right(victim: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """40 images that the victim gets right."""
    rows = (victim.predict(images) == labels).nonzero().flatten()[:40]
    return images[rows], labels[rows]


@pytest.fixture
def attacked(context) -> Callable[..., tuple[Tensor, MeteredModel]]:
    """Runs a plugin with what it declares; the meter holds it to its budget."""

    def run(
        spec: AttackSpec,
        model: Model,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel = BOUNDED,
        seed: int = 0,
        **params: Any,
    ) -> tuple[Tensor, MeteredModel]:
        stated = threat.restricted_to(spec.reads).over(spec.threat)
        if stated.budget is Budget.MINIMAL:
            stated = replace(stated, epsilon=None)
        allowed = None if stated.query_budget is None else stated.query_budget * len(x)
        view = MeteredModel(model, spec.needs, allowed, attack=spec.name)
        aux = Aux(goal_labels=(y + 1) % model.classes)
        made = spec.load(spec.params(**params)).perturb(view, x, y, stated, aux, context())
        return made, view

    return run


def seed_of(context: Any, seed: int = 0) -> int:
    """What the adapters draw as the library's seed."""
    return int(torch.randint(2**31, (), generator=context(seed).generator))


def success(model: Model, x_adv: Tensor, y: Tensor) -> float:
    return float((model.predict(x_adv) != y).float().mean())


# white box, against torchattacks by hand

STEPS = {"eps": 0.15, "steps": 8}
BY_HAND: dict[str, tuple[Any, dict[str, Any], ThreatModel, Callable[[Any, nn.Module, int], Any]]] = {
    "bim": (bim, {"steps": 8}, BOUNDED, lambda lib, net, seed: lib.BIM(net, alpha=0.15 / 8, **STEPS)),
    "mi-fgsm": (mi_fgsm, {"steps": 8}, BOUNDED, lambda lib, net, seed: lib.MIFGSM(net, alpha=0.15 / 8, **STEPS)),
    "apgd-ce": (apgd, {"steps": 8}, BOUNDED, lambda lib, net, seed: lib.APGD(net, seed=seed, **STEPS)),
    "apgd-dlr": (
        apgd,
        {"steps": 8, "loss": "dlr"},
        BOUNDED,
        lambda lib, net, seed: lib.APGD(net, loss="dlr", seed=seed, **STEPS),
    ),
    "apgd-targeted": (
        apgd,
        {"steps": 8, "loss": "dlr-targeted"},
        BOUNDED,
        lambda lib, net, seed: lib.APGDT(net, seed=seed, **STEPS),
    ),
    "fab-linf": (fab, {"steps": 8}, ThreatModel(), lambda lib, net, seed: lib.FAB(net, eps=9.0, steps=8)),
    "fab-l2": (
        fab,
        {"steps": 8},
        ThreatModel(norm=Norm.L2, budget=Budget.BOUNDED, epsilon=0.6),
        lambda lib, net, seed: lib.FAB(net, norm="L2", eps=0.6, steps=8),
    ),
    "square": (
        square,
        {"share": 0.7},
        replace(BOUNDED, query_budget=83),
        lambda lib, net, seed: lib.Square(net, eps=0.15, n_queries=80, p_init=0.7, seed=seed),
    ),
    "ead": (
        ead,
        {"searches": 4, "steps": 30},
        ThreatModel(),
        lambda lib, net, seed: lib.EADEN(net, binary_search_steps=4, max_iterations=30, beta=0.01),
    ),
    "ead-l1": (
        ead,
        {"searches": 4, "steps": 30, "decision": "l1"},
        ThreatModel(),
        lambda lib, net, seed: lib.EADL1(net, binary_search_steps=4, max_iterations=30, beta=0.01),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_as_strong_as_torchattacks_by_hand(victim, right, attacked, context, name) -> None:
    import torchattacks

    module, params, threat, build = BY_HAND[name]
    x, y = right
    ours, _ = attacked(module.SPEC, victim, x, y, threat, **params)
    assert isinstance(victim, NetworkModel)
    with torch.random.fork_rng():
        theirs = build(torchattacks, victim.network, seed_of(context))(x, y).detach()
    norm = threat.norm or module.SPEC.threat.norm
    assert success(victim, ours, y) == pytest.approx(success(victim, theirs, y), abs=0.02)
    assert success(victim, ours, y) > 0.3
    fell = (victim.predict(ours) != y) & (victim.predict(theirs) != y)
    mine, by_hand = distance(ours[fell], x[fell], norm).mean(), distance(theirs[fell], x[fell], norm).mean()
    assert float(mine) == pytest.approx(float(by_hand), rel=0.05)


def test_fgm_l2_takes_the_step_of_its_formula(victim, right, attacked) -> None:
    x, y = right
    ours, view = attacked(fgm_l2.SPEC, victim, x, y, ThreatModel(epsilon=1.0))
    gradient = victim.gradient(x, y)
    expected = (x + gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(0, 1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (view.meter.forward, view.meter.gradient) == (len(x), len(x))


def test_jsma_changes_the_pixels_that_torchattacks_does(victim, right, attacked) -> None:
    import torchattacks

    x, y = right[0][:20], right[1][:20]
    ours, view = attacked(jsma.SPEC, victim, x, y, ThreatModel(goal=Goal.TARGETED))
    assert isinstance(victim, NetworkModel)
    by_hand = torchattacks.JSMA(victim.network, theta=1.0, gamma=0.145)
    by_hand.set_mode_targeted_by_label(quiet=True)
    theirs = by_hand(x, (y + 1) % 10).detach()
    assert torch.equal(ours, theirs)
    assert float((victim.predict(ours) == (y + 1) % 10).float().mean()) > 0.5
    assert distance(ours, x, Norm.L0).max() <= 10  # 14.5 % of 64 values, rounded up to pairs
    assert view.meter.forward + view.meter.gradient <= 20 * (1 + jsma.STEP_COST * 5)


def test_one_pixel_is_as_strong_as_by_hand(victim, right, attacked, context) -> None:
    import torchattacks

    x, y = right[0][:12], right[1][:12]
    ours, _ = attacked(one_pixel.SPEC, victim, x, y, ThreatModel(epsilon=3.0), population=45, generations=5)
    seed = seed_of(context)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    assert isinstance(victim, NetworkModel)
    theirs = torchattacks.OnePixel(victim.network, pixels=3, steps=5, popsize=45)(x, y)
    np.random.set_state(state)  # noqa: NPY002
    assert success(victim, ours, y) == pytest.approx(success(victim, theirs, y), abs=0.1)  # one of twelve
    assert success(victim, ours, y) > 0.15
    assert distance(ours, x, Norm.L0).max() <= 3


def test_mi_fgsm_stays_where_a_gradient_is_zero(victim, right, attacked) -> None:
    """torchattacks divides zero by zero there, and the image turns to NaN."""

    class Steep(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return 40 * self.network(x)

    x, y = right
    assert isinstance(victim, NetworkModel)
    steep = NetworkModel(Steep(victim.network), 10)
    without = steep.gradient(x, y).flatten(1).abs().amax(dim=1) == 0
    ours, _ = attacked(mi_fgsm.SPEC, steep, x, y)
    assert 0 < int(without.sum()) < len(x)
    assert torch.isfinite(ours).all()
    assert torch.equal(ours[without], x[without])
    assert success(steep, ours[~without], y[~without]) > 0


def test_ead_does_not_depend_on_where_logits_are_zero(victim, right, attacked) -> None:
    class Lowered(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x) - 100

    x, y = right[0][:16], right[1][:16]
    assert isinstance(victim, NetworkModel)
    lowered = NetworkModel(Lowered(victim.network), 10)
    sizes = [
        distance(attacked(ead.SPEC, model, x, y, searches=4, steps=30)[0], x, Norm.L2).mean()
        for model in (victim, lowered)
    ]
    assert float(sizes[1]) == pytest.approx(float(sizes[0]), rel=0.02)


def test_ead_stays_in_the_pixel_range(victim, right, attacked) -> None:
    made, _ = attacked(ead.SPEC, victim, *right, searches=5, steps=60)
    assert made.min() >= 0
    assert made.max() <= 1


def test_autoattack_is_at_least_as_strong_as_its_first_member(victim, right, attacked) -> None:
    x, y = right
    threat = replace(BOUNDED, epsilon=0.1)
    alone, _ = attacked(apgd.SPEC, victim, x, y, threat, steps=20)
    whole, view = attacked(autoattack.SPEC, victim, x, y, threat, preset="reduced")
    assert success(victim, whole, y) >= success(victim, alone, y) > 0.1
    stands = victim.predict(whole) == y
    assert torch.equal(whole[stands], x[stands])
    worst = sum(m.cost for m in autoattack.members("reduced", Norm.LINF, 0.1, 10, x))
    assert view.meter.forward + view.meter.gradient <= worst * len(x)


# decisions and probabilities only, against ART by hand


def art_by_hand(name: str, estimator: Any, x: Any, y: Any, start: Any) -> Any:
    from art.attacks.evasion import BoundaryAttack, HopSkipJump, SimBA

    if name == "boundary":
        attack = BoundaryAttack(estimator, targeted=False, max_iter=12, verbose=False)
        return attack.generate(x, y, x_adv_init=start)
    if name == "hopskipjump":
        attack = HopSkipJump(estimator, targeted=False, max_iter=4, init_eval=50, verbose=False)
        return attack.generate(x, y, x_adv_init=start)
    softmax = SimBA(estimator, attack="px", max_iter=150, epsilon=0.2, verbose=False)
    return softmax.generate(x, y)


@pytest.mark.parametrize(
    ("module", "slack", "params"),
    [
        (boundary, 1.1, {}),
        (hop_skip_jump, 1.1, {"first_samples": 50}),
        (simba, 1.1, {}),
    ],
)
def test_as_strong_as_art_by_hand_with_as_many_queries(victim, right, attacked, module, slack, params) -> None:
    from art.estimators.classification import PyTorchClassifier

    class Asked(nn.Module):
        rows = 0

        def forward(self, x: Tensor) -> Tensor:
            Asked.rows += len(x)
            return victim.probabilities(x.float())

    x, y = right[0][:8], right[1][:8]
    estimator = PyTorchClassifier(Asked(), nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    noise = np.random.uniform(size=(200, 1, 8, 8)).astype(np.float32)  # noqa: NPY002
    decided = victim.predict(torch.tensor(noise)).numpy()
    start = np.stack([noise[(decided != int(label)).argmax()] for label in y])
    theirs = torch.tensor(art_by_hand(module.SPEC.name, estimator, x.numpy(), np.eye(10)[y], start))
    np.random.set_state(state)  # noqa: NPY002
    queries = 300 if module is simba else Asked.rows // len(x)  # SimBA ends by itself, after 150 pairs at most
    ours, view = attacked(module.SPEC, victim, x, y, ThreatModel(query_budget=queries), **params)
    assert view.meter.gradient == 0
    assert success(victim, ours, y) >= success(victim, theirs, y) - 0.02
    assert success(victim, ours, y) > 0.8
    mine, by_hand = distance(ours, x, Norm.L2).median(), distance(theirs, x, Norm.L2).median()
    assert float(mine) <= slack * float(by_hand)  # other random numbers; and the nearest image asked about is kept


def test_sign_opt_goes_as_far_as_arts_with_equal_random_numbers(victim, right, attacked, context) -> None:
    """Directions in one batch are the numbers that ART draws one by one."""
    from art.attacks.evasion import SignOPTAttack
    from art.estimators.classification import PyTorchClassifier

    class Asked(nn.Module):
        rows = 0

        def forward(self, x: Tensor) -> Tensor:
            Asked.rows += len(x)
            return victim.probabilities(x.float())

    estimator = PyTorchClassifier(Asked(), nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    seed = seed_of(context)
    for x, y in zip(right[0][:2].split(1), right[1][:2].split(1), strict=True):
        Asked.rows = 0
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        by_hand = SignOPTAttack(estimator, targeted=False, max_iter=3, num_trial=20, k=50, verbose=False)
        theirs = torch.tensor(by_hand.generate(x.numpy(), np.eye(10)[y]))
        np.random.set_state(state)  # noqa: NPY002
        ours, view = attacked(
            sign_opt.SPEC, victim, x, y, ThreatModel(query_budget=Asked.rows), starts=20, directions=50
        )
        assert view.meter.gradient == 0
        assert success(victim, ours, y) == success(victim, theirs, y) == 1
        # ours: the nearest image asked about; ART's: the last, and sums of float32 in another order
        assert float(distance(ours, x, Norm.L2)) <= 1.01 * float(distance(theirs, x, Norm.L2))


@pytest.mark.parametrize("module", DECISION_BASED, ids=lambda module: module.SPEC.name)
def test_models_of_two_classes_fall(digits, images, labels, attacked, module) -> None:
    """ART's SignOPT refuses them, whatever the classifier puts out."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    zeros, ones = (torch.tensor(digits.x[digits.y == digit]).flatten(1).mean(dim=0) for digit in (0, 1))
    with torch.no_grad():  # the nearest of two means
        network[1].weight.copy_(torch.stack([zeros, ones]))
        network[1].bias.copy_(-torch.stack([zeros, ones]).square().sum(dim=1) / 2)
    model = NetworkModel(network, 2)
    rows = (labels < 2).nonzero().flatten()[:6]
    x, y = images[rows], labels[rows]
    assert success(model, x, y) == 0
    made, _ = attacked(module.SPEC, model, x, y, ThreatModel(query_budget=400))
    assert success(model, made, y) == 1
    apart = (zeros - ones).norm()
    plane = (x.flatten(1) @ (zeros - ones) - (zeros.square().sum() - ones.square().sum()) / 2).abs() / apart
    assert (distance(made, x, Norm.L2) >= 0.999 * plane).all()  # nothing is nearer than the plane between them
    assert distance(made, x, Norm.L2).median() < 3 * plane.median()


def test_geoda_comes_nearer_with_more_queries(victim, right, attacked, tmp_path, monkeypatch) -> None:
    """ART's own cannot be called by hand: it uses np.mat, which numpy 2 has not."""
    monkeypatch.chdir(tmp_path)
    x, y = right[0][:10], right[1][:10]
    far, near = (attacked(geoda.SPEC, victim, x, y, ThreatModel(query_budget=queries))[0] for queries in (60, 600))
    assert success(victim, near, y) == 1
    assert distance(near, x, Norm.L2).median() < 0.8 * distance(far, x, Norm.L2).median()
    assert list(tmp_path.iterdir()) == []  # ART's writes its basis into the working directory


@pytest.fixture(scope="module")
def without_gradients(digits, tmp_path_factory) -> dict[str, Model]:
    from sparring.contracts import Context
    from sparring_victims import random_forest, rbf_svm

    made = {}
    for spec, params in ((random_forest.SPEC, {"trees": 20}), (rbf_svm.SPEC, {})):
        victim = spec.load(spec.params(**params))
        ctx = Context(seed=0, device="cpu", scratch=tmp_path_factory.mktemp("victim"))
        made[spec.name] = victim.fit(digits, victim.recipe(), ctx)
    return made


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((module, name) for module in (*DECISION_BASED, square) for name in ("random-forest", "rbf-svm")),
        (simba, "random-forest"),
        (one_pixel, "random-forest"),
    ],
)
def test_victims_without_gradients_fall(without_gradients, right, attacked, module, name) -> None:
    model = without_gradients[name]
    x, y = right[0][:5], right[1][:5]
    assert module.SPEC.needs <= model.offers
    assert success(model, x, y) == 0
    threat = ThreatModel(
        query_budget=250, budget=Budget.BOUNDED, epsilon={square: 0.4, one_pixel: 5.0}.get(module, 8.0)
    )
    made, view = attacked(module.SPEC, model, x, y, threat)
    assert success(model, made, y) >= 0.6
    assert view.meter.gradient == 0


@pytest.mark.parametrize("queries", [1, 2, 9, 40])
@pytest.mark.parametrize("module", ALL, ids=lambda module: module.SPEC.name)
def test_a_small_query_budget_is_kept(victim, right, attacked, module, queries) -> None:
    x, y = right[0][:3], right[1][:3]
    made, view = attacked(module.SPEC, victim, x, y, ThreatModel(query_budget=queries))  # the meter raises beyond it
    assert view.meter.forward + view.meter.gradient <= queries * len(x)
    assert made.shape == x.shape


@pytest.mark.parametrize("module", [fab, ead, simba, *DECISION_BASED], ids=lambda module: module.SPEC.name)
def test_what_ends_up_beyond_epsilon_is_left_as_it_was(victim, right, attacked, module) -> None:
    x, y = right[0][:8], right[1][:8]
    norm = module.SPEC.threat.norm
    free, _ = attacked(module.SPEC, victim, x, y, ThreatModel(query_budget=400))
    moved = distance(free, x, norm)
    epsilon = float(moved.median())
    bounded, _ = attacked(
        module.SPEC, victim, x, y, ThreatModel(query_budget=400, budget=Budget.BOUNDED, epsilon=epsilon)
    )
    after = distance(bounded, x, norm)
    assert moved.max() > epsilon
    assert after.max() <= epsilon
    assert (after == 0).any()
    assert (after > 0).any()


@pytest.mark.parametrize("module", [boundary, hop_skip_jump, simba], ids=lambda module: module.SPEC.name)
def test_targets_are_reached(victim, right, attacked, module) -> None:
    x, y = right[0][:12], right[1][:12]
    made, _ = attacked(module.SPEC, victim, x, y, ThreatModel(goal=Goal.TARGETED, query_budget=600))
    assert float((victim.predict(made) == (y + 1) % 10).float().mean()) >= 0.5


@pytest.mark.parametrize("module", [simba, *DECISION_BASED], ids=lambda module: module.SPEC.name)
def test_images_that_are_wrong_already_are_left_alone(victim, right, attacked, module) -> None:
    """ART's attacks leave the predicted label, which may lead back to the true one."""
    x, y = right[0][:4], right[1][:4]
    made, view = attacked(module.SPEC, victim, x, (y + 1) % 10, ThreatModel(query_budget=200))
    assert torch.equal(made, x)
    assert view.meter.forward == len(x)


@pytest.mark.parametrize("module", [autoattack, one_pixel, *DECISION_BASED], ids=lambda module: module.SPEC.name)
def test_a_time_limit_stops_it_within_one_image(victim, right, context, module) -> None:
    ctx = context()
    ctx.deadline = time.monotonic()
    spec: AttackSpec = module.SPEC
    view = MeteredModel(victim, spec.needs)
    with pytest.raises(DeadlineExceeded):
        spec.load(spec.params()).perturb(view, *right, replace(spec.threat, query_budget=None), Aux(), ctx)
    assert view.meter.forward < 10 * len(right[0])


def test_access_is_what_each_kind_of_attack_sees() -> None:
    assert {module.SPEC.needs for module in DECISION_BASED} == {frozenset({Access.DECISIONS})}
    assert square.SPEC.needs == frozenset({Access.SCORES})
    assert simba.SPEC.needs == one_pixel.SPEC.needs == frozenset({Access.PROBABILITIES})

"""FGSM and PGD: strength, budgets, backends, queries, and what they must leave alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparring.contracts import Aux, DeadlineExceeded
from sparring.data import distortion
from sparring.model import MeteredModel, Model, NetworkModel, QueryBudgetExceeded
from sparring.threat import Access, Goal, Norm, ThreatModel
from sparring_attacks import fgsm, gaussian_noise, pgd, uniform_noise

BACKENDS = ("torchattacks", "art")
NORMS = (Norm.LINF, Norm.L2)
EPSILONS = {Norm.LINF: 0.15, Norm.L2: 1.0}
EVASION = ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.15)


def threat(norm: Norm = Norm.LINF, epsilon: float | None = None, **fields: object) -> ThreatModel:
    return ThreatModel(norm=norm, epsilon=EPSILONS[norm] if epsilon is None else epsilon, **fields)


def success(model: Model, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) != labels).float().mean())


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_beats_fgsm_beats_noise_at_the_same_epsilon(victim, images, labels, white_box, context, norm) -> None:
    attacks = [
        gaussian_noise.GaussianNoise(gaussian_noise.SPEC.params()),
        fgsm.FastGradientMethod(fgsm.Params()),
        pgd.ProjectedGradientDescent(pgd.Params(steps=20)),
    ]
    rates = [
        success(victim, a.perturb(white_box(victim), images, labels, threat(norm), Aux(), context()), labels)
        for a in attacks
    ]
    clean = success(victim, images, labels)
    assert clean < 0.08
    assert rates[0] < clean + 0.1
    assert rates[0] + 0.2 < rates[1]
    assert rates[1] + 0.05 < rates[2]


def one_of_each_backend(attack: str) -> list[object]:
    if attack == "fgsm":
        return [fgsm.FastGradientMethod(fgsm.Params(backend=b)) for b in BACKENDS]
    return [pgd.ProjectedGradientDescent(pgd.Params(backend=b, steps=10, random_start=False)) for b in BACKENDS]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_backends_give_the_same_examples(victim, images, labels, white_box, context, attack, norm, targeted) -> None:
    """Away from 0 and 1. There, in L2, torchattacks projects and then clips, ART clips and then projects."""
    grey = 0.4 + 0.2 * images
    goal, aux = (Goal.TARGETED if targeted else Goal.EVASION), Aux(goal_labels=(labels + 3) % 10)
    small = threat(norm, {Norm.LINF: 0.1, Norm.L2: 0.3}[norm], goal=goal)
    first, second = (
        a.perturb(white_box(victim), grey, labels, small, aux, context()) for a in one_of_each_backend(attack)
    )
    assert not torch.equal(first, grey)
    same = (first - second).abs().flatten(1).amax(dim=1) < 1e-4
    # a gradient of almost 0 may change its sign with the order of a sum, so a few images may part ways
    assert same.float().mean() > 0.98


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_backends_succeed_alike(victim, images, labels, white_box, context, attack, norm, targeted) -> None:
    goal, aux = (Goal.TARGETED if targeted else Goal.EVASION), Aux(goal_labels=(labels + 3) % 10)
    first, second = (
        success(victim, a.perturb(white_box(victim), images, labels, threat(norm, goal=goal), aux, context()), labels)
        for a in one_of_each_backend(attack)
    )
    assert abs(first - second) <= 0.02


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_starts_of_both_backends_succeed_alike(victim, images, labels, white_box, context, backend) -> None:
    attack = pgd.ProjectedGradientDescent(pgd.Params(backend=backend, steps=20))
    x_adv = attack.perturb(white_box(victim), images, labels, EVASION, Aux(), context())
    plain = pgd.ProjectedGradientDescent(pgd.Params(steps=20, random_start=False))
    reference = plain.perturb(white_box(victim), images, labels, EVASION, Aux(), context())
    assert abs(success(victim, x_adv, labels) - success(victim, reference, labels)) <= 0.05


@pytest.mark.parametrize("norm", NORMS)
def test_targeted_pgd_reaches_the_wanted_labels(victim, images, labels, white_box, context, norm) -> None:
    wanted = (labels + 1) % 10
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=40))
    wide = threat(norm, 3 * EPSILONS[norm], goal=Goal.TARGETED)
    x_adv = attack.perturb(white_box(victim), images, labels, wide, Aux(goal_labels=wanted), context())
    assert (victim.predict(x_adv) == wanted).float().mean() > 0.9


def test_targeted_attack_without_labels_is_refused(victim, images, labels, white_box, context) -> None:
    attack = fgsm.FastGradientMethod(fgsm.Params())
    with pytest.raises(ValueError, match="goal_labels"):
        attack.perturb(white_box(victim), images, labels, threat(goal=Goal.TARGETED), Aux(), context())


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.weight.T


@pytest.mark.fidelity
@pytest.mark.parametrize("backend", BACKENDS)
def test_pgd_finds_the_closed_form_optimum_of_two_linear_classes(white_box, context, backend) -> None:
    """Two linear classes: the worst case is x + eps sign(w_other - w_true), or the L2 unit vector along it."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 12, generator=generator)
    model = NetworkModel(Linear(weight), 2)
    x = 0.5 + 0.1 * (torch.rand(16, 3, 2, 2, generator=generator) - 0.5)  # far from 0 and 1: nothing is clipped
    y = torch.arange(16) % 2
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=20, backend=backend))
    towards = (weight[1 - y] - weight[y]).view_as(x)
    x_adv = attack.perturb(white_box(model), x, y, threat(Norm.LINF, 0.2), Aux(), context())
    torch.testing.assert_close(x_adv, x + 0.2 * towards.sign(), atol=1e-6, rtol=0)
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=20, backend=backend, random_start=False))
    x_adv = attack.perturb(white_box(model), x, y, threat(Norm.L2, 0.2), Aux(), context())
    unit = towards / towards.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(x_adv, x + 0.2 * unit, atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(0, 4, allow_nan=False),
    shape=st.sampled_from([(1, 8, 8), (3, 7, 5), (1, 1, 1)]),
    count=st.sampled_from([1, 3]),
    classes=st.sampled_from([2, 10]),
)
def test_budget_and_range_hold_exactly(
    untrained, white_box, context, data, norm, epsilon, shape, count, classes
) -> None:
    """Measured in double precision, as the judge does; any shape, a batch of one, two classes."""
    attack = data.draw(
        st.sampled_from(
            [
                gaussian_noise.GaussianNoise(gaussian_noise.SPEC.params()),
                uniform_noise.UniformNoise(uniform_noise.SPEC.params()),
                fgsm.FastGradientMethod(fgsm.Params()),
                fgsm.FastGradientMethod(fgsm.Params(backend="art")),
                pgd.ProjectedGradientDescent(pgd.Params(steps=3, batch_size=2)),
                pgd.ProjectedGradientDescent(pgd.Params(steps=3, backend="art", restarts=2)),
            ]
        )
    )
    if isinstance(attack, uniform_noise.UniformNoise):
        norm = Norm.LINF
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = torch.tensor(rng.random((count, *shape)).round(rng.integers(1, 8)), dtype=torch.float32)
    y = torch.tensor(rng.integers(0, classes, count))
    x_adv = attack.perturb(white_box(untrained(shape, classes)), x, y, threat(norm, epsilon), Aux(), context())
    assert x_adv.shape == x.shape
    assert x_adv.dtype == torch.float32
    assert not x_adv.requires_grad
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    assert distortion(x.numpy(), x_adv.numpy()).in_norm(norm).max() <= epsilon


def evasion_attacks() -> list[object]:
    return [
        gaussian_noise.GaussianNoise(gaussian_noise.SPEC.params()),
        uniform_noise.UniformNoise(uniform_noise.SPEC.params()),
        *(fgsm.FastGradientMethod(fgsm.Params(backend=b)) for b in BACKENDS),
        *(pgd.ProjectedGradientDescent(pgd.Params(steps=3, restarts=2, backend=b)) for b in BACKENDS),
    ]


def named(attack: object) -> str:
    return f"{type(attack).__name__}-{getattr(attack.params, 'backend', '')}"


@pytest.mark.parametrize("attack", evasion_attacks(), ids=named)
def test_zero_epsilon_changes_nothing(victim, images, labels, white_box, context, attack) -> None:
    x_adv = attack.perturb(white_box(victim), images, labels, threat(epsilon=0.0), Aux(), context())
    assert torch.equal(x_adv, images)


@pytest.mark.parametrize("attack", evasion_attacks(), ids=named)
def test_the_seed_alone_decides(victim, images, labels, white_box, context, attack) -> None:
    def run(seed: int) -> Tensor:
        return attack.perturb(white_box(victim), images, labels, EVASION, Aux(), context(seed))

    first = run(1)
    torch.rand(5)
    random.random()
    np.random.rand(5)  # noqa: NPY002
    assert torch.equal(first, run(1))
    assert torch.equal(first, run(2)) == isinstance(attack, fgsm.FastGradientMethod)


def global_generators() -> tuple[str, ...]:
    return str(torch.get_rng_state().tolist()), repr(np.random.get_state()), repr(random.getstate())  # noqa: NPY002


@pytest.mark.parametrize("attack", evasion_attacks(), ids=named)
def test_global_state_inputs_and_model_stay(victim, images, labels, white_box, context, attack) -> None:
    network = victim.weights()
    x, generators, modes = images.clone(), global_generators(), [m.training for m in network.modules()]
    with torch.no_grad():  # a harness may well predict under no_grad
        attack.perturb(white_box(victim), x, labels, EVASION, Aux(), context())
    assert torch.equal(x, images)
    assert global_generators() == generators
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_printed(victim, images, labels, white_box, context, capfd, backend) -> None:
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=2, backend=backend))
    attack.perturb(white_box(victim), images, labels, EVASION, Aux(goal_labels=labels), context())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_examples_do_not_depend_on_the_batch(victim, images, labels, white_box, context, backend, norm) -> None:
    few, few_labels = images[:20], labels[:20]
    whole, single = (
        pgd.ProjectedGradientDescent(pgd.Params(steps=5, random_start=False, batch_size=size, backend=backend)).perturb(
            white_box(victim), few, few_labels, threat(norm), Aux(), context()
        )
        for size in (512, 1)
    )
    assert ((whole - single).abs().flatten(1).amax(dim=1) < 1e-4).float().mean() > 0.9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", NORMS)
def test_k_steps_cost_k_forward_and_k_gradient_evaluations(
    victim, images, labels, white_box, context, backend, norm
) -> None:
    view = white_box(victim)
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=7, backend=backend, batch_size=64))
    attack.perturb(view, images, labels, threat(norm), Aux(), context())
    assert (view.meter.forward, view.meter.gradient) == (7 * len(images), 7 * len(images))
    view = white_box(victim)
    fgsm.FastGradientMethod(fgsm.Params(backend=backend)).perturb(view, images, labels, threat(norm), Aux(), context())
    assert (view.meter.forward, view.meter.gradient) == (len(images), len(images))


def test_restarts_help_and_cost_no_more_than_the_images_that_stand(victim, images, labels, white_box, context) -> None:
    weak = threat(epsilon=0.1)
    views = [white_box(victim), white_box(victim)]
    rates = []
    for view, restarts in zip(views, (1, 6), strict=True):
        attack = pgd.ProjectedGradientDescent(pgd.Params(steps=3, restarts=restarts))
        rates.append(success(victim, attack.perturb(view, images, labels, weak, Aux(), context()), labels))
    assert 0.05 < rates[0] < rates[1]
    standing = (1 - rates[0]) * len(images)
    assert views[1].meter.gradient <= 3 * (len(images) + 5 * standing)


def test_restarts_keep_the_largest_loss_where_nothing_succeeds(victim, images, labels, white_box, context) -> None:
    tiny = threat(epsilon=0.01)

    def losses(restarts: int) -> Tensor:
        attack = pgd.ProjectedGradientDescent(pgd.Params(steps=2, restarts=restarts, step_size=0.001))
        x_adv = attack.perturb(white_box(victim), images, labels, tiny, Aux(), context())
        return nn.functional.cross_entropy(victim.scores(x_adv), labels, reduction="none")

    once, often = losses(1), losses(5)
    standing = victim.predict(images) == labels
    assert (often[standing] >= once[standing]).all()
    assert (often > once)[standing].float().mean() > 0.5


@pytest.mark.parametrize("budget", [1, 2, 5, 39, 41, 82, 100])
def test_query_budget_is_used_and_kept(victim, images, labels, context, budget) -> None:
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=20, restarts=3))
    view = MeteredModel(victim, frozenset({Access.GRADIENTS}), query_rows=budget * len(images))
    x_adv = attack.perturb(view, images, labels, threat(query_budget=budget), Aux(), context())
    assert torch.equal(x_adv, images) == (budget < 2)


def test_budget_that_the_attack_was_not_told_of_is_enforced(victim, images, labels, context) -> None:
    view = MeteredModel(victim, frozenset({Access.GRADIENTS}), query_rows=10 * len(images))
    with pytest.raises(QueryBudgetExceeded):
        pgd.ProjectedGradientDescent(pgd.Params(steps=20)).perturb(view, images, labels, EVASION, Aux(), context())


def test_restarts_without_random_start_are_refused() -> None:
    with pytest.raises(ValueError, match="random_start"):
        pgd.Params(restarts=2, random_start=False)


def test_deadline_stops_between_batches(victim, images, labels, white_box, context) -> None:
    late = context()
    late.deadline = 0.0
    with pytest.raises(DeadlineExceeded):
        pgd.ProjectedGradientDescent(pgd.Params(steps=2)).perturb(
            white_box(victim), images, labels, EVASION, Aux(), late
        )


def test_l2_steps_survive_a_confident_model(victim, images, labels, white_box, context) -> None:
    """With logits tripled, gradients are far below torchattacks' 1e-10 for many images; both backends still agree."""

    class Sure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = victim.network

        def forward(self, x: Tensor) -> Tensor:
            return 3 * self.inner(x)

    model = NetworkModel(Sure(), 10)
    rates = [
        success(
            victim,
            pgd.ProjectedGradientDescent(pgd.Params(steps=10, random_start=False, backend=b)).perturb(
                white_box(model), images, labels, threat(Norm.L2), Aux(), context()
            ),
            labels,
        )
        for b in BACKENDS
    ]
    assert abs(rates[0] - rates[1]) <= 0.02

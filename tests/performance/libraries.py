"""The same attacks as three libraries make them, called by hand as their documentation says, with equal budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparring.contracts import Aux, Context
from sparring.model import MeteredModel, NetworkModel
from sparring.plugin import AttackSpec
from sparring.threat import Budget, Norm, ThreatModel
from sparring_attacks import apgd, cw_l2, deepfool, fgsm, pgd, square

Run = Callable[[nn.Module, Tensor, Tensor], Tensor]

EPSILON = 0.15
QUERIES = 500
SEARCHES, STEPS = 3, 60
"""Of C&W: values of c, and steps with each; torchattacks, which has one c, makes all steps with it."""

LINF = ThreatModel(norm=Norm.LINF, epsilon=EPSILON)
MINIMAL = ThreatModel(norm=Norm.L2, budget=Budget.MINIMAL)


@dataclass(frozen=True)
class Comparison:
    """An attack, and how each library makes it.

    Attributes:
        budget: what all may spend.
        minimal: whether the distance is the result.
        rivals: by library, those that have it.
    """

    budget: str
    ours: Run
    rivals: Mapping[str, Run]
    minimal: bool = False


def plugin(spec: AttackSpec, threat: ThreatModel, **params: object) -> Run:
    """Through the harness's contracts: a metered view, a threat model, a seed (here torch's, as the rivals have it)."""

    def run(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        view = MeteredModel(NetworkModel(network, 10), spec.needs)
        ctx = Context(seed=torch.initial_seed(), device="cpu", scratch=Path())
        made: Tensor = spec.load(spec.params(**params)).perturb(view, x, y, threat, Aux(), ctx)
        return made

    return run


def torchattacks(name: str, **params: object) -> Run:
    import torchattacks as library

    def run(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        made: Tensor = getattr(library, name)(network, **params)(x, y)
        return made

    return run


def art(name: str, **params: object) -> Run:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    def run(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        known = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        made = getattr(evasion, name)(known, **params).generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()])
        return torch.from_numpy(made)

    return run


def foolbox(name: str, epsilon: float | None, **params: object) -> Run:
    import foolbox as library

    def run(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attack = getattr(library.attacks, name)(**params)
        _, made, _ = attack(library.PyTorchModel(network, bounds=(0, 1), device="cpu"), x, y, epsilons=epsilon)
        clipped: Tensor = made.detach()
        return clipped

    return run


def pgd_with(steps: int) -> Comparison:
    step = 2.5 * EPSILON / steps
    return Comparison(
        f"L∞ {EPSILON}, {steps} steps",
        plugin(pgd.SPEC, LINF, steps=steps),
        {
            "torchattacks": torchattacks("PGD", eps=EPSILON, alpha=step, steps=steps),
            "ART": art(
                "ProjectedGradientDescentPyTorch",
                eps=EPSILON,
                eps_step=step,
                max_iter=steps,
                num_random_init=1,
                batch_size=512,
                verbose=False,
            ),
            "Foolbox": foolbox("LinfPGD", EPSILON, rel_stepsize=2.5 / steps, steps=steps),
        },
    )


def comparisons() -> dict[str, Comparison]:
    """By attack."""
    return {
        "fgsm": Comparison(
            f"L∞ {EPSILON}",
            plugin(fgsm.SPEC, LINF),
            {
                "torchattacks": torchattacks("FGSM", eps=EPSILON),
                "ART": art("FastGradientMethod", eps=EPSILON, batch_size=512),
                "Foolbox": foolbox("LinfFastGradientAttack", EPSILON),
            },
        ),
        "pgd, 40 steps": pgd_with(40),
        "pgd, 100 steps": pgd_with(100),
        "apgd": Comparison(
            f"L∞ {EPSILON}, 100 steps, cross-entropy",
            plugin(apgd.SPEC, LINF),
            {
                "torchattacks": torchattacks("APGD", norm="Linf", eps=EPSILON, steps=100, n_restarts=1, loss="ce"),
                "ART": art(
                    "AutoProjectedGradientDescent",
                    eps=EPSILON,
                    eps_step=2 * EPSILON,
                    max_iter=100,
                    nb_random_init=1,
                    loss_type="cross_entropy",
                    batch_size=512,
                    verbose=False,
                ),
            },
        ),
        "square": Comparison(
            f"L∞ {EPSILON}, {QUERIES} queries",
            plugin(square.SPEC, ThreatModel(norm=Norm.LINF, epsilon=EPSILON, query_budget=QUERIES)),
            {
                "torchattacks": torchattacks("Square", norm="Linf", eps=EPSILON, n_queries=QUERIES),
                "ART": art("SquareAttack", eps=EPSILON, max_iter=QUERIES, batch_size=512, verbose=False),
            },
        ),
        "cw-l2": Comparison(
            f"nearest in L2, {SEARCHES} × {STEPS} steps",
            plugin(cw_l2.SPEC, MINIMAL, searches=SEARCHES, steps=STEPS),
            {
                "torchattacks": torchattacks("CW", c=1, steps=SEARCHES * STEPS, lr=0.1),
                "ART": art(
                    "CarliniL2Method",
                    max_iter=STEPS,
                    binary_search_steps=SEARCHES,
                    initial_const=1.0,
                    learning_rate=0.1,
                    batch_size=512,
                    verbose=False,
                ),
                "Foolbox": foolbox(
                    "L2CarliniWagnerAttack",
                    None,
                    binary_search_steps=SEARCHES,
                    steps=STEPS,
                    stepsize=0.1,
                    initial_const=1.0,
                ),
            },
            minimal=True,
        ),
        "deepfool": Comparison(
            "nearest in L2, 50 steps",
            plugin(deepfool.SPEC, MINIMAL),
            {
                "torchattacks": torchattacks("DeepFool", steps=50, overshoot=0.02),
                "ART": art("DeepFool", max_iter=50, epsilon=0.02, nb_grads=10, batch_size=512, verbose=False),
                "Foolbox": foolbox("L2DeepFoolAttack", None, steps=50, overshoot=0.02, candidates=10, loss="logits"),
            },
            minimal=True,
        ),
    }

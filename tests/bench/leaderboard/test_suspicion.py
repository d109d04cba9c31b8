"""Every board-level warning: a case that raises it, and one that nearly does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from made_records import record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.leaderboard.wording import warned_cells
from sparring.record import PluginUse, Record, Samples, pack_bits

GRADIENTS = {"gradient-queries": 20.0, "forward-queries": 20.0}
QUERIES = {"gradient-queries": 0.0, "forward-queries": 500.0}
NOTHING = {"gradient-queries": 0.0, "forward-queries": 0.0}
REPETITIONS = 3


def cells(
    attack: str, accuracy: float, asks: dict[str, float], *, defence: str = "none", **threat: Any
) -> list[Record]:
    """An attack at inference in three repetitions that differ a little."""
    allowed = {"when": "inference", "goal": "evasion", "norm": "linf", "epsilon": 0.1} | threat
    return [
        record(
            attack,
            defence,
            repetition,
            scored({"clean-accuracy": 0.95, "robust-accuracy": accuracy + 0.01 * repetition, **asks}),
            threat=allowed,
        )
        for repetition in range(REPETITIONS)
    ]


def warned(*records: Record) -> dict[str, str]:
    return {identifier: message for identifier, message, _ in warned_cells(aggregate(records))}


def test_an_attack_without_gradients_that_does_more_harm() -> None:
    white = cells("pgd", 0.5, GRADIENTS)
    assert (
        "20.0 points more fall to square" in warned(*white, *cells("square", 0.3, QUERIES))["black-box-beats-white-box"]
    )
    assert not warned(*white, *cells("square", 0.6, QUERIES))
    assert not warned(*white, *cells("square", 0.3, QUERIES, epsilon=0.2)), "budgets differ"
    assert not warned(*white, *cells("fgsm", 0.7, GRADIENTS), *cells("square", 0.6, QUERIES)), "the best counts"


def test_noise_that_does_as_much() -> None:
    noise = cells("noise", 0.8, NOTHING)
    assert "pgd does no more harm than noise" in warned(*noise, *cells("pgd", 0.8, GRADIENTS))["noise-as-good"]
    assert not warned(*noise, *cells("pgd", 0.5, GRADIENTS))
    assert not warned(*noise, *cells("pgd", 0.8, GRADIENTS, norm="l2"))


def test_noise_in_front_of_a_guard_counts_for_both_ways_of_attacking_it() -> None:
    noise = cells("noise", 0.8, NOTHING, defence="jpeg")
    adaptive = cells("pgd", 0.8, GRADIENTS, defence="jpeg@adaptive")
    assert "noise-as-good" in warned(*noise, *cells("pgd", 0.5, GRADIENTS, defence="jpeg@oblivious"), *adaptive)
    better = cells("pgd", 0.4, GRADIENTS, defence="jpeg@adaptive")
    assert not warned(*noise, *cells("pgd", 0.5, GRADIENTS, defence="jpeg@oblivious"), *better)


def test_a_larger_budget_that_does_less() -> None:
    small = cells("pgd[epsilon=0.1,steps=9]", 0.5, GRADIENTS)
    larger = cells("pgd[epsilon=0.3,steps=9]", 0.7, GRADIENTS, epsilon=0.3)
    assert "fewer fall at epsilon 0.3 than at 0.1" in warned(*small, *larger)["more-budget-does-less"]
    assert not warned(*small, *cells("pgd[epsilon=0.3,steps=9]", 0.4, GRADIENTS, epsilon=0.3))
    assert not warned(*small, *cells("pgd[epsilon=0.3,steps=2]", 0.7, GRADIENTS, epsilon=0.3)), "other parameters"


def test_an_attack_without_bounds_that_leaves_some() -> None:
    told = warned(*cells("pgd[epsilon=1]", 0.9, GRADIENTS, epsilon=1.0))
    assert "survive pgd[epsilon=1]" in told["unbounded-above-chance"]
    assert not warned(*cells("pgd[epsilon=1]", 0.5, GRADIENTS, epsilon=1.0)), "two classes: chance"
    assert not warned(*cells("pgd[epsilon=0.9]", 0.9, GRADIENTS, epsilon=0.9))


def test_a_guard_that_answers_at_random() -> None:
    oblivious = cells("pgd", 0.6, GRADIENTS, defence="noisy@oblivious")
    averaged = {"gradient-queries": 160.0, "forward-queries": 160.0}
    told = warned(*oblivious, *cells("pgd", 0.4, averaged, defence="noisy@adaptive"))
    assert "averaged 8 draws a query" in told["randomised-predictions"]
    assert not warned(*oblivious, *cells("pgd", 0.4, GRADIENTS, defence="noisy@adaptive")), "the guard does not vary"
    longer = {"gradient-queries": 47.0, "forward-queries": 47.0}
    assert not warned(*oblivious, *cells("pgd", 0.4, longer, defence="noisy@adaptive")), "it stopped later"


def test_a_guard_that_nobody_knew_of() -> None:
    oblivious = cells("pgd", 0.5, GRADIENTS, defence="jpeg@oblivious")
    assert "no attack on jpeg knows of it" in warned(*oblivious)["only-oblivious"]
    assert not warned(*oblivious, *cells("pgd", 0.4, GRADIENTS, defence="jpeg@adaptive"))


def test_a_detector_that_nobody_tried_to_pass() -> None:
    seen = cells("pgd", 0.9, GRADIENTS | {"detection-tpr": 0.8}, defence="squeezers")
    assert "the model behind squeezers" in warned(*seen)["only-oblivious"]
    assert not warned(*cells("pgd", 0.9, GRADIENTS, defence="squeezers"))


@pytest.mark.parametrize(("wrong", "raised"), [(30, True), (20, False)])
def test_images_that_were_wrong_before(wrong: int, raised: bool) -> None:
    before = np.arange(100) >= wrong
    samples = Samples(indices="0-99", clean_correct=pack_bits(before), attacked_correct=pack_bits(before))
    outcome = scored({"robust-accuracy": 0.5, **GRADIENTS}, samples=samples)
    threat = {"when": "inference", "goal": "evasion"}
    assert ("already-wrong" in warned(record("pgd", outcome=outcome, threat=threat))) == raised


@pytest.mark.parametrize(
    ("threat", "metrics", "raised"),
    [
        ({"norm": "linf", "epsilon": 0.1}, {"budget-linf-max": 0.11}, True),
        ({"norm": "linf", "epsilon": 0.1}, {"budget-linf-max": 0.1000001}, False),
        ({"norm": "l2", "epsilon": 0.1}, {"budget-linf-max": 0.2, "budget-l2-max": 0.1}, False),
        ({"norm": "linf", "epsilon": 0.1, "budget": "minimal"}, {"budget-linf-max": 0.2}, False),
        ({"when": "training", "poison_fraction": 0.05}, {"poisoned-fraction": 0.06}, True),
        ({"when": "training", "poison_fraction": 0.05}, {"poisoned-fraction": 0.05}, False),
    ],
)
def test_more_than_was_allowed(threat: dict[str, Any], metrics: dict[str, float], raised: bool) -> None:
    found = record("x", outcome=scored({"clean-accuracy": 0.5, **metrics}), threat={"when": "inference"} | threat)
    assert ("budget-exceeded" in warned(found)) == raised


@pytest.mark.parametrize(("surrogate", "raised"), [("cnn", True), ("mlp", False)])
def test_a_surrogate_of_the_victims_kind(surrogate: str, raised: bool) -> None:
    made = record("transfer")
    uses = [PluginUse(selector=surrogate, name=surrogate)]
    cell = made.cell.model_copy(update={"attack": made.cell.attack.model_copy(update={"uses": uses})})
    assert ("surrogate-is-victim" in warned(made.model_copy(update={"cell": cell}))) == raised


def test_one_repetition_of_several_cells() -> None:
    alone = [made for made in (*cells("a", 0.5, GRADIENTS), *cells("b", 0.4, GRADIENTS)) if made.cell.repetition == 0]
    assert "no order is claimed" in warned(*alone)["few-repetitions"]
    assert not warned(alone[0]), "there is nothing to compare"
    assert not warned(*cells("a", 0.5, GRADIENTS), alone[1])


def test_suspicions_stand_in_every_rendering() -> None:
    board = aggregate([*cells("pgd", 0.5, GRADIENTS), *cells("square", 0.3, QUERIES)])
    assert "**black-box-beats-white-box**" in markdown(board)
    text = page(board)
    assert text.count("black-box-beats-white-box") == 2, "collected on the board, and once for the panels of both cells"

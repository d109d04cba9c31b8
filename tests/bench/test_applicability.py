"""Why a cell cannot be run: needs against offers, threat models against declarations, and objections."""

from __future__ import annotations

import pytest

from sparring.applicability import reasons
from sparring.suite import expand, suite_from_selectors


def why(zoo, attack="none", victim="cnn", defence="none", threat=None):
    """The reasons of each cell of one attack, victim and defence."""
    suite = suite_from_selectors(
        zoo, datasets=["dots"], victims=[victim], attacks=[attack], defences=[defence], threats=[threat or {}]
    )
    return [reasons(cell, zoo) for cell in expand(suite, zoo)]


@pytest.mark.parametrize(
    "cell",
    [
        {"attack": "pgd"},
        {"attack": "pgd", "threat": {"norm": "l2", "goal": "targeted"}},
        {"attack": "square", "victim": "random-forest"},
        {"attack": "transfer", "victim": "random-forest"},
        {"attack": "cheat", "victim": "random-forest"},
        {"attack": "label-flip"},
        {"attack": "boost", "victim": "federated-cnn"},
        {"attack": "collision", "victim": "frozen-cnn"},
        {"defence": "reinforced", "victim": "frozen-cnn"},
        {"defence": "votes", "victim": "random-forest"},
        {"defence": "cleaner"},
        {"attack": "square", "threat": {"knowledge": "scores"}},
    ],
)
def test_what_can_be_run(zoo, cell):
    assert why(zoo, **cell) == [()]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (
            {"attack": "pgd", "victim": "random-forest"},
            "pgd needs gradients; random-forest offers decisions, scores",
        ),
        ({"attack": "fgsm", "threat": {"norm": "l2"}}, "fgsm is bounded in linf; the threat model says l2"),
        ({"attack": "fgsm", "threat": {"goal": "targeted"}}, "fgsm pursues evasion; the threat model says targeted"),
        (
            {"attack": "square", "threat": {"knowledge": "decisions"}},
            "square needs scores; the threat model says knowledge decisions",
        ),
        ({"attack": "boost"}, "boost corrupts federated rounds; cnn is not trained in rounds"),
        ({"attack": "collision"}, "collision needs the features before training; cnn has no pretrained features"),
        (
            {"attack": "transfer[surrogate=random-forest]"},
            "pgd needs gradients; random-forest offers decisions, scores",
        ),
        (
            {"attack": "pgd", "defence": "votes"},
            "pgd needs gradients; cnn behind votes offers decisions, recipe",
        ),
        (
            {"defence": "reinforced", "victim": "random-forest"},
            "reinforced needs recipe; random-forest offers decisions, scores",
        ),
        (
            {"defence": "votes", "victim": "frozen-cnn"},
            "votes trains the victim itself; frozen-cnn has no plain fit",
        ),
        (
            {"defence": "cleaner", "victim": "federated-cnn"},
            "cleaner looks through the training rows; those of federated-cnn stay with its clients",
        ),
        (
            {"attack": "label-flip", "victim": "frozen-cnn"},
            "label-flip says nothing about frozen features (Nobody 2020, section 3)",
        ),
    ],
)
def test_what_cannot_be_run_and_why(zoo, cell, reason):
    assert why(zoo, **cell) == [(reason,)]


def test_only_an_adaptive_attack_meets_the_guard(zoo):
    oblivious, adaptive = why(zoo, attack="pgd", defence="opaque")
    assert oblivious == ()
    assert adaptive == ("pgd needs gradients; cnn behind opaque offers decisions, recipe",)
    assert why(zoo, attack="pgd", defence="squeeze") == [(), ()]


def test_all_reasons_are_given_each_once(zoo):
    (found,) = why(zoo, attack="fgsm", victim="random-forest", defence="reinforced", threat={"norm": "l2"})
    assert found == (
        "fgsm needs gradients; random-forest offers decisions, scores",
        "fgsm is bounded in linf; the threat model says l2",
        "reinforced needs recipe; random-forest offers decisions, scores",
    )


def test_behind_a_guard_there_are_no_weights(zoo):
    oblivious, adaptive = why(zoo, attack="surgeon", victim="open-cnn", defence="squeeze")
    assert oblivious == ()
    assert adaptive == (
        "surgeon needs weights; open-cnn behind squeeze offers decisions, features, gradients, recipe, scores",
    )

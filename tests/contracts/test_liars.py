"""Plugins that lie or break a rule are caught: the cell fails, and says which plugin broke which rule."""

from __future__ import annotations

import pytest
from cell_bench import Board, CellBench

from sparring.stage import FailureKind
from sparring.suite import Evaluation, Splits

PLUGINS = "lying_plugins"
VICTIM = "logistic[epochs=3]"
SOME = Evaluation(samples=40)
SPLITS = Splits(attacker_val=50, defender_clean=100)
METRICS = ("clean-accuracy", "robust-accuracy", "asr", "forward-queries", "gradient-queries", "accused")


def check_caught(board: Board, plugin: str, rule: str) -> None:
    failed = board.failed("/r0")
    assert failed.kind is FailureKind.BUDGET, failed.error
    assert plugin in failed.error
    assert rule in failed.error


def cell(bench: CellBench, attack: str = "none", defence: str = "none", victim: str = VICTIM, **settings) -> Board:
    settings = {"metrics": METRICS, "evaluation": SOME, "splits": SPLITS} | settings
    return bench.run([victim], [attack], [defence], **settings)


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("over-epsilon", "exceeded its budget: linf 0.2 > epsilon 0.1 on 1 of 40 images"),
        ("over-epsilon[norm=l2,epsilon=1]", "exceeded its budget: l2 "),
        ("over-epsilon[norm=l0,epsilon=4]", "exceeded its budget: l0 "),
        ("wrong-shape", "returned images of shape (39, 1, 8, 8); expected (40, 1, 8, 8)"),
        ("not-a-number", "returned NaN or infinite values"),
        ("out-of-range", "images lie in [0, 1]"),
        ("no-tensor", "returned ndarray; expected a tensor"),
        ("nothing", "returned NoneType; expected a tensor"),
        ("in-place[epsilon=1]", "changed its input in place"),
        ("relabelling", "changed its input in place"),
        ("training-data", "changed its input in place"),
        ("too-many-queries", "exceeded its budget: it asked for 440 model evaluations; allowed are 400"),
        ("too-many-gradients", "exceeded its budget: it asked for 440 model evaluations; allowed are 400"),
        ("resets-the-counter", "exceeded its budget: it asked for 440 model evaluations; allowed are 400"),
        ("gradients", "used gradients without declaring it under needs"),
        ("features", "used features without declaring it under needs"),
        ("weights", "used weights without declaring it under needs"),
        ("offers-itself-more", "used weights without declaring it under needs"),
        ("decisions", "used decisions without declaring it under needs"),
        ("state", "an attack does not get a model's state"),
    ],
)
def test_evasion(bench: CellBench, attack: str, rule: str) -> None:
    check_caught(cell(bench, attack), "attack " + attack.partition("[")[0], rule)


def test_success_is_judged_and_not_claimed(bench: CellBench) -> None:
    honest, lying = cell(bench).scored("/r0"), cell(bench, "claims-success").scored("/r0")
    assert lying.metrics["asr"] == 0.0
    assert lying.metrics["clean-accuracy"] == honest.metrics["clean-accuracy"]
    assert lying.metrics["robust-accuracy"] > 0.5


def test_queries_are_counted_out_of_the_attacks_reach(bench: CellBench) -> None:
    metrics = cell(bench, "hides-its-queries").scored("/r0").metrics
    assert metrics["forward-queries"] == 2.0
    assert metrics["gradient-queries"] == 1.0


def test_no_attribute_of_the_view_leads_to_the_model(bench: CellBench) -> None:
    assert (
        cell(bench, "searches-the-view").scored("/r0").metrics["forward-queries"] >= 0
    )  # it raises where it finds one


def test_a_network_handed_out_is_a_copy(bench: CellBench) -> None:
    metrics = cell(bench, "breaks-the-network").scored("/r0").metrics
    assert metrics["clean-accuracy"] == cell(bench).scored("/r0").metrics["clean-accuracy"] > 0.5
    assert metrics["asr"] == 0.0


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("too-many-rows", "the threat model allows a poison fraction of 0.05"),
        ("label-change", "changed 10 labels; the threat model allows none"),
        ("row-twice", "poisoned a row twice"),
        ("row-that-is-none", "poisoned rows outside 0.."),
        ("label-that-is-none", "returned labels outside 0..9"),
        ("poison-over-epsilon", "exceeded its budget: linf 1 > epsilon 0.1 on 10 of 10 images"),
        ("poison-not-a-number", "returned NaN or infinite values"),
        ("poison-of-wrong-shape", "expected (10, 1, 8, 8)"),
        ("two-trials", "returned 2 poisonings; expected 1, one per trial"),
        ("no-sequence", "returned Poisoned; expected a sequence of Poisoned, one per trial"),
        ("writes-to-numpy", "changed its input in place"),
        ("writes-through-torch", "changed its input in place"),
    ],
)
def test_poison(bench: CellBench, attack: str, rule: str) -> None:
    check_caught(cell(bench, attack), f"attack {attack}", rule)


def test_what_torch_wrote_to_does_not_reach_other_cells(bench: CellBench) -> None:
    before = cell(bench, seed=7).scored("/r0")
    check_caught(cell(bench, "writes-through-torch", seed=7), "attack writes-through-torch", "in place")
    after = cell(bench, seed=7, victim="logistic[epochs=4]").scored("/r0")
    assert before.metrics["clean-accuracy"] > 0.5
    assert after.metrics["clean-accuracy"] > 0.5


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("update-without-a-name", "names or shapes differ from the model's"),
        ("update-not-a-number", "NaN or infinite values"),
    ],
)
def test_corruption(bench: CellBench, attack: str, rule: str) -> None:
    check_caught(cell(bench, attack, victim="rounds"), f"attack {attack}", rule)


@pytest.mark.parametrize(
    ("victim", "rule"),
    [
        ("unknown-labels", "predicted labels outside 0..9"),
        ("one-label-for-all", "predicted labels of shape (1,); expected (360,)"),
        ("fitted-to-nothing", "was fitted to NaN in weight"),
        ("writes-to-the-training-set", "changed its input in place"),
    ],
)
def test_victims(bench: CellBench, victim: str, rule: str) -> None:
    check_caught(cell(bench, victim=victim), f"victim {victim}", rule)


@pytest.mark.parametrize(
    ("defence", "rule"),
    [
        ("removes-everything", "removed the whole training set"),
        ("wrong-mask", "returned a mask of shape"),
        ("unknown-relabelling", "predicted labels outside 0..9"),
        ("endless-suspicion", "found a score of inf"),
        ("accuses-unknown-labels", "named labels outside 0..9"),
        ("no-scores", "returned NaN or infinite scores"),
        ("certifies-unknown-labels", "predicted labels outside 0..9"),
        ("unknown-answers", "predicted labels outside 0..9"),
    ],
)
def test_defences(bench: CellBench, defence: str, rule: str) -> None:
    check_caught(cell(bench, defence=defence), f"defence {defence}", rule)


def test_asking_a_model_for_what_it_does_not_offer(bench: CellBench) -> None:
    board = cell(bench, defence="network-of-a-forest", victim="random-forest[trees=5]")
    check_caught(board, "defence network-of-a-forest", "ForestModel offers no weights")


def test_the_truth_is_for_those_who_declare_it(bench: CellBench) -> None:
    board = cell(bench, "label-flip", "peeks-at-the-truth", metrics=("removed-fraction", "sanitiser-recall"))
    assert board.scored("/r0").metrics == {"removed-fraction": 0.0, "sanitiser-recall": 0.0}


def test_a_claimed_repair_repairs_nothing(bench: CellBench) -> None:
    metrics = ("asr", "before-repair-asr", "clean-accuracy", "before-repair-clean-accuracy")
    found = cell(bench, "badnets", "claims-a-repair", metrics=metrics, victim="logistic").scored("/r0").metrics
    assert found["asr"] == found["before-repair-asr"] > 0.5
    assert found["clean-accuracy"] == found["before-repair-clean-accuracy"]


def test_detectors_are_measured_on_what_they_have_not_seen(bench: CellBench) -> None:
    metrics = ("clean-accuracy", "robust-accuracy", "detection-auc", "detection-fpr", "detection-tpr")
    knowing = cell(bench, "pgd[steps=3]", "knows-its-calibration", metrics=metrics).scored("/r0").metrics
    assert knowing["detection-tpr"] == 1.0
    assert knowing["detection-fpr"] > 0.95
    assert knowing["detection-auc"] == pytest.approx(0.5, abs=0.05)
    assert knowing["clean-accuracy"] < 0.05  # a rejected clean image counts as wrong
    always = cell(bench, "pgd[steps=3]", "always-suspicious", metrics=metrics).scored("/r0").metrics
    assert always["detection-tpr"] == always["detection-fpr"] == 0.0
    assert always["detection-auc"] == 0.5


def test_a_certificate_that_an_attack_disproves(bench: CellBench) -> None:
    metrics = ("certified-accuracy", "robust-accuracy")
    sure = cell(bench, "pgd[eps=0.3]", "certifies-everything", metrics=metrics)
    check_caught(sure, "defence certifies-everything", "get another answer inside their certified linf radius")
    likely = cell(bench, "pgd[eps=0.3]", "probably-certifies-everything", metrics=metrics).scored("/r0")
    assert "certificate-contradicted" in {warning.id for warning in likely.warnings}
    assert likely.metrics["certified-accuracy"] > likely.metrics["robust-accuracy"]


def test_metrics(bench: CellBench) -> None:
    check_caught(
        cell(bench, metrics=("not-a-number",)), "metric not-a-number", "measured nan; expected a finite number"
    )
    metrics = ("aaa", "robust-accuracy")
    check_caught(cell(bench, "pgd[eps=0.3]", metrics=metrics), "metric aaa", "changed its input in place")

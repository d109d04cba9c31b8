"""Every contract, proven by a real cell on digits: what it measures, what it shares, and what its record says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_bench import DIGITS, EVALUATION, SMALL_MLP, Board, CellBench

from sparring import __version__
from sparring.cell import Selection
from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.leaderboard.aggregate import aggregate
from sparring.plugin import Kind
from sparring.record import unpack_bits
from sparring.stage import StageName
from sparring.threat import Access, Budget

PLUGINS = "contract_plugins"
FIVE = "digits[classes=[0,1,2,3,4]]"


def test_plugins_are_discovered_without_a_problem(bench: CellBench) -> None:
    assert bench.catalogue.problems == ()


def test_targeted_poison_succeeds_k_of_n(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["copies[fraction=[0.0,0.02]]"])
    nothing, poisoned = board.scored("fraction=0]/"), board.scored("fraction=0.02]/")
    assert nothing.trials == [0, 5]
    assert poisoned.trials is not None
    assert poisoned.trials[0] >= 4
    assert poisoned.trials[1] == 5
    assert poisoned.metrics["asr"] == poisoned.trials[0] / 5
    assert poisoned.metrics["poisoned-fraction"] == pytest.approx(0.02, abs=0.001)
    assert abs(poisoned.metrics["accuracy-drop"]) < 0.03  # over all trials, against the one twin
    # one poison stage makes all trials; each trial is fitted once, and the twin beside them
    assert len(board.stages("fraction=0.02]/", StageName.POISON)) == 1
    assert len(board.stages("fraction=0.02]/", StageName.FIT)) == 5 + 1


def test_targets_are_drawn_by_seed(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "logistic"], ["copies[fraction=[0.02,0.05]]"], repetitions=2)
    drawn = {stage.label: board.store.load(stage.key).arrays for stage in board.all_stages(StageName.POISON)}
    assert len(drawn) == 4  # two fractions, two repetitions; the victims share
    goals = {label: arrays["target/goal"].tolist() for label, arrays in drawn.items()}
    assert len({tuple(goal) for label, goal in goals.items() if "r0" in label}) == 1, "attacks get the same targets"
    assert len({tuple(goal) for goal in goals.values()}) == 2, "repetitions get others"
    assert all((arrays["target/goal"] != arrays["target/y"]).all() for arrays in drawn.values())


def test_warped_backdoor(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "logistic"], ["warp"])
    found = board.scored("mlp").metrics
    assert found["asr"] > 0.9
    assert found["accuracy-drop"] < 0.05
    assert found["labels-changed"] == round(found["poisoned-fraction"] * 1287)
    assert found["budget-l2-mean"] > 0.5  # every pixel moves
    triggered = board.artifact("mlp", StageName.TRIGGER).arrays
    assert (triggered["goal"] == 0).all()
    assert len(triggered["rows"]) < EVALUATION.samples  # images of the target class are left out
    # poison and trigger depend on no victim
    assert len(board.all_stages(StageName.POISON)) == len(board.all_stages(StageName.TRIGGER)) == 1


def test_probes_of_a_poisoned_model(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["patterns[epsilon=[0.1,0.5]]"])
    weak, strong = board.scored("epsilon=0.1,").metrics, board.scored("epsilon=0.5,").metrics
    assert strong["probe-noise"] == 1.0  # the noise alone decides
    assert strong["accuracy-drop"] > 0.4
    assert strong["generalisation-gap"] > 0.4
    assert weak["accuracy-drop"] < strong["accuracy-drop"]
    assert strong["labels-changed"] == 0
    assert strong["budget-linf-max"] == pytest.approx(0.5, abs=1e-6)


def test_federated_rounds_with_a_boosted_backdoor(bench: CellBench) -> None:
    board = bench.run(["fedavg"], ["none", "boost[factor=[1,5]]", "badnets"])
    plain, boosted = board.scored("factor=1]").metrics, board.scored("boost[poison_fraction=0.1]").metrics
    assert board.scored("/none/none").metrics["clean-accuracy"] > 0.8
    assert boosted["asr"] > plain["asr"] + 0.2
    assert boosted["malicious-clients"] == 0.1  # poison_fraction is the share of clients
    assert boosted["poisoned-fraction"] == pytest.approx(0.05, abs=0.002)
    # a boost is applied in the rounds: the poison and the trigger are the same
    assert "malicious-clients" not in board.scored("badnets").metrics
    fits = {stage.seed for stage in board.all_stages(StageName.FIT)}
    assert len(board.all_stages(StageName.FIT)) == 4
    assert len(fits) == 1  # twins are paired


def test_recipes_reach_federated_clients(bench: CellBench) -> None:
    board = bench.run(["fedavg"], ["pgd[eps=0.1,steps=10]"], ["none", "adversarial-training"])
    assert len(board.all_stages(StageName.FIT)) == 2
    drops = {label: board.scored(f"/{label}/").metrics["accuracy-drop"] for label in ("none", "adversarial-training")}
    assert drops["adversarial-training"] < drops["none"] - 0.05


def test_a_federated_attacker_with_no_client_is_an_error(bench: CellBench) -> None:
    error = bench.run(["fedavg"], ["boost[fraction=0.05]"]).failed("boost").error
    assert "a poison fraction of 0.05 gives the attacker none of 10 clients" in error


def test_corrupting_needs_rounds(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "fedavg"], ["boost"], ["none", "neighbour-filter"])
    assert board.not_applicable("mlp[epochs=30]/boost[poison_fraction=0.1]/none").reasons == [
        "boost corrupts federated rounds; mlp is not trained in rounds"
    ]
    assert "stay with its clients" in board.not_applicable("fedavg/boost[poison_fraction=0.1]/neighbour").reasons[0]
    board.scored("fedavg/boost[poison_fraction=0.1]/none")


def test_sanitisers_are_scored_against_the_truth(bench: CellBench) -> None:
    board = bench.run(["logistic"], ["none", "label-flip[fraction=0.3]"], ["none", "oracle-filter", "neighbour-filter"])
    oracle, filtered = board.scored("0.3]/oracle-filter").metrics, board.scored("0.3]/neighbour-filter").metrics
    assert oracle["sanitiser-precision"] == oracle["sanitiser-recall"] == 1.0
    assert oracle["removed-fraction"] == oracle["poisoned-fraction"] == pytest.approx(0.3, abs=0.001)
    assert 0.7 < filtered["sanitiser-precision"] < 1.0
    assert filtered["sanitiser-recall"] > 0.9
    assert oracle["clean-accuracy"] > board.scored("0.3]/none").metrics["clean-accuracy"]
    # nothing was poisoned: the oracle removes nothing, and there is no precision to speak of
    clean = board.scored("none/oracle-filter").metrics
    assert clean["removed-fraction"] == 0.0
    assert "sanitiser-precision" not in clean
    assert "sanitiser-recall" not in clean
    # three filters of one poison
    assert len(board.all_stages(StageName.POISON)) == 1


def test_trials_are_sanitised_one_by_one(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["copies[fraction=0.02]"], ["none", "oracle-filter"])
    assert board.scored("/oracle-filter").trials == [0, 5]
    assert len(board.stages("/oracle-filter", StageName.SANITISE)) == 5 + 1  # the last: of the clean twin


def test_frozen_features_and_a_reinforced_pretraining(bench: CellBench) -> None:
    board = bench.run(["frozen"], ["none", "collision", "copies"], ["none", "adversarial-training"], [FIVE])
    pretrains = board.all_stages(StageName.PRETRAIN)
    assert len(pretrains) == 2  # plain and reinforced
    assert {"reinforcer" in stage.plugins for stage in pretrains} == {True, False}
    assert all("reinforcer" not in stage.plugins for stage in board.all_stages(StageName.FIT))
    assert "digits[classes=[5,6,7,8,9]]" in pretrains[0].label
    # the attack on the features is made again for the defended ones, the other is made once for both
    defences = ("none", "adversarial-training")
    collisions = {board.stage(f"collision[poison_fraction=0.1]/{d}", StageName.POISON).key for d in defences}
    copies = {board.stage(f"copies[poison_fraction=0.01]/{d}", StageName.POISON).key for d in defences}
    assert (len(collisions), len(copies)) == (2, 1)
    collided = board.scored("collision[poison_fraction=0.1]/none")
    assert collided.trials is not None
    assert collided.trials[0] >= 2
    assert collided.metrics["labels-changed"] == 0
    assert board.scored("/none/none").metrics["clean-accuracy"] > 0.8


def test_attacks_on_features_need_a_pretraining(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "frozen"], ["collision"], datasets=[FIVE])
    assert "mlp has no pretrained features" in board.not_applicable("mlp").reasons[0]


def test_partition_votes(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "fedavg"], ["none", "copies[fraction=0.02]", "pgd"], ["none", "partition-votes"])
    assert board.scored("mlp[epochs=30]/none/partition-votes").metrics["clean-accuracy"] > 0.85
    undefended = board.scored("mlp[epochs=30]/copies[poison_fraction=0.02]/none").trials
    defended = board.scored("mlp[epochs=30]/copies[poison_fraction=0.02]/partition-votes").trials
    assert undefended is not None
    assert defended is not None
    assert undefended[0] > defended[0] + 2  # copies of one image all lie in one part, which has one vote
    reasons = board.not_applicable("mlp[epochs=30]/pgd[epsilon=0.1]/partition-votes").reasons
    assert reasons == ["pgd needs gradients; mlp behind partition-votes offers decisions, recipe"]
    assert "fedavg has no plain fit" in board.not_applicable("fedavg/none/partition-votes").reasons[0]


def test_parts_depend_on_content_alone(bench: CellBench) -> None:
    from contract_plugins.partition_votes import parts_of

    rng = np.random.default_rng(0)
    train = ArrayDataset(rng.random((60, 1, 4, 4), dtype=np.float32), rng.integers(0, 2, 60), ("a", "b"))
    order = rng.permutation(60)
    assert np.array_equal(parts_of(train, 5)[order], parts_of(train.rows(order), 5))
    assert len(np.unique(parts_of(train, 5))) == 5


def test_own_fits_are_restored_with_the_same_answers(bench: CellBench, tmp_path: Path) -> None:
    import torch

    board = bench.run(["logistic"], ["none"], ["partition-votes"])
    ctx = Context(seed=0, device="cpu", scratch=tmp_path)
    defence = bench.catalogue.load(*_plugged(board, "none/partition-votes", "trainer"))
    victim = bench.catalogue.load(*_plugged(board, "none/partition-votes", "victim"))
    model = defence.restore(victim, board.artifact("none/partition-votes", StageName.FIT).arrays, ctx)
    test = board.artifact("none/partition-votes", StageName.LOAD).arrays
    answers = model.predict(torch.tensor(test["test/x"])).numpy()
    predicted = next(
        board.store.load(stage.key).arrays["labels"]
        for stage in board.stages("none/partition-votes", StageName.PREDICT)
        if stage.settings["of"] == "test"
    )
    assert np.array_equal(answers, predicted)


def test_inspection_and_repair_with_metrics_before_and_after(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["none", "badnets[size=2,margin=0]"], ["none", "trigger-search"])
    clean, poisoned = board.scored("none/trigger-search").metrics, board.scored("0]/trigger-search").metrics
    assert clean["accused"] == 0.0
    assert clean["before-repair-clean-accuracy"] == clean["clean-accuracy"]  # nothing found, nothing changed
    assert "before-repair-asr" not in clean
    assert poisoned["accused"] == 1.0
    assert poisoned["before-repair-asr"] == board.scored("margin=0]/none").metrics["asr"] > 0.8
    assert poisoned["asr"] < 0.2
    assert poisoned["clean-accuracy"] > 0.85
    found = board.input("0]/trigger-search", "finding")
    assert found.meta["finding"]["labels"] == [0]
    # the defended and the undefended cell have the same fit
    assert len(board.all_stages(StageName.FIT)) == 2


def test_a_randomised_guard_attacked_obliviously_and_adaptively(bench: CellBench) -> None:
    attacks = ["pgd[eps=0.2,steps=10]"]
    board = bench.run(
        [SMALL_MLP], attacks, ["none", "noisy-levels"], evaluation=EVALUATION.model_copy(update={"samples": 360})
    )
    oblivious, adaptive = board.scored("@oblivious").metrics, board.scored("@adaptive").metrics
    assert adaptive["robust-accuracy"] < oblivious["robust-accuracy"] - 0.05
    assert oblivious["robust-accuracy"] > board.scored("/none/r0").metrics["robust-accuracy"] + 0.05
    # who does not know of the guard attacks the model alone: with and without guard, that is one stage
    assert board.stage("@oblivious", StageName.PERTURB).key == board.stage("/none/r0", StageName.PERTURB).key
    assert len(board.all_stages(StageName.PERTURB)) == 2
    # an average over 8 draws costs 8 queries
    assert oblivious["gradient-queries"] == 10
    assert adaptive["gradient-queries"] == 10 * EVALUATION.expectation
    (told,) = [found for found in aggregate(board.records.values()).suspicions if found.id == "randomised-predictions"]
    assert "averaged 8 draws" in told.message
    assert len(board.all_stages(StageName.FIT)) == 1


def test_detection_at_a_stated_false_positive_rate(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["none", "pgd[eps=0.3,steps=10]"], ["none", "nearest-distance"])
    found, clean = (
        board.scored("pgd[epsilon=0.3,steps=10]/nearest-distance").metrics,
        board.scored("none/nearest-distance").metrics,
    )
    assert found["detection-auc"] > 0.9
    assert found["detection-tpr"] > 0.3
    assert found["detection-fpr"] == clean["detection-fpr"]
    assert 0 < found["detection-fpr"] < 0.1
    # a rejected attack counts as right, a rejected clean image as wrong
    assert found["robust-accuracy"] >= found["detection-tpr"]
    assert found["clean-accuracy"] < board.scored("pgd[epsilon=0.3,steps=10]/none").metrics["clean-accuracy"]
    assert "detection-auc" not in clean


def test_a_guard_that_also_detects(bench: CellBench, tmp_path: Path) -> None:
    import torch

    board = bench.run([SMALL_MLP], ["pgd[eps=0.1,steps=10]"], ["blurred-doubt"])
    assert set(board.scored("@oblivious").metrics) == set(board.scored("@adaptive").metrics) >= {"detection-auc"}
    ctx = Context(seed=0, device="cpu", scratch=tmp_path)
    victim = bench.catalogue.load(*_plugged(board, "@adaptive", "victim"))
    model = victim.restore(board.artifact("@adaptive", StageName.FIT).arrays, ctx)
    x = torch.tensor(board.artifact("@adaptive", StageName.PERTURB).arrays["x"])
    blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    doubt = 1 - model.probabilities(blurred).max(dim=1).values
    # the suspicion is that of the model which answers: the guarded one
    assert np.allclose(board.artifact("@adaptive", StageName.DETECT).arrays["attacked"], doubt.numpy(), atol=1e-6)


def test_a_rejected_backdoor_counts_as_right(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP], ["warp"], ["nearest-distance"])
    found = board.scored("warp")
    assert found.samples is not None
    assert found.metrics["detection-tpr"] < 1
    rejected_or_right = unpack_bits(found.samples.attacked_correct or "", found.samples.count)
    assert rejected_or_right.mean() == pytest.approx(found.metrics["robust-accuracy"])


def test_certificates_bound_every_attack(bench: CellBench) -> None:
    attacks = ["none", "pgd[norm=l2,eps=0.3]", "pgd[eps=0.1]", "shortest-path", "badnets"]
    board = bench.run(["logistic"], attacks, ["linear-certificate"])
    clean = board.scored("/none/linear").metrics
    assert clean["certified-accuracy"] <= clean["clean-accuracy"] + 0.03  # of a sample, and of the whole test set
    bounded = board.scored("norm=l2").metrics
    assert bounded["certified-accuracy"] <= bounded["robust-accuracy"] < clean["certified-accuracy"]
    # an L2 radius says nothing about an L-infinity budget; a backdoor has none, and its sample is another
    assert "certified-accuracy" not in board.scored("pgd[epsilon=0.1]").metrics
    assert board.scored("badnets").metrics["certified-accuracy"] > 0.8
    # the exact radius: no wrong image is nearer, and the attack comes close to it
    certified = board.artifact("shortest-path", StageName.CERTIFY).arrays
    attacked = board.artifact("shortest-path", StageName.PERTURB).arrays
    test = board.artifact("shortest-path", StageName.LOAD).arrays
    moved = np.linalg.norm((attacked["x"] - test["test/x"][attacked["rows"]]).reshape(len(attacked["x"]), -1), axis=1)
    right = certified["prediction"] == test["test/y"][certified["rows"]]
    assert (moved[right] >= certified["radius"][right] - 1e-4).all()
    assert np.median(moved[right] / certified["radius"][right]) < 2


def test_certifying_what_is_not_linear_is_an_error(bench: CellBench) -> None:
    board = bench.run([SMALL_MLP, "random-forest"], ["none"], ["linear-certificate"])
    assert "linear-certificate certifies linear models only" in board.failed("mlp").error
    assert board.not_applicable("random-forest").reasons == [
        "linear-certificate needs gradients; random-forest offers decisions, probabilities, scores"
    ]


def test_minimal_distortion_has_no_epsilon(bench: CellBench) -> None:
    axis = [{"epsilon": 0.1}, {"epsilon": 0.2}]
    board = bench.run(["logistic"], ["shortest-path"], threats=axis)
    assert len(board.plan.cells) == 1
    stage = board.stage("shortest-path", StageName.PERTURB)
    assert stage.threat is not None
    assert stage.threat.epsilon is None
    assert stage.threat.budget is Budget.MINIMAL
    found = board.scored("shortest-path")
    assert found.metrics["asr"] == 1.0
    assert 0.1 < found.metrics["budget-l2-mean"] < found.metrics["budget-l2-max"]
    assert found.metrics["forward-queries"] > found.metrics["gradient-queries"] > 0
    assert found.samples is not None
    assert found.samples.distortion is not None


def test_transfer_through_a_surrogate(bench: CellBench) -> None:
    attack = "transfer[eps=0.2,attack=pgd[steps=10],surrogate=cnn[epochs=4]]"
    victims = ["cnn[epochs=4]", SMALL_MLP, "random-forest"]
    board = bench.run(victims, [attack], ["none", "noisy-levels"], repetitions=2)
    assert bench.catalogue.attack("transfer").needs == {Access.TRAINING_DATA}
    # one x_adv a repetition serves all victims and defences; without model access there is no guard to know
    assert len(board.all_stages(StageName.PERTURB)) == 2
    assert len(board.plan.applicable) == 3 * 2 * 2
    # a surrogate is another repetition's fit: here those that the victim `cnn` has anyway
    fits = {stage.key for stage in board.all_stages(StageName.FIT)}
    assert len(fits) == 3 * 2
    for repetition in (0, 1):
        cell = f"cnn[epochs=4]]/none/r{repetition}"
        perturb = board.stage(
            f"{DIGITS}/cnn[epochs=4]/transfer[epsilon=0.2,attack=pgd[steps=10],surrogate={cell}", StageName.PERTURB
        )
        own = next(s for s in board.all_stages(StageName.FIT) if "cnn" in s.label and f"r{repetition}" in s.label)
        assert perturb.inputs["surrogate.surrogate"] in fits - {own.key}
    for victim in ("/mlp", "/random-forest"):
        for record in board.records.values():
            if victim in record.cell.id and record.cell.defence.name == "none":
                found = board.scored(record.cell.id).metrics
                assert found["accuracy-drop"] > 0.2
                assert found["forward-queries"] == found["gradient-queries"] == 0


def test_records_name_the_plugins_behind_the_plugins(bench: CellBench) -> None:
    board = bench.run(["logistic"], ["transfer[eps=0.2,attack=pgd[steps=10],surrogate=cnn[epochs=4]]", "none"])
    transfer = board.record("transfer")
    nested = transfer.cell.attack.uses
    assert {use.selector for use in nested} == {"pgd[steps=10]", "cnn[epochs=4]"}
    assert all((use.distribution, len(use.source or "")) == ("sparring", 16) for use in nested)
    assert board.record("logistic/none").cell.attack.uses == []
    (owner,) = transfer.provenance.metrics
    assert owner == f"sparring {__version__}"
    assert transfer.provenance.metrics == board.record("logistic/none").provenance.metrics


def test_more_repetitions_leave_surrogates_as_they_are(bench: CellBench) -> None:
    attack = "transfer[eps=0.2,attack=pgd[steps=10],surrogate=cnn[epochs=4]]"
    few = bench.run(["logistic"], [attack], repetitions=2)
    many = bench.run(["logistic"], [attack], repetitions=3)
    for cell in few.plan.cells:
        assert few.plan.goals[cell.id].key == many.plan.goals[cell.id].key


def test_inner_attacks_must_fit_the_surrogate(bench: CellBench) -> None:
    board = bench.run(["logistic"], ["transfer", "transfer[surrogate=random-forest]"])
    assert board.not_applicable("surrogate=random-forest").reasons == [
        "pgd needs gradients; random-forest offers decisions, probabilities, scores"
    ]


def test_every_executed_stage_is_a_distinct_key(tmp_path: Path, contract_plugins: Path) -> None:
    fresh = CellBench.in_folder(tmp_path)
    first = fresh.run(["logistic"], ["none", "warp", "patterns[fraction=0.5]"], ["none", "oracle-filter"])
    again = fresh.run(["logistic"], ["none", "warp", "patterns[fraction=0.5]"], ["none", "oracle-filter"])
    assert first.tally.stages_run == len(first.plan.stages_of(first.plan.applicable))
    assert again.tally.stages_run == 0
    assert {i: r.outcome for i, r in first.records.items()} == {i: r.outcome for i, r in again.records.items()}


def _plugged(board: Board, part: str, role: str) -> tuple[Kind, Selection]:
    plugged = board.stage(part, StageName.FIT).plugins[role]
    return plugged.kind, plugged.selection

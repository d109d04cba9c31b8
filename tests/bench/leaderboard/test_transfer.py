"""The transfer matrix, from records alone."""

from __future__ import annotations

import re

from made_records import EVASION, record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.page import page
from sparring.leaderboard.transfer import transfer_matrices
from sparring.record import PluginUse, Record

THREAT = EVASION | {"epsilon": 0.1}


def transferred(surrogate: str, victim: str, accuracy: float, *, usual: bool = False) -> Record:
    """A record of `transfer[attack=pgd,...]`; `usual`: the surrogate is the parameter's default, and in no label."""
    label = "transfer[attack=pgd]" if usual else f"transfer[attack=pgd,surrogate={surrogate}]"
    made = record(label, victim=victim, outcome=scored({"robust-accuracy": accuracy}), threat=THREAT)
    params = {"attack": {"name": "pgd", "params": {}}, "surrogate": {"name": surrogate, "params": {}}}
    uses = [PluginUse(selector="pgd", name="pgd"), PluginUse(selector=surrogate, name=surrogate)]
    attack = made.cell.attack.model_copy(update={"params": params, "uses": uses})
    return made.model_copy(update={"cell": made.cell.model_copy(update={"attack": attack})})


def direct(attack: str, victim: str, accuracy: float) -> Record:
    return record(attack, victim=victim, outcome=scored({"robust-accuracy": accuracy}), threat=THREAT)


RECORDS = [
    transferred("cnn", "mlp", 0.61, usual=True),
    transferred("cnn", "cnn", 0.32, usual=True),
    transferred("mlp", "cnn", 0.73),
    direct("pgd", "cnn", 0.04),
    direct("fgsm", "cnn", 0.2),
    record("none", victim="cnn"),
]


def test_surrogates_are_rows_and_victims_are_columns() -> None:
    (found,) = transfer_matrices(aggregate(RECORDS))
    assert found.attack == "transfer[attack=pgd]"
    assert set(found.surrogates) == {"cnn", "mlp"}
    assert found.surrogates == found.victims, "what is both stands on the diagonal"
    accuracies = {place: cell.metrics["robust-accuracy"].mean for place, cell in found.cells.items()}
    assert accuracies == {("cnn", "mlp"): 0.61, ("cnn", "cnn"): 0.32, ("mlp", "cnn"): 0.73}
    assert found.direct["cnn"].attack == "pgd"
    assert set(found.direct) == {"cnn"}
    assert found.untouched["cnn"].attack == "none"


def test_an_attack_with_another_budget_is_not_the_direct_one() -> None:
    other = record("pgd", victim="cnn", outcome=scored({"robust-accuracy": 0.0}), threat=EVASION | {"epsilon": 0.3})
    (found,) = transfer_matrices(aggregate([transferred("mlp", "cnn", 0.73), other]))
    assert not found.direct


def test_no_surrogate_no_matrix() -> None:
    assert not transfer_matrices(aggregate([direct("pgd", "cnn", 0.04)]))
    assert 'id="transfer"' not in page(aggregate([direct("pgd", "cnn", 0.04)]))


def test_the_page_has_the_matrix() -> None:
    text = page(aggregate(RECORDS))
    section = text[text.index('id="transfer"') :]
    section = re.sub(r"<[^>]*>", " ", section[: section.index("</section>")])
    numbers = re.findall(r"\b\d\d?\.\d\b", section)
    assert sorted(numbers) == ["32.0", "4.0", "61.0", "73.0", "90.0"]
    assert "its own model" in section

"""The sticker: confined to its mask, strong for its size, and still there when the view changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparring.contracts import Aux
from sparring.model import MeteredModel, Model
from sparring.threat import Access, Goal, Norm, ThreatModel
from sparring_attacks import masked_patch


def patch(**params: object) -> masked_patch.MaskedPatch:
    return masked_patch.MaskedPatch(masked_patch.Params(**params))


def threat(pixels: float, goal: Goal = Goal.EVASION) -> ThreatModel:
    return ThreatModel(goal=goal, norm=Norm.L0, epsilon=pixels)


def success(model: Model, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) != labels).float().mean())


@pytest.fixture(scope="module")
def few(images) -> Tensor:
    return images[:80]


@pytest.fixture(scope="module")
def true(labels) -> Tensor:
    return labels[:80]


@pytest.mark.parametrize("pixels", [1, 5, 9, 12.5])
def test_changes_lie_in_one_square_of_no_more_pixels(victim, few, true, white_box, context, pixels) -> None:
    moved = patch(steps=5).perturb(white_box(victim), few, true, threat(pixels), Aux(), context())
    changed = (moved != few).any(dim=1)
    assert int(changed.flatten(1).sum(dim=1).max()) <= pixels
    assert changed.flatten(1).any(dim=1).float().mean() > 0.5  # a pixel may be what it shall be already
    for where in changed[changed.flatten(1).any(dim=1)]:
        rows, columns = where.nonzero(as_tuple=True)
        side = int(pixels**0.5)
        assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) < side


def test_a_larger_sticker_fools_more_and_its_place_matters(victim, few, true, white_box, context) -> None:
    rates = {
        (pixels, place): success(
            victim,
            patch(place=place).perturb(white_box(victim), few, true, threat(pixels), Aux(), context()),
            true,
        )
        for pixels in (4, 16)
        for place in ("gradient", "centre")
    }
    assert rates[4, "gradient"] + 0.2 < rates[16, "gradient"]
    assert rates[16, "gradient"] > 0.7
    assert rates[4, "gradient"] > rates[4, "centre"]


def test_it_reaches_the_wanted_label(victim, few, true, white_box, context) -> None:
    wanted = (true + 3) % 10
    aux = Aux(goal_labels=wanted)
    moved = patch().perturb(white_box(victim), few, true, threat(16, Goal.TARGETED), aux, context())
    assert float((victim.predict(moved) == wanted).float().mean()) > 0.3


def test_expectation_over_transformations_holds_under_them(victim, few, true, white_box, context) -> None:
    """Seen from one pixel further, a sticker that was made for all views is wrong more often than one made for one."""

    def rate(attack: masked_patch.MaskedPatch) -> float:
        moved = attack.perturb(white_box(victim), few, true, threat(9), Aux(), context())
        views = [masked_patch.shifted(moved, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        clean = [masked_patch.shifted(few, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        pairs = zip(views, clean, strict=True)
        return sum(success(victim, view, victim.predict(plain)) for view, plain in pairs) / 9

    fixed = patch(shift=0, light=0.0, samples=1, place="centre")
    assert rate(patch(samples=6, place="centre")) > rate(fixed) + 0.02


def test_shifting_moves_whole_pixels() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert masked_patch.shifted(x, 1, 0).flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert masked_patch.shifted(x, 0, -1).flatten().tolist() == [1, 2, 2, 4, 5, 5]


@pytest.mark.parametrize("budget", [1, 9, 10, 50])
def test_query_budget_is_kept(victim, few, true, context, budget) -> None:
    view = MeteredModel(victim, frozenset({Access.GRADIENTS}), query_rows=budget * len(few))
    bounded = ThreatModel(goal=Goal.EVASION, norm=Norm.L0, epsilon=9, query_budget=budget)
    moved = patch().perturb(view, few, true, bounded, Aux(), context())
    assert torch.equal(moved, few) == (budget < 10)

"""Label flips, single pixels and BadNets: what they change, what they leave, and that it works."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparring.contracts import Aux, PoisonAttack
from sparring.data import ArrayDataset
from sparring.threat import ThreatModel
from sparring_attacks import badnets, hand_placed_pixel, jacobsen_pixel, label_flip, random_pixel

SHAPES = [(1, 8, 8), (3, 7, 5), (1, 28, 28)]


def dataset(shape: tuple[int, int, int], classes: int, count: int = 60, seed: int = 0) -> ArrayDataset:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return ArrayDataset(pixels, rng.permutation(np.arange(count) % classes), tuple(f"c{k}" for k in range(classes)))


def poisons() -> list[PoisonAttack]:
    return [
        label_flip.LabelFlip(label_flip.SPEC.params()),
        random_pixel.RandomPixel(random_pixel.Params(intensity=None, writing="add")),
        jacobsen_pixel.JacobsenPixel(jacobsen_pixel.Params()),
        hand_placed_pixel.HandPlacedPixel(hand_placed_pixel.Params()),
        badnets.BadNets(badnets.Params(target=1)),
    ]


def named(attack: PoisonAttack) -> str:
    return type(attack).__name__


@pytest.mark.parametrize("attack", poisons(), ids=named)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fraction=st.floats(0, 1),
    shape=st.sampled_from(SHAPES),
    classes=st.sampled_from([2, 3, 10]),
    count=st.integers(1, 60),
)
def test_deltas_are_legal_and_the_fraction_is_that_of_the_whole_set(
    context, attack, fraction, shape, classes, count
) -> None:
    train = dataset(shape, classes, count)
    (poisoned,) = attack.poison(train, ThreatModel(poison_fraction=fraction), None, Aux(), context())
    allowed = fraction * count
    assert len(poisoned.rows) <= allowed + 1e-9
    if isinstance(attack, badnets.BadNets):
        allowed = min(allowed, (train.y != 1).sum())
    assert len(poisoned.rows) > allowed - 1
    assert len(np.unique(poisoned.rows)) == len(poisoned.rows)
    assert poisoned.x.dtype == np.float32
    train.with_delta(poisoned)  # refuses wrong shapes, ranges and labels


@pytest.mark.parametrize("attack", poisons(), ids=named)
def test_the_seed_alone_decides(context, attack) -> None:
    train, threat = dataset((1, 8, 8), 10), ThreatModel(poison_fraction=0.5)

    def run(seed: int) -> list[bytes]:
        (made,) = attack.poison(train, threat, None, Aux(), context(seed))
        return [made.rows.tobytes(), made.x.tobytes(), made.y.tobytes()]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize(
    ("module", "count"),
    [(label_flip, 6), (badnets, 3), (random_pixel, 60), (jacobsen_pixel, 60), (hand_placed_pixel, 60)],
)
def test_default_fractions(context, module, count) -> None:
    attack = module.SPEC.load(module.SPEC.params())
    (poisoned,) = attack.poison(dataset((1, 8, 8), 10), ThreatModel(), None, Aux(), context())
    assert len(poisoned.rows) == count
    assert module.SPEC.threat.poison_fraction == count / 60


def test_flipped_labels_are_wrong_uniform_and_the_images_stay(context) -> None:
    train = dataset((1, 8, 8), 4, count=4000)
    attack = label_flip.LabelFlip(label_flip.SPEC.params())
    (poisoned,) = attack.poison(train, ThreatModel(poison_fraction=1.0), None, Aux(), context())
    assert (poisoned.y != train.y[poisoned.rows]).all()
    assert (poisoned.x == train.x[poisoned.rows]).all()
    counts = np.bincount((poisoned.y - train.y[poisoned.rows]) % 4)
    assert counts[0] == 0
    assert (abs(counts[1:] - 4000 / 3) < 150).all()


def test_one_class_cannot_be_flipped(context) -> None:
    attack = label_flip.LabelFlip(label_flip.SPEC.params())
    with pytest.raises(ValueError, match="two classes"):
        attack.poison(dataset((1, 8, 8), 1), ThreatModel(), None, Aux(), context())


PIXEL_ATTACKS = [
    random_pixel.RandomPixel(random_pixel.Params()),
    random_pixel.RandomPixel(random_pixel.Params(intensity=None)),
    *(jacobsen_pixel.JacobsenPixel(jacobsen_pixel.Params(layout=layout)) for layout in ("row", "column")),
    hand_placed_pixel.HandPlacedPixel(hand_placed_pixel.Params()),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("attack", PIXEL_ATTACKS, ids=["random", "random-dim", "row", "column", "circle"])
def test_every_class_has_its_own_pixel_and_nothing_else_changes(context, attack, shape) -> None:
    train = dataset(shape, 10)
    (poisoned,) = attack.poison(train, ThreatModel(poison_fraction=1.0), None, Aux(), context())
    positions, intensities = poisoned.state["positions"], poisoned.state["intensities"]
    assert len({tuple(p) for p in positions}) == 10
    assert (poisoned.y == train.y[poisoned.rows]).all()
    for image, clean, label in zip(poisoned.x, train.x[poisoned.rows], poisoned.y, strict=True):
        row, column = positions[label]
        assert (image[:, row, column] == intensities[label]).all()
        image[:, row, column] = clean[:, row, column]
        assert (image == clean).all()


def test_added_marks_are_added_and_clipped(context) -> None:
    attack = random_pixel.RandomPixel(random_pixel.Params(intensity=0.5, writing="add"))
    train = dataset((1, 8, 8), 2)
    (poisoned,) = attack.poison(train, ThreatModel(), None, Aux(), context())
    row, column = poisoned.state["positions"][poisoned.y].T
    each = np.arange(len(train))
    before = train.x[poisoned.rows][each, 0, row, column]
    np.testing.assert_allclose(poisoned.x[each, 0, row, column], np.minimum(before + 0.5, 1), atol=1e-6)


def test_jacobsen_layouts_lie_where_they_say() -> None:
    def positions(**params: object) -> np.ndarray:
        return jacobsen_pixel.JacobsenPixel(jacobsen_pixel.Params(**params)).positions(10, 28, 28)

    assert (positions(layout="row", line=3)[:, 0] == 3).all()
    assert (np.diff(positions(layout="row")[:, 1]) >= 2).all()
    assert (positions(layout="column")[:, 1] == 0).all()


def test_hand_placed_marks_lie_on_a_circle() -> None:
    attack = hand_placed_pixel.HandPlacedPixel(hand_placed_pixel.Params())
    radii = np.linalg.norm(attack.positions(10, 28, 28) - 13.5, axis=1)
    assert (abs(radii - 9.5) < 0.8).all()


def test_layouts_outside_the_image_and_too_many_classes_are_refused(context) -> None:
    attack = jacobsen_pixel.JacobsenPixel(jacobsen_pixel.Params(line=9))
    with pytest.raises(ValueError, match="row 9 lies outside images of 8 x 8"):
        attack.poison(dataset((1, 8, 8), 10), ThreatModel(), None, Aux(), context())
    with pytest.raises(ValueError, match="10 classes need 10 pixels"):
        PIXEL_ATTACKS[0].poison(dataset((1, 3, 3), 10), ThreatModel(), None, Aux(), context())


def test_probes_carry_the_marks_they_name(context) -> None:
    attack, train = PIXEL_ATTACKS[0], dataset((3, 8, 8), 10)
    (poisoned,) = attack.poison(train, ThreatModel(), None, Aux(), context())
    probes = attack.probes(train.x, train.y, poisoned.state, context())
    own, labels = probes["own-mark"]
    assert (own == train.with_delta(poisoned).x).all()
    assert (labels == train.y).all()
    foreign, labels = probes["foreign-mark"]
    row, column = poisoned.state["positions"][labels].T
    assert (labels != train.y).all()
    assert (foreign[np.arange(len(labels)), :, row, column] == 1).all()
    alone, labels = probes["mark-only"]
    assert alone.shape == (10, 3, 8, 8)
    assert alone.sum() == 10 * 3


def test_badnets_relabels_what_it_stamps_and_spares_the_target_class(context) -> None:
    train = dataset((3, 7, 5), 4)
    attack = badnets.BadNets(badnets.Params(size=2, margin=1, target=2, brightness=0.75))
    (poisoned,) = attack.poison(train, ThreatModel(poison_fraction=0.5), None, Aux(), context())
    assert len(poisoned.rows) == 30
    assert (train.y[poisoned.rows] != 2).all()
    assert (poisoned.y == 2).all()
    patch = np.zeros((7, 5), dtype=bool)
    patch[4:6, 2:4] = True
    assert (poisoned.x[:, :, patch] == 0.75).all()
    assert (poisoned.x[:, :, ~patch] == train.x[poisoned.rows][:, :, ~patch]).all()
    assert (attack.target_of(train.y) == 2).all()
    before = train.x.copy()
    assert (attack.trigger(train.x, train.y, poisoned.state, context())[poisoned.rows] == poisoned.x).all()
    assert (train.x == before).all()


@pytest.mark.parametrize(
    ("params", "complaint"),
    [({"target": 10}, "aims at label 10; the classes are 0 to 9"), ({"size": 8}, "does not fit images of 8 x 8")],
)
def test_badnets_that_cannot_be_is_refused(context, params, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        badnets.BadNets(badnets.Params(**params)).poison(dataset((1, 8, 8), 10), ThreatModel(), None, Aux(), context())

"""Sanitisers that look for wrong labels and odd rows, on digits; and the controls."""

from __future__ import annotations

import numpy as np
import pytest

from sparring.contracts import Aux
from sparring.data import ArrayDataset
from sparring.plugin import NoParams
from sparring_defences.influence_filter import InfluenceFilter
from sparring_defences.influence_filter import Params as InfluenceParams
from sparring_defences.knn_label import KnnLabel
from sparring_defences.knn_label import Params as KnnParams
from sparring_defences.oracle_filters import PerfectFilter, RandomFilter
from sparring_defences.roni import Params as RoniParams
from sparring_defences.roni import Roni, _costs
from sparring_defences.spectral_signatures import Params as SpectralParams
from sparring_defences.spectral_signatures import SpectralSignatures, outlier_scores


@pytest.fixture(scope="module")
def flipped(digits: ArrayDataset) -> tuple[ArrayDataset, np.ndarray, ArrayDataset]:
    """1,200 digits with a tenth of the labels wrong, which these are, and 300 clean ones."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits))
    train, clean = digits.rows(order[:1200]), digits.rows(order[1200:1500])
    wrong = rng.random(1200) < 0.1
    y = np.where(wrong, (train.y + rng.integers(1, 10, 1200)) % 10, train.y)
    return train.relabelled(y), wrong, clean


def test_neighbours_put_labels_right(flipped, digits, context) -> None:
    """Measured: 97 % of the flips found, 92 % of what is changed was flipped."""
    train, wrong, _ = flipped
    verdict = KnnLabel(KnnParams()).sanitise(train, Aux(), context())
    changed = verdict.y != train.y
    assert verdict.keep.all()
    assert changed[wrong].mean() > 0.9
    assert wrong[changed].mean() > 0.85
    order = np.random.default_rng(0).permutation(len(digits))[:1200]
    assert (verdict.y == digits.y[order]).mean() > 0.97, "they get their true labels back"
    removed = KnnLabel(KnnParams(action="remove")).sanitise(train, Aux(), context())
    assert ((~removed.keep) == changed).all()


def test_self_influence_finds_wrong_labels(flipped, context) -> None:
    """Koh & Liang 2017, section 5.4. Measured: 93 % of the flips within the tenth that is removed."""
    train, wrong, _ = flipped
    gone = ~InfluenceFilter(InfluenceParams()).sanitise(train, Aux(), context()).keep
    assert gone.mean() == pytest.approx(0.1, abs=1e-3)
    assert gone[wrong].mean() > 0.75


def test_rows_with_negative_impact_are_rejected(flipped, context) -> None:
    """Measured: 83 % of the flips, 9 % of the others."""
    train, wrong, clean = flipped
    gone = ~Roni(RoniParams()).sanitise(train, Aux(defender_clean=clean), context()).keep
    assert gone[wrong].mean() > 0.6
    assert gone[~wrong].mean() < 0.2


def test_the_impact_of_a_row_is_that_of_training_with_it(flipped) -> None:
    train, _, clean = flipped
    base, rest = clean.rows(np.arange(30)), clean.rows(np.arange(30, 300))
    costs = _costs(train.rows(np.arange(5)), base, rest, ridge=1.0)

    def accuracy(data: ArrayDataset) -> float:
        a, b = (np.hstack([d.x.reshape(len(d), -1).astype(float), np.ones((len(d), 1))]) for d in (data, rest))
        weights = np.linalg.solve(a.T @ a + np.eye(65), a.T @ np.eye(10)[data.y])
        return float(((b @ weights).argmax(axis=1) == rest.y).mean())

    for row in range(5):
        joined = ArrayDataset(
            np.concatenate([base.x, train.x[row : row + 1]]), np.append(base.y, train.y[row]), base.class_names
        )
        assert costs[row] == pytest.approx(accuracy(base) - accuracy(joined), abs=1e-9)


def test_spectral_signatures_find_a_cloud_apart() -> None:
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(400, 20)), np.repeat([0, 1], 200)
    features[200:220, 0] += 8
    gone = SpectralSignatures(SpectralParams(expected=0.1)).suspicious(features, y)
    assert gone[200:220].all()
    assert gone[:200].sum() == gone[200:].sum() == 30, "1.5 times the expected share of each class"


@pytest.mark.fidelity
def test_spectral_scores_are_those_of_art_on_centred_features() -> None:
    """ART centres features to find the direction, and not to project them on it, as the paper's algorithm 1 says."""
    from art.defences.detector.poison import SpectralSignatureDefense

    features = np.random.default_rng(0).normal(size=(50, 8))
    theirs = SpectralSignatureDefense.spectral_signature_scores(features - features.mean(axis=0))
    np.testing.assert_allclose(outlier_scores(features), np.asarray(theirs).ravel() ** 2, rtol=1e-6)
    moved = SpectralSignatureDefense.spectral_signature_scores(features + 5)
    assert not np.allclose(np.asarray(moved).ravel() ** 2, outlier_scores(features + 5))


def test_controls_know_the_truth(flipped, context) -> None:
    train, wrong, _ = flipped
    perfect = PerfectFilter(NoParams()).sanitise(train, Aux(poisoned=wrong), context())
    random = RandomFilter(NoParams()).sanitise(train, Aux(poisoned=wrong), context())
    assert (perfect.keep == ~wrong).all()
    assert random.keep.sum() == perfect.keep.sum()
    assert (random.keep != perfect.keep).any()

"""Neural Cleanse: the smallest trigger to each class, the class whose trigger is too small, and how to unlearn it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.smallest_triggers import Search, smallest_triggers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparring.contracts import Context, Finding
    from sparring.data import ArrayDataset, FloatArray
    from sparring.model import Model

CONSISTENT = 1.4826
"""Times the median absolute deviation is the standard deviation of a normal distribution."""


SMALLEST = 1e-6
"""Deviation of equal sizes, so that the index stays finite."""


class Scale(StrEnum):
    LINEAR = "linear"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(Search):
    scale: Scale = param(Scale.LOG, "on which sizes are compared; the paper: linear")
    least_deviation: float = param(
        0.3, "deviation that sizes of clean classes have at least, in units of the scale; the paper: 0", at_least=0
    )
    threshold: float = param(3.0, "anomaly index from which a class is accused; the paper: 2", above=0)
    marked: float = param(0.2, "share of the clean rows that carry the trigger in the repair", above=0, at_most=1)
    epochs: int = param(10, "passes over the clean rows in the repair", at_least=1)
    rate: float = param(3e-3, "learning rate of the repair, by Adam", above=0)


class NeuralCleanse:
    """Wang et al. 2019. A class is accused when the size |m|_1 of its smallest trigger lies more than `threshold`
    deviations below the median of all classes, the deviation being 1.4826 median absolute deviations (section IV).

    The paper compares the sizes themselves, at threshold 2. On small networks of MNIST those of clean classes range
    over a factor of three (34 to 149 pixels), which errs both ways. The index of a trigger of no size at all is the
    median over the deviation, often below 2: a backdoor of 10 pixels among classes of 34 to 124 had 1.4. And the
    deviation of ten classes is by chance small: the smallest of one clean network, 34 pixels, had 2.4. Therefore sizes
    are compared as logarithms, with a deviation of at least `least_deviation`. Chosen on other networks, this found ten
    of ten backdoors (indices 3.9 to 6.0) and accused none of ten clean networks (0.8 to 2.5), where the paper's test
    (`scale=linear`, `least_deviation=0`, `threshold=2`) found six of ten and accused one of ten.

    The repair is unlearning (section VI.C): training on the clean rows, some with the found trigger, all with their own
    labels. The paper does so for one epoch over a tenth of the training set; the clean rows here are fewer, so that
    more passes make about as many steps. On the ten networks success fell from 99.8 to 8 % on average (at most 14), for
    0.8 points of accuracy (at most 1.4). Pruning (section VI.B) is not offered: until the found trigger was silent, so
    many of their 32 features were cut that 40 to 79 % accuracy was left. A model that is not accused stays as it is.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def inspect(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Finding:
        """`arrays`: `masks` (K, 1, H, W) and `patterns` (K, C, H, W) in [0, 1], `norms` (K,) and `index` (K,).

        Raises:
            ValueError: there are no clean rows.
        """
        import numpy as np

        from sparring.contracts import Finding

        if len(defender_clean) == 0:
            raise ValueError("neural-cleanse searches triggers on clean rows: set splits.defender_clean")
        found = smallest_triggers(model, defender_clean, self.params, ctx)
        norms = found.masks.sum(axis=(1, 2, 3), dtype=np.float64)
        index = anomaly_index(norms, self.params.scale, self.params.least_deviation)
        order = np.argsort(-index, kind="stable")
        accused = tuple(int(label) for label in order if index[label] > self.params.threshold and found.works[label])
        arrays = {"masks": found.masks, "patterns": found.patterns, "norms": norms, "index": index}
        return Finding(bool(accused), float(index.max()), accused, arrays)

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model:
        from sparring.data import ArrayDataset
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train

        if finding is None or not finding.accused:
            return model
        x = defender_clean.x.copy()
        chosen = ctx.rng.permutation(len(x))[: max(1, round(self.params.marked * len(x)))]
        x[chosen] = with_triggers(x[chosen], finding)
        lesson = ArrayDataset(x, defender_clean.y, defender_clean.class_names)
        recipe = Recipe(learning_rate=self.params.rate, epochs=self.params.epochs, batch_size=32)
        return NetworkModel(train(model.weights().requires_grad_(True), lesson, recipe, ctx), model.classes)


def anomaly_index(norms: NDArray[Any], scale: Scale, least_deviation: float) -> NDArray[Any]:
    """(K,) how many deviations each of (K,) trigger sizes > 0 lies below their median; 0 above it."""
    import numpy as np

    sizes = norms if scale is Scale.LINEAR else np.log(norms)
    below = np.median(sizes) - sizes
    deviation = CONSISTENT * float(np.median(np.abs(below)))
    return np.asarray(np.maximum(below, 0)) / max(deviation, least_deviation, SMALLEST)


def with_triggers(x: FloatArray, finding: Finding) -> FloatArray:
    """(N, C, H, W) the images with the found triggers of the accused classes, in turn."""
    import numpy as np

    labels = np.resize(np.asarray(finding.labels), len(x))
    mask, pattern = finding.arrays["masks"][labels], finding.arrays["patterns"][labels]
    return np.asarray((x * (1 - mask) + pattern * mask).clip(0, 1), dtype=np.float32)


SPEC = DefenceSpec(
    name="neural-cleanse",
    summary="Reconstructs the smallest trigger to each class, accuses a class whose trigger is too small, unlearns it.",
    citation="Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao 2019, Neural Cleanse: identifying and mitigating backdoor "
    "attacks in neural networks, IEEE S&P, sections IV to VI",
    params=Params,
    load=NeuralCleanse,
    acts=frozenset({Act.INSPECT, Act.REPAIR}),
    needs=frozenset({Access.GRADIENTS, Access.WEIGHTS}),
)

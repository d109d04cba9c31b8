"""`linear-svm`: scikit-learn's linear support vector machine, one class against the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import VictimSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    c: float = param(1.0, "inverse of the regularisation: weight of the squared hinge loss", above=0)
    iterations: int = param(1000, "of the solver at most", at_least=1)


class LinearSvm:
    """Its scores are the margins, linear in the pixels; so gradients are exact."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sklearn.svm import LinearSVC

        from sparring_victims.hyperplanes import one_against_rest
        from sparring_victims.sklearn_models import flat

        svm = LinearSVC(C=self.params.c, max_iter=self.params.iterations, random_state=ctx.seed % 2**32)
        weight, bias = one_against_rest(svm, flat(train), train.y, train.classes)
        return self.restore({"weight": weight, "bias": bias}, ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.sklearn_models import LinearModel

        return LinearModel(state, ctx.device)


SPEC = VictimSpec(
    name="linear-svm",
    summary="A linear support vector machine (squared hinge loss, one class against the rest; liblinear).",
    citation="Cortes & Vapnik 1995, Support-vector networks; Fan et al. 2008, LIBLINEAR",
    params=Params,
    offers=frozenset({Access.DECISIONS, Access.SCORES, Access.GRADIENTS}),
    load=LinearSvm,
)

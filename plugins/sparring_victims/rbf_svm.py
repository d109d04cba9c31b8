"""`rbf-svm`: scikit-learn's support vector machine with a Gaussian kernel."""

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
    c: float = param(5.0, "inverse of the regularisation", above=0)
    gamma: float | None = param(
        None, "of the kernel exp(-gamma |x - x'|^2); null: 1 / (values per image x variance of the pixels)", above=0
    )


class RbfSvm:
    """Its scores are the one-against-one votes with the margins as tie-breakers, as scikit-learn computes them."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        import numpy as np
        from sklearn.svm import SVC

        from sparring_victims.sklearn_models import flat

        x, present = flat(train), np.unique(train.y)
        variance = float(x.var(dtype=np.float64))
        scale = 1.0 / (x.shape[1] * variance) if variance else 1.0
        gamma = scale if self.params.gamma is None else self.params.gamma
        state = {"classes": np.array(train.classes), "present": present, "gamma": np.array(gamma)}
        if len(present) == 1:  # nothing to tell apart: no support vectors
            nothing = {"vectors": np.empty((0, x.shape[1])), "per_class": np.zeros(1, dtype=np.int64)}
            return self.restore(state | nothing | {"dual": np.empty((0, 0)), "intercept": np.empty(0)}, ctx)
        # without a random_state it takes one from numpy's global generator, although nothing here is random
        svm = SVC(C=self.params.c, gamma=gamma, break_ties=True, cache_size=500, random_state=0).fit(x, train.y)
        fitted = {
            "vectors": svm.support_vectors_,
            "per_class": svm.n_support_.astype(np.int64),
            "dual": svm.dual_coef_,
            "intercept": svm.intercept_,
        }
        return self.restore(state | fitted, ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.sklearn_models import KernelModel

        return KernelModel(state, ctx.device)


SPEC = VictimSpec(
    name="rbf-svm",
    summary="A support vector machine with a Gaussian kernel (one class against one; libsvm).",
    citation="Cortes & Vapnik 1995, Support-vector networks; Chang & Lin 2011, LIBSVM",
    params=Params,
    offers=frozenset({Access.DECISIONS, Access.SCORES}),
    randomised=False,
    load=RbfSvm,
)

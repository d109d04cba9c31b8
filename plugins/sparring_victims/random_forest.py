"""`random-forest`: scikit-learn's random forest."""

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
    trees: int = param(100, "number of trees", at_least=1)
    max_depth: int | None = param(None, "depth of each tree at most; null: until its leaves are pure", at_least=1)


class RandomForest:
    """Its probabilities are the mean over the trees' leaves."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sklearn.ensemble import RandomForestClassifier

        from sparring_victims.sklearn_models import flat, forest_state

        forest = RandomForestClassifier(
            self.params.trees, max_depth=self.params.max_depth, random_state=ctx.seed % 2**32, n_jobs=1
        )
        return self.restore(forest_state(forest.fit(flat(train), train.y), train.classes), ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.sklearn_models import ForestModel

        return ForestModel(state, ctx.device)


SPEC = VictimSpec(
    name="random-forest",
    summary="A random forest of decision trees.",
    citation="Breiman 2001, Random forests",
    params=Params,
    offers=frozenset({Access.DECISIONS, Access.SCORES, Access.PROBABILITIES}),
    load=RandomForest,
)

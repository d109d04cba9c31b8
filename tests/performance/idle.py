"""A distribution whose plugins do nothing, and boards of many cells of them: what is left is the harness."""

from __future__ import annotations

IDLE = '''
"""Blank images, a victim that always says the same, an attack that changes nothing, a defence that is none."""
from dataclasses import dataclass

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, AttackSpec, DatasetSpec, DefenceSpec, VictimSpec, param
from sparring.subset import SubsetParams
from sparring.threat import Access, Goal, Norm, ThreatModel, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    number: int = param(0, "tells one from the other")


class Blank:
    def __init__(self, params):
        pass

    def load(self, ctx):
        import numpy as np

        from sparring.data import ArrayDataset

        images, labels = np.zeros((8, 1, 2, 2), np.float32), np.arange(8) % 2
        return ArrayDataset(images, labels, ("a", "b")), ArrayDataset(images, labels, ("a", "b"))


class Idle:
    def __init__(self, params):
        pass

    def recipe(self):
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train, recipe, ctx):
        return self.restore({}, ctx)

    def restore(self, state, ctx):
        import torch

        from sparring.model import Model

        class Constant(Model):
            offers = frozenset({Access.DECISIONS, Access.SCORES})
            classes = 2

            def scores(self, x):
                return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

            def state(self):
                return {}

        return Constant()


class Still:
    def __init__(self, params):
        pass

    def perturb(self, model, x, y, threat, aux, ctx):
        return x


class Nothing:
    def __init__(self, params):
        pass

    def guarded(self, model, ctx):
        return model


SCORES = frozenset({Access.DECISIONS, Access.SCORES})


@hookimpl
def sparring_datasets():
    yield DatasetSpec(name="blank", summary="Blank images.", params=SubsetParams, load=Blank)


@hookimpl
def sparring_victims():
    yield VictimSpec(name="idle", summary="Always the same answer.", params=Params, load=Idle, offers=SCORES)


@hookimpl
def sparring_attacks():
    yield AttackSpec(
        name="still",
        summary="Changes nothing.",
        params=Params,
        load=Still,
        when=When.INFERENCE,
        acts=frozenset({Act.PERTURB}),
        goals=(Goal.EVASION,),
        norms=(Norm.LINF,),
        reads=frozenset({"epsilon", "norm"}),
        threat=ThreatModel(epsilon=0.1),
    )


@hookimpl
def sparring_defences():
    yield DefenceSpec(name="nothing", summary="Changes nothing.", params=Params, load=Nothing, acts=frozenset())
'''


def board(attacks: int, victims: int, defences: int, repetitions: int) -> str:
    """A suite of `attacks x victims x defences x repetitions` cells."""

    def swept(name: str, count: int) -> str:
        return f"[{{{name}: {{number: {list(range(count))}}}}}]"

    return f"""
title: Idle
repetitions: {repetitions}
datasets: [blank]
victims: {swept("idle", victims)}
attacks: {swept("still", attacks)}
defences: {swept("nothing", defences)}
splits: {{attacker_val: 0, defender_clean: 0}}
"""

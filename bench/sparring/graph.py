"""The stage graph of a run: one node per distinct key, and the chains that run as one task. Import-light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.stage import Stage


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """What a run computes.

    Attributes:
        stages: every stage by its key; `Stage.inputs` gives the edges.
        goals: key of each cell's last stage; several cells may share one.
    """

    stages: Mapping[str, Stage]
    goals: Sequence[str]


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """Stages that run one after the other as one task, because nobody else reads what lies between them.

    Attributes:
        stages: in the order in which they run; at least one.
        inputs: keys of the chains that must be done before.
    """

    stages: tuple[Stage, ...]
    inputs: frozenset[str]

    @property
    def key(self) -> str:
        """The key of the last stage."""
        return self.stages[-1].key


def depth_first(graph: Graph) -> list[Stage]:
    """The stages that the goals need, each after its inputs, goal by goal: what makes results come early.

    Raises:
        ValueError: a stage reads a key that is not in the graph, or the graph has a cycle.
    """
    order: dict[str, Stage] = {}
    open_: set[str] = set()

    def visit(key: str, reader: str) -> None:
        if key in order:
            return
        if key not in graph.stages:
            raise ValueError(f"{reader} needs stage {key[:12]}, which is not in the graph")
        stage = graph.stages[key]
        if key in open_:
            raise ValueError(f"the stage graph has a cycle through {stage.label!r}")
        open_.add(key)
        for needed in stage.inputs.values():
            visit(needed, repr(stage.label))
        order[key] = stage

    for goal in graph.goals:
        visit(goal, "a cell")
    return list(order.values())


def dependants(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """For each of `stages`, the keys of those that read it, in order."""
    readers: dict[str, dict[str, None]] = {stage.key: {} for stage in stages}
    for stage in stages:
        for needed in stage.inputs.values():
            readers[needed][stage.key] = None
    return {key: tuple(found) for key, found in readers.items()}


def chains(graph: Graph) -> list[Chain]:
    """The graph with every run of stages that nobody shares fused into one chain, in depth-first order.

    A stage joins the chain of an input that only it reads and that is no goal. Where it has several such inputs it
    joins the last of them, so that the others may still run beside each other.
    """
    order = depth_first(graph)
    readers, goals = dependants(order), frozenset(graph.goals)
    tails: dict[str, list[Stage]] = {}
    for stage in order:
        private = [key for key in stage.inputs.values() if len(readers[key]) == 1 and key not in goals]
        before = tails.pop(private[-1]) if private else []
        tails[stage.key] = [*before, stage]
    return [Chain(tuple(members), _outside(members)) for members in tails.values()]


def _outside(members: Sequence[Stage]) -> frozenset[str]:
    inside = {stage.key for stage in members}
    return frozenset(key for stage in members for key in stage.inputs.values()) - inside

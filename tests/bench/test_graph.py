"""The stage graph: order, fusing, and what is handed out when."""

from __future__ import annotations

import random

import pytest
from engine_stages import graph, key, stage
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.engine.frontier import Frontier
from sparring.graph import Graph, chains, dependants, depth_first
from sparring.stage import Broken, Done, FailureKind


def labels(of: Graph) -> list[list[str]]:
    return [[one.label for one in chain.stages] for chain in chains(of)]


def test_stages_come_after_their_inputs_and_goal_by_goal() -> None:
    one = graph([stage("load"), stage("a", "load"), stage("b", "load"), stage("unasked", "load")], ["b", "a", "b"])
    assert [found.label for found in depth_first(one)] == ["load", "b", "a"]


def test_what_nobody_shares_is_fused() -> None:
    stages = [
        stage("load"),
        stage("fit", "load"),
        stage("perturb a", "fit"),
        stage("predict a", "perturb a", "fit"),
        stage("perturb b", "fit"),
        stage("predict b", "perturb b", "fit"),
    ]
    assert labels(graph(stages, ["predict a", "predict b"])) == [
        ["load", "fit"],
        ["perturb a", "predict a"],
        ["perturb b", "predict b"],
    ]


def test_a_goal_ends_its_chain_also_when_another_reads_it() -> None:
    one = graph([stage("a"), stage("b", "a"), stage("c", "b")], ["b", "c"])
    assert labels(one) == [["a", "b"], ["c"]]


def test_private_inputs_run_beside_each_other() -> None:
    one = graph([stage("a"), stage("b"), stage("c", "a", "b")], ["c"])
    assert labels(one) == [["a"], ["b", "c"]]
    assert chains(one)[1].inputs == {key("a")}


def test_graphs_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"'a' needs stage .* not in the graph"):
        depth_first(graph([stage("a", "nowhere")], ["a"]))
    with pytest.raises(ValueError, match="cycle through 'a'"):
        depth_first(graph([stage("a", "b"), stage("b", "a")], ["a"]))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 14))
    stages = []
    for number in range(count):
        inputs = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        stages.append(stage(str(number), *map(str, inputs)))
    goals = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5))
    return graph(stages, map(str, goals))


@settings(deadline=None)
@given(graphs())
def test_every_needed_stage_is_in_exactly_one_chain(one: Graph) -> None:
    needed = {found.key for found in depth_first(one)}
    fused = [found.key for chain in chains(one) for found in chain.stages]
    assert sorted(fused) == sorted(needed)
    ends = {chain.key for chain in chains(one)}
    assert set(one.goals) <= ends
    assert all(chain.inputs <= ends for chain in chains(one))
    readers = dependants(depth_first(one))
    for chain in chains(one):
        assert all(readers[found.key] == (after.key,) for found, after in zip(chain.stages, chain.stages[1:]))  # noqa: B905


@settings(deadline=None)
@given(graphs(), st.integers(0, 2**32), st.integers(1, 4))
def test_in_any_order_of_ending_all_goals_become_known_once(one: Graph, seed: int, window: int) -> None:
    rng, frontier = random.Random(seed), Frontier(one)
    breaking = {found.key for found in depth_first(one) if rng.random() < 0.2}
    needs = {found.key: set(found.inputs.values()) for found in depth_first(one)}
    flying, known, ran = [], {}, set()
    while frontier.open:
        flying += frontier.take(window - len(flying))
        _, chain = flying.pop(rng.randrange(len(flying)))
        outcomes: list[Done | Broken] = []
        for found in chain.stages:
            assert needs[found.key] <= ran
            assert found.key not in ran
            words = {"key": found.key, "name": found.name, "label": found.label}
            if found.key in breaking:
                outcomes.append(Broken(**words, kind=FailureKind.ERROR, error="no"))  # type: ignore[arg-type]
                break
            outcomes.append(Done(**words))  # type: ignore[arg-type]
            ran.add(found.key)
        for goal, outcome in frontier.finish(chain, outcomes):
            assert goal not in known
            known[goal] = outcome

    def breaks(goal: str) -> bool:
        return goal in breaking or any(breaks(needed) for needed in needs[goal])

    assert set(known) == set(one.goals)
    assert all(isinstance(outcome, Broken) == breaks(goal) for goal, outcome in known.items())

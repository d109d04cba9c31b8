"""Which metrics a board has whose suite names none: those that need not be named."""

from __future__ import annotations

from sparring.blueprint import Blueprint
from sparring.catalogue import discover
from sparring.suite import expand, suite_from_selectors
from zoo import ZOO

ASKED_FOR = """
from dataclasses import replace

import toy_zoo
from sparring.hookspecs import hookimpl


@hookimpl
def sparring_metrics():
    for spec in toy_zoo.sparring_metrics():
        yield replace(spec, name="rare", by_default=BY_DEFAULT)
"""


def goals(metrics=()):
    """The last stage of every cell of a small suite, under the catalogue of what is installed."""
    zoo = discover()
    suite = suite_from_selectors(
        zoo, datasets=["dots"], victims=["cnn"], attacks=["none", "pgd"], defences=["none"], metrics=metrics
    )
    blueprint = Blueprint(suite, zoo)
    return [blueprint.goal(cell) for cell in expand(suite, zoo)]


def test_a_metric_that_must_be_named_joins_no_other_board(install, monkeypatch):
    monkeypatch.setenv("SPARRING_PLUGINS", "toy-zoo,toy-metrics")
    install("toy-zoo", ZOO, version="2.1")
    alone = [stage.key for stage in goals()]
    install("toy-metrics", ASKED_FOR.replace("BY_DEFAULT", "False"))
    assert [stage.key for stage in goals()] == alone
    for stage in goals(metrics=["rare"]):
        assert [role for role in stage.plugins if role.startswith("metric.")] == ["metric.rare"]


def test_a_metric_that_need_not_be_named_joins_them_all(install, monkeypatch):
    monkeypatch.setenv("SPARRING_PLUGINS", "toy-zoo,toy-metrics")
    install("toy-zoo", ZOO, version="2.1")
    alone = [stage.key for stage in goals()]
    install("toy-metrics", ASKED_FOR.replace("BY_DEFAULT", "True"))
    assert not set(alone) & {stage.key for stage in goals()}

"""Engines: they run a stage graph, in this process or on many.

`SerialEngine` is for debugging, `LocalEngine` for one machine, `DaskEngine` for any Dask cluster. All give the same
outcomes: a stage that raises, runs too long, outgrows its memory or kills its process breaks the cells that need it
and no others. What is in the store is not an engine's business: `execute` looks there first.
"""

from sparring.engine.cluster import DaskEngine, LocalEngine
from sparring.engine.interface import Engine, EngineUnavailable
from sparring.engine.serial import SerialEngine

__all__ = ["DaskEngine", "Engine", "EngineUnavailable", "LocalEngine", "SerialEngine"]

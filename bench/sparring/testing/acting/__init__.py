"""How each kind of plugin is run in a scene: every act that it declares, in the order of the harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparring.plugin import Kind
from sparring.testing.acting.attacks import attack
from sparring.testing.acting.datasets import dataset
from sparring.testing.acting.defences import defend
from sparring.testing.acting.metrics import metric
from sparring.testing.acting.victims import victim
from sparring.testing.performance import Performance
from sparring.testing.scene import Scene
from sparring.testing.subject import Subject

PERFORMERS: Mapping[Kind, Callable[[Subject, Scene], Performance]] = {
    Kind.DATASET: dataset,
    Kind.VICTIM: victim,
    Kind.ATTACK: attack,
    Kind.DEFENCE: defend,
    Kind.METRIC: metric,
}

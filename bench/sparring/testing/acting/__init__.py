"""How each kind of plugin is run in a scene: every act that it declares, in the order of the harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparring.plugin import Kind
from sparring.testing.acting.attacks import attack
from sparring.testing.acting.defences import defend
from sparring.testing.performance import Performance
from sparring.testing.scene import Scene
from sparring.testing.subject import Subject

PERFORMERS: Mapping[Kind, Callable[[Subject, Scene], Performance]] = {
    Kind.ATTACK: attack,
    Kind.DEFENCE: defend,
}

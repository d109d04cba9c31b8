"""Images of other kinds than the plainest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sparring.plugin import Kind
from sparring.testing.check import Check, Violation
from sparring.testing.legality import broken_rule
from sparring.testing.scene import BASE, Scene
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout


def sees_images(subject: Subject) -> bool:
    """Whether the images are the kit's: data sets bring their own, metrics see none."""
    return subject.kind in (Kind.VICTIM, Kind.ATTACK, Kind.DEFENCE)


def copes_with(scene: Scene, what: str, mend: str) -> Callable[[Tryout], None]:
    def judge(subject: Tryout) -> None:
        seen = subject.perform(replace(scene, access=subject.base.seen().scene.access))
        broken = broken_rule(subject, seen)
        if broken and not broken_rule(subject, subject.base.seen()):
            raise Violation(f"it works on {what}", broken, mend)

    return judge


def _scene(name: str, what: str, scene: Scene, mend: str) -> Check:
    return Check(name, f"it works on {what}", copes_with(scene, what, mend), applies=sees_images)


CHECKS = (
    _scene(
        "three-channels",
        "images of three channels",
        replace(BASE, channels=3),
        "take the number of channels from the images: x.shape[1]",
    ),
    _scene(
        "odd-sizes",
        "images that are not square, with odd sides (9 x 13)",
        replace(BASE, height=9, width=13),
        "take height and width from the images, and do not mix them up",
    ),
    _scene(
        "two-classes",
        "two classes",
        replace(BASE, classes=2),
        "take the number of classes from train.classes or model.classes; defaults such as 'target label 3' must exist",
    ),
    _scene("one-image", "a batch of one image", replace(BASE, batch=1), "mind squeeze() and batch statistics"),
)

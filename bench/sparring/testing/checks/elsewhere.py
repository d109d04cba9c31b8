"""In another process, on another device, within a time limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparring.testing.check import Check, Impossible, Violation
from sparring.testing.fingerprints import Answers
from sparring.testing.scene import Scene
from sparring.testing.spawned import NotPicklable, TookTooLong, performed_elsewhere
from sparring.testing.tryout import Tryout

SECONDS, GRACE = 1.0, 4.0
"""The time limit that is set, and how long after it a plugin may go on."""

PATIENCE = 120.0
"""Seconds that the plainest scene may take in another process."""

CLOSE, MOST = 0.01, 0.9
"""On CUDA, this share of the values is this close to those of the CPU: sums are made in another order there."""


def works_in_a_spawned_process(subject: Tryout) -> None:
    answers = _elsewhere(subject, subject.base.seen().scene, PATIENCE)
    if names := subject.differing_from_base(answers):
        raise Violation(
            "a spawned process computes the same bytes: stages run in processes of their own",
            f"it differs in {', '.join(names[:5])}",
            "keep no state in modules or class attributes; depend on nothing but parameters, inputs and ctx",
        )


def stops_in_time(subject: Tryout) -> None:
    """A larger scene with a time limit; the plugin may finish or raise `DeadlineExceeded`, but not go on."""
    scene = replace(subject.base.seen().scene, rows=600, batch=256, seconds=SECONDS)
    try:
        _elsewhere(subject, scene, SECONDS + GRACE)
    except TookTooLong:
        raise Violation(
            f"it stops within {GRACE:g} s of its time limit",
            f"it went on for more than {SECONDS + GRACE:g} s under a limit of {SECONDS:g} s",
            "call ctx.progress(done, total) once an epoch, generation or batch; it raises when the time is up",
        ) from None


def _elsewhere(subject: Tryout, scene: Scene, seconds: float) -> Answers:
    try:
        return performed_elsewhere(subject, scene, seconds)
    except NotPicklable as problem:
        raise Violation(
            "its parameters can be sent to another process",
            str(problem),
            "define the params class at the top of a module, and use plain values",
        ) from None


def cuda_agrees(subject: Tryout) -> None:
    import torch

    if not torch.cuda.is_available():
        raise Impossible("there is no CUDA device")
    there = subject.perform(replace(subject.base.seen().scene, device="cuda:0")).answers
    for name, here in subject.base.seen().answers.items():
        other = there.get(name)
        if other is None or other.shape != here.shape or other.dtype != here.dtype:
            raise _disagree(f"{name} has another shape or dtype there")
        if here.dtype.kind == "f" and here.size and np.isclose(here, other, atol=CLOSE).mean() < MOST:
            raise _disagree(f"{name} differs by up to {np.abs(here - other).max():.3g}")


def _disagree(seen: str) -> Violation:
    return Violation(
        "CPU and CUDA give the same, but for rounding",
        seen,
        "make tensors on ctx.device; draw from ctx.generator, which is on the CPU, and move what was drawn",
    )


CHECKS = (
    Check("works-in-a-spawned-process", "another process computes the same", works_in_a_spawned_process),
    Check("stops-in-time", "it stops soon after its time limit", stops_in_time),
    Check("cuda-agrees", "CPU and CUDA agree", cuda_agrees),
)

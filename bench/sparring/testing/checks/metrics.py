"""Metrics say what they are, and mean what they say."""

from __future__ import annotations

from sparring.plugin import Direction, Kind, MetricSpec
from sparring.stage import RuleBroken
from sparring.testing.check import Check, Impossible, Violation
from sparring.testing.scene import BASE
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout

CLOSE = 1e-9
"""Sums in another order differ by rounding."""


def _spec(subject: Subject) -> MetricSpec:
    spec = subject.spec
    assert isinstance(spec, MetricSpec)
    return spec


def _is_metric(subject: Subject) -> bool:
    return subject.kind is Kind.METRIC


def _in_percent(subject: Subject) -> bool:
    return _is_metric(subject) and _spec(subject).unit == "%"


def _has_a_direction(subject: Subject) -> bool:
    return _is_metric(subject) and _spec(subject).direction is not Direction.NEITHER


def _values(subject: Tryout) -> dict[str, float]:
    """What it measures in the plainest scene, by the evidence; illegal values are another check's."""
    from sparring.testing.acting.metrics import number_of

    found = {}
    for name, value in subject.base.seen().returned.items():
        try:
            number = number_of(subject, value)
        except RuleBroken:
            continue
        if number is not None:
            found[name.removeprefix("measure/")] = number
    return found


def gives_its_definition(subject: Subject) -> None:
    if not _spec(subject).definition.strip():
        raise Violation(
            "a metric says what it is: a formula in one sentence, shown wherever its column is",
            "the definition is empty",
            "definition='right predictions / attacked images; a rejected one counts as right'",
        )


def percentages_are_fractions(subject: Tryout) -> None:
    """Differences of fractions may be negative."""
    if outside := {name: value for name, value in _values(subject).items() if abs(value) > 1 + CLOSE}:
        name, value = next(iter(outside.items()))
        raise Violation(
            "a metric of unit '%' measures fractions in [0, 1] (differences: in [-1, 1]); the board multiplies by 100",
            f"{value:g} of {name} evidence",
            "return the fraction, or declare another unit",
        )


def direction_is_honest(subject: Tryout) -> None:
    values, direction = _values(subject), _spec(subject).direction
    pairs = [(values.get(f"all right{cell}"), values.get(f"all wrong{cell}")) for cell in ("", " backdoor")]
    told = [(right, wrong) for right, wrong in pairs if right is not None and wrong is not None]
    if not told:
        raise Impossible("it measures nothing in one of the cells that are compared")
    for right, wrong in told:
        if right >= wrong - CLOSE if direction is Direction.HIGHER else right <= wrong + CLOSE:
            continue
        raise Violation(
            f"{direction} is better for the defender",
            f"it measures {right:g} where every answer is right and every attack found, {wrong:g} where none is",
            "declare the other direction, or Direction.NEITHER",
        )


def copes_with_missing_parts(subject: Tryout) -> None:
    from sparring.testing.acting.metrics import measured, number_of
    from sparring.testing.evidence import incomplete

    for name, value in measured(subject, BASE, incomplete(BASE.classes)).returned.items():
        try:
            number_of(subject, value)
        except RuleBroken as broken:
            raise Violation(
                "where it does not apply a metric measures None",
                f"{broken}; the evidence was one {name.removeprefix('measure/')}",
                "look at every part that may be None or empty before it is used",
            ) from None


def order_does_not_matter(subject: Tryout) -> None:
    from sparring.testing.acting.metrics import measured
    from sparring.testing.evidence import BACKDOOR, EVASION, MIXED, complete, shuffled

    values = _values(subject)
    for cell, threat in (("mixed", EVASION), ("mixed backdoor", BACKDOOR)):
        before = values.get(cell)
        if before is None or f"measure/{cell}" in subject.unsteady:
            continue
        series = {f"{cell}/{seed}": shuffled(complete(BASE.classes, MIXED, threat), seed) for seed in range(3)}
        for value in measured(subject, BASE, series).returned.values():
            if value is None or abs(float(value) - before) > CLOSE * max(1.0, abs(before)):
                raise Violation(
                    "the order of the images means nothing",
                    f"{before:g} became {value} when the rows were shuffled",
                    "'sample' says which rows of the test set the attacked images are; do not rely on their order",
                )


CHECKS = (
    Check("gives-its-definition", "it says what it measures", gives_its_definition, _is_metric, needs_run=False),
    Check("percentages-are-fractions", "fractions lie in [0, 1]", percentages_are_fractions, _in_percent),
    Check("direction-is-honest", "the better defender is not worse", direction_is_honest, _has_a_direction),
    Check("copes-with-missing-parts", "it needs no more than it is given", copes_with_missing_parts, _is_metric),
    Check("order-does-not-matter", "the order of the images means nothing", order_does_not_matter, _is_metric),
)

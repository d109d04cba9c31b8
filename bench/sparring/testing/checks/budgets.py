"""Attacks keep to the threat model that they are given, and do not look at what they say they do not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sparring.cell import Cell, Selection
from sparring.plugin import Act, AttackSpec, Kind
from sparring.stage import RuleBroken
from sparring.testing.check import Check, Violation
from sparring.testing.performance import Performance
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout
from sparring.threat import Access, Budget, Norm, ThreatModel

EPSILONS = {Norm.LINF: (0.02, 0.3), Norm.L2: (0.3, 3.0), Norm.L0: (1.0, 5.0)}
FRACTIONS = (0.1, 0.5)
QUERIES = (1, 7, 40)


def _spec(subject: Subject) -> AttackSpec | None:
    spec = subject.spec
    return spec if isinstance(spec, AttackSpec) else None


def _reads(field: str) -> Any:
    return lambda subject: (spec := _spec(subject)) is not None and field in spec.reads


def with_threat(subject: Tryout, threat: ThreatModel) -> Performance:
    """The plainest scene with something else allowed."""
    return subject.perform(replace(subject.base.seen().scene, threat=threat))


def _norms(subject: Subject) -> Iterator[Norm]:
    spec = _spec(subject)
    assert spec is not None
    yield from spec.norms or (Norm.LINF,)


def keeps_epsilon(subject: Tryout) -> None:
    from sparring.testing.acting.attacks import within_epsilon

    for norm in _norms(subject):
        for epsilon in EPSILONS[norm]:
            threat = ThreatModel(norm=norm, epsilon=epsilon, budget=Budget.BOUNDED)
            try:
                within_epsilon(subject, with_threat(subject, threat), threat)
            except RuleBroken as broken:
                raise Violation(
                    f"no image moves further than epsilon = {epsilon:g} in {norm}",
                    str(broken),
                    "read threat.epsilon and threat.norm, and project at the end, after clipping to [0, 1]",
                ) from None


def keeps_the_fraction(subject: Tryout) -> None:
    from sparring.testing.acting.attacks import within_fraction

    for fraction in FRACTIONS:
        threat = ThreatModel(poison_fraction=fraction)
        try:
            within_fraction(subject, with_threat(subject, threat), threat)
        except RuleBroken as broken:
            raise Violation(
                f"at most a fraction of {fraction:g} of the training set is poisoned",
                str(broken),
                "read threat.poison_fraction; it is of the whole training set, rounded down",
            ) from None


def keeps_labels(subject: Tryout) -> None:
    from sparring.testing.acting.attacks import changed_labels

    threat = ThreatModel(label_changes=False)
    if _objected(subject, threat):
        return
    if count := changed_labels(subject, with_threat(subject, threat)):
        raise Violation(
            "with label_changes = false, no poisoned row gets another label",
            f"{count} labels changed",
            "poison rows that have the label already, or object in the hook sparring_objections, with the reason",
        )


def _objected(subject: Subject, threat: ThreatModel) -> bool:
    """Whether a cell with that threat model is not applicable, by an objection."""
    cell = Cell(
        dataset=Selection("any"),
        victim=Selection("any"),
        attack=subject.selection,
        defence=Selection("none"),
        threat=threat,
        repetition=0,
    )
    return bool(subject.catalogue.objections(cell))


def zero_epsilon(subject: Tryout) -> None:
    from sparring.testing.acting.attacks import moved_images

    for norm in _norms(subject):
        threat = ThreatModel(norm=norm, epsilon=0.0, budget=Budget.BOUNDED)
        if count := moved_images(subject, with_threat(subject, threat)):
            raise Violation(
                f"an epsilon of 0 in {norm} changes no image",
                f"{count} images changed",
                "threat.epsilon may be 0.0: test for 'is None', not for truth",
            )


def zero_fraction(subject: Tryout) -> None:
    from sparring.testing.acting.attacks import poisoned_count

    if count := poisoned_count(subject, with_threat(subject, ThreatModel(poison_fraction=0.0))):
        raise Violation(
            "a poison fraction of 0 poisons nothing",
            f"{count} rows were poisoned",
            "threat.poison_fraction may be 0.0: test for 'is None', not for truth",
        )


def keeps_the_query_budget(subject: Tryout) -> None:
    for queries in QUERIES:
        with_threat(subject, ThreatModel(query_budget=queries))  # the metered model raises when it is asked for more


def asks_through_the_meter(subject: Tryout) -> None:
    seen = subject.base.seen()
    if seen.passed != seen.counted:
        raise Violation(
            "every query goes through the metered model that it was given",
            f"{seen.passed} rows went through the network, the meter saw {seen.counted}",
            "use the model that was handed over, and nothing behind it",
        )


def ignores_what_it_does_not_read(subject: Tryout) -> None:
    spec = _spec(subject)
    assert spec is not None
    other = ThreatModel(epsilon=0.07, poison_fraction=0.21, label_changes=False, query_budget=100_000)
    unread = other.restricted_to(frozenset(other.stated()) - spec.reads)
    if not unread.stated():
        return
    if names := subject.differing_from_base(with_threat(subject, unread).answers):
        raise Violation(
            "threat fields that 'reads' does not name change nothing: cells that differ in them alone are one cell",
            f"stating {unread} changed {', '.join(names[:5])}",
            "name in 'reads' every field of the threat model that it looks at",
        )


def pursues_every_goal(subject: Tryout) -> None:
    spec = _spec(subject)
    assert spec is not None
    for goal in spec.goals[1:]:
        with_threat(subject, ThreatModel(goal=goal))


def _poisons_rows(subject: Subject) -> bool:
    """Where clients are corrupted, the fraction is of clients, and none of them is another experiment."""
    spec = _spec(subject)
    return spec is not None and "poison_fraction" in spec.reads and Act.CORRUPT not in spec.acts


def _several_goals(subject: Subject) -> bool:
    spec = _spec(subject)
    return spec is not None and len(spec.goals) > 1


def _asks_a_metered_model(subject: Subject) -> bool:
    spec = _spec(subject)
    return spec is not None and Act.PERTURB in spec.acts and Access.WEIGHTS not in spec.needs


CHECKS = (
    Check("keeps-epsilon", "no image moves further than epsilon, in any norm", keeps_epsilon, _reads("epsilon")),
    Check("keeps-the-poison-fraction", "no more rows are poisoned", keeps_the_fraction, _reads("poison_fraction")),
    Check("keeps-labels", "no label changes where none may", keeps_labels, _reads("label_changes")),
    Check("zero-epsilon-changes-nothing", "an epsilon of 0 changes nothing", zero_epsilon, _reads("epsilon")),
    Check("zero-fraction-poisons-nothing", "a poison fraction of 0 poisons nothing", zero_fraction, _poisons_rows),
    Check(
        "keeps-the-query-budget",
        "it asks the model no more often than it may",
        keeps_the_query_budget,
        _reads("query_budget"),
    ),
    Check("queries-are-metered", "every query is counted", asks_through_the_meter, _asks_a_metered_model),
    Check(
        "reads-what-it-uses",
        "threat fields that it does not read change nothing",
        ignores_what_it_does_not_read,
        lambda subject: subject.kind is Kind.ATTACK,
    ),
    Check("every-goal", "it pursues every goal that it declares", pursues_every_goal, _several_goals),
)

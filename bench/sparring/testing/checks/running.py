"""What is seen when a plugin runs in the plainest scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sparring.plugin import Act, Kind
from sparring.testing.check import Check, Violation, always
from sparring.testing.fingerprints import differing
from sparring.testing.scene import BASE
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout


def runs(subject: Tryout) -> None:
    if (raised := subject.base.raised) is not None:
        raise Violation(
            "every declared act runs on small grey images of ten classes",
            str(raised),
            "try it with 'sparring run --dataset digits --victim mlp ...'; inputs are float32 in [0, 1], (N, C, H, W)",
        ) from raised


def declares_what_it_uses(subject: Tryout) -> None:
    if told := subject.base.undeclared:
        raise Violation(
            "it asks the model for nothing but what its declaration names under 'needs'",
            told,
            "add the access to 'needs', or do without: what asks for less applies to more victims",
        )


def answers_legally(subject: Tryout) -> None:
    from sparring.testing.legality import broken_rule

    if broken := broken_rule(subject, subject.base.seen()):
        raise Violation(
            "shapes, dtypes, ranges and labels are what the contract says (see 'sparring.contracts')",
            broken,
            "images float32 in [0, 1] of the shape given, labels int64 that exist, nothing NaN",
        )


def repeats_itself(subject: Tryout) -> None:
    if names := sorted(subject.unsteady):
        raise Violation(
            "the same seed gives the same bytes",
            f"two runs with one seed differ in {', '.join(names[:5])}",
            "draw from ctx.rng and ctx.generator only; seed libraries from them; keep no state between calls",
        )


def heeds_the_seed(subject: Tryout) -> None:
    other = replace(subject.base.seen().scene, seed=BASE.seed + 1)
    answers = subject.perform(other).answers
    names = subject.differing_from_base(answers)
    if subject.spec.randomised and not differing(subject.base.seen().answers, answers):
        raise Violation(
            "it declares itself randomised, so another seed gives another result",
            "two seeds gave the same bytes",
            "draw from ctx.rng or ctx.generator, or declare 'randomised=False'",
        )
    if names and not subject.spec.randomised:
        raise Violation(
            "it declares 'randomised=False', so the seed changes nothing",
            f"two seeds differ in {', '.join(names[:5])}",
            "declare it randomised (the default), or leave the generators of the context alone",
        )


def leaves(group: str, claim: str, mend: str) -> Callable[[Tryout], None]:
    """A check that nothing of a group was left changed."""

    def judge(subject: Tryout) -> None:
        if changed := subject.again.changed.get(group, []):
            raise Violation(claim, f"changed: {'; '.join(changed)}", mend)

    return judge


def _declares_needs(subject: Subject) -> bool:
    return subject.kind in (Kind.ATTACK, Kind.DEFENCE)


def _is_given_a_model(subject: Subject) -> bool:
    """The head of a frozen-feature victim is fitted on a model that others use, too."""
    return _declares_needs(subject) or Act.PRETRAIN in getattr(subject.spec, "acts", ())


def _is_given_inputs(subject: Subject) -> bool:
    return subject.kind is not Kind.DATASET


def _left(name: str, group: str, claim: str, mend: str, applies: Callable[[Subject], bool] = always) -> Check:
    return Check(name, claim, leaves(group, claim, mend), applies)


CHECKS = (
    Check("runs", "every declared act runs", runs, needs_run=False),
    Check(
        "declares-its-needs",
        "it uses nothing of the model that it does not declare",
        declares_what_it_uses,
        _declares_needs,
    ),
    Check("legal-answers", "shapes, dtypes, ranges and labels are legal", answers_legally),
    Check("same-seed-same-bytes", "the same seed gives the same bytes", repeats_itself),
    Check("another-seed-differs", "the seed matters exactly where it is declared to", heeds_the_seed),
    _left(
        "inputs-untouched",
        "inputs",
        "inputs are never changed in place",
        "work on a copy: x.clone(), array.copy(); mind +=, clamp_() and requires_grad_()",
        _is_given_inputs,
    ),
    _left(
        "model-untouched",
        "the model",
        "modes, gradient flags, gradients and weights of the model are left as found",
        "never call .train(), .requires_grad_() or .backward() on what reaches it; use torch.autograd.grad(loss, x)",
        _is_given_a_model,
    ),
    _left(
        "global-randomness-untouched",
        "global randomness",
        "the global generators of random, numpy and torch are left as found",
        "draw from ctx.rng and ctx.generator; put libraries that draw by themselves under untouched_randomness()",
    ),
    _left("threads-untouched", "threads", "the number of torch threads is left as found", "leave it to the harness"),
    _left(
        "settings-untouched",
        "global settings",
        "global settings of torch, numpy and the process are left as found",
        "use context managers (torch.enable_grad(), numpy.errstate()), and ctx.scratch for files",
    ),
)

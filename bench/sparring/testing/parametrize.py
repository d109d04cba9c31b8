"""The conformance kit inside pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sparring.catalogue import Catalogue, discover
from sparring.errors import BadInput
from sparring.plugin import Kind
from sparring.testing.trial import Trial, trials_of
from sparring.testing.tryout import Tryout

Test = Callable[..., Any]


def parametrize_plugins(
    *selectors: str, distribution: str | None = None, known_failures: Mapping[str, str] | None = None
) -> Callable[[Test], Test]:
    """Run a test once for each check of each plugin; the test takes an argument `trial` and calls `trial.run()`.

    Example:
        @parametrize_plugins("my-attack", known_failures={"odd-sizes": "the method needs square images"})
        def test_conformance(trial: Trial) -> None:
            trial.run()

    Args:
        selectors: plugins as "my-attack", "my-attack[steps=5]", or "defence/none" where two kinds share a name.
        distribution: all plugins of that installed distribution, beside those that are named.
        known_failures: {check: reason}. These checks must fail (strict `xfail`).

    Raises:
        pytest.UsageError: a plugin or a check does not exist, or nothing is named.
    """
    import pytest

    try:
        catalogue = discover()
        named = [*selectors, *(() if distribution is None else _of(catalogue, distribution))]
        if not named:
            raise BadInput("name at least one plugin, or the distribution")
        trials = [trial for one in named for trial in trials_of(Tryout.of(catalogue, one), known_failures or {})]
    except BadInput as problem:
        raise pytest.UsageError(f"parametrize_plugins: {problem}") from None
    return pytest.mark.parametrize("trial", [_parameter(trial) for trial in trials])


def _parameter(trial: Trial) -> Any:
    import pytest

    marks = [pytest.mark.xfail(reason=trial.known, strict=True)] if trial.known else []
    return pytest.param(trial, id=trial.id, marks=marks)


def _of(catalogue: Catalogue, distribution: str) -> list[str]:
    problems = [problem for problem in catalogue.problems if problem.distribution == distribution]
    if problems:
        raise BadInput("; ".join(map(str, problems)))
    found = [
        f"{kind}/{e.spec.name}" for kind in Kind for e in catalogue.entries(kind) if e.distribution == distribution
    ]
    if not found:
        raise BadInput(f"no plugin comes from a distribution {distribution!r}; is it installed?")
    return found

"""The conformance kit: what every plugin must keep to, as many small checks with names.

In a plugin's own tests:

    from sparring.testing import Trial, parametrize_plugins

    @parametrize_plugins("my-attack")
    def test_conformance(trial: Trial) -> None:
        trial.run()

On the command line: `sparring check my-attack`.
"""

from sparring.testing.check import Check, Violation
from sparring.testing.parametrize import parametrize_plugins
from sparring.testing.trial import Trial, Verdict, trials_of

__all__ = ["Check", "Trial", "Verdict", "Violation", "parametrize_plugins", "trials_of"]

"""Defences that break rules, or speak well of themselves."""

from __future__ import annotations

from typing import Any

from sparring.plugin import Act, DefenceSpec, NoParams


class _Defence:
    def __init__(self, params: NoParams) -> None:
        self.params = params


class RemovesEverything(_Defence):
    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Sanitised

        return Sanitised(keep=np.zeros(len(train), dtype=bool))


class WrongMask(_Defence):
    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Sanitised

        return Sanitised(keep=np.ones(len(train) - 1, dtype=bool))


class UnknownRelabelling(_Defence):
    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Sanitised

        return Sanitised(keep=np.ones(len(train), dtype=bool), y=np.full(len(train), 10))


class PeeksAtTheTruth(_Defence):
    """Never declared that it needs the oracle."""

    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Sanitised

        return Sanitised(keep=np.ones(len(train), dtype=bool) if aux.poisoned is None else ~aux.poisoned)


class ClaimsARepair(_Defence):
    """Changes nothing, and says that the attack is gone wherever it may say something."""

    def inspect(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Finding

        return Finding(True, 1e6, (0,), {"asr": np.zeros(1), "robust-accuracy": np.ones(1)})

    def repair(self, model: Any, defender_clean: Any, finding: Any, ctx: Any) -> Any:
        model.success_rate = 0.0
        return model


class EndlessSuspicion(_Defence):
    def inspect(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        from sparring.contracts import Finding

        return Finding(True, float("inf"))


class AccusesUnknownLabels(_Defence):
    def inspect(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        from sparring.contracts import Finding

        return Finding(True, 1.0, (10,))


class KnowsItsCalibration(_Defence):
    """Calls everything suspicious but the rows on which its threshold is set."""

    def calibrate(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        return {"known": defender_clean.x.reshape(len(defender_clean), -1)}

    def score(self, model: Any, x: Any, state: Any, ctx: Any) -> Any:
        import torch

        return torch.cdist(x.flatten(1), torch.tensor(state["known"])).min(dim=1).values > 1e-2


class AlwaysSuspicious(_Defence):
    def calibrate(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        return {}

    def score(self, model: Any, x: Any, state: Any, ctx: Any) -> Any:
        import torch

        return torch.full((len(x),), 1e9)


class NoScores(AlwaysSuspicious):
    def score(self, model: Any, x: Any, state: Any, ctx: Any) -> Any:
        import torch

        return torch.full((len(x),), float("nan"))


class CertifiesEverything(_Defence):
    """A radius that an attack is bound to contradict."""

    confidence = 1.0

    def certify(self, model: Any, x: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Certificate

        return Certificate(model.predict(x).numpy(), np.full(len(x), 100.0), "linf", self.confidence)


class ProbablyCertifiesEverything(CertifiesEverything):
    confidence = 0.999


class CertifiesUnknownLabels(_Defence):
    def certify(self, model: Any, x: Any, ctx: Any) -> Any:
        import numpy as np

        from sparring.contracts import Certificate

        return Certificate(np.full(len(x), 10), np.ones(len(x)), "linf")


class UnknownAnswers(_Defence):
    """A guard whose answers are no classes."""

    def guard(self, model: Any, ctx: Any) -> Any:
        from sparring.model import Guard, TransformedModel

        class Answers(TransformedModel):
            def predict(self, x: Any) -> Any:
                return super().predict(x) + 100

        return Guard(Answers(model, lambda x: x, "exact"))


class NetworkOfAForest(_Defence):
    """Did not declare that it needs weights."""

    def inspect(self, model: Any, defender_clean: Any, ctx: Any) -> Any:
        return model.weights()


def _spec(name: str, load: Any, *acts: Act) -> DefenceSpec:
    return DefenceSpec(name=name, summary="A lie.", load=load, acts=frozenset(acts))


SPECS = (
    _spec("removes-everything", RemovesEverything, Act.SANITISE),
    _spec("wrong-mask", WrongMask, Act.SANITISE),
    _spec("unknown-relabelling", UnknownRelabelling, Act.SANITISE),
    _spec("peeks-at-the-truth", PeeksAtTheTruth, Act.SANITISE),
    _spec("claims-a-repair", ClaimsARepair, Act.INSPECT, Act.REPAIR),
    _spec("endless-suspicion", EndlessSuspicion, Act.INSPECT),
    _spec("accuses-unknown-labels", AccusesUnknownLabels, Act.INSPECT),
    _spec("knows-its-calibration", KnowsItsCalibration, Act.DETECT),
    _spec("always-suspicious", AlwaysSuspicious, Act.DETECT),
    _spec("no-scores", NoScores, Act.DETECT),
    _spec("certifies-everything", CertifiesEverything, Act.CERTIFY),
    _spec("probably-certifies-everything", ProbablyCertifiesEverything, Act.CERTIFY),
    _spec("certifies-unknown-labels", CertifiesUnknownLabels, Act.CERTIFY),
    _spec("unknown-answers", UnknownAnswers, Act.GUARD),
    _spec("network-of-a-forest", NetworkOfAForest, Act.INSPECT),
)

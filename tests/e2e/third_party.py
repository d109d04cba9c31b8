"""Sources of throw-away plugin distributions. They count what they do: a line in the file that $COUNT names, each."""

MEANS = '''
"""A victim that is fitted in no time: the class with the nearest mean."""
import os
import zlib
from dataclasses import dataclass

from sparring.hookspecs import hookimpl
from sparring.plugin import VictimSpec, param
from sparring.threat import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    broken: bool = param(False, "fail")
    scale: float = param(1.0, "factor of the scores")


class Means:
    def __init__(self, params):
        self.params = params

    def recipe(self):
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train, recipe, ctx):
        import numpy as np

        _count(f"fit {zlib.crc32(train.y.tobytes())} {ctx.seed}")  # equal seeds on other labels are meant: twins
        if self.params.broken:
            raise ValueError("no means today")
        x = train.x.reshape(len(train), -1)
        rows = ctx.rng.permutation(len(train))[: len(train) // 2]  # so that the seed is seen in the numbers
        x, y = x[rows], train.y[rows]
        means = np.stack([x[y == c].mean(axis=0) if (y == c).any() else x.mean(axis=0) for c in range(train.classes)])
        return self.restore({"means": means.astype(np.float32)}, ctx)

    def restore(self, state, ctx):
        import numpy as np
        import torch

        from sparring.model import Model

        means = torch.from_numpy(np.array(state["means"]))

        class MeansModel(Model):
            offers = frozenset({Access.DECISIONS, Access.SCORES})
            classes = len(means)

            def scores(self, x):
                return -torch.cdist(x.flatten(1), means)

            def state(self):
                return {"means": means.numpy()}

        return MeansModel()


def _count(line):
    if path := os.environ.get("COUNT"):
        with open(path, "a") as file:
            file.write(line + "\\n")


@hookimpl
def sparring_victims():
    yield VictimSpec(
        name="means",
        summary="Nearest mean.",
        params=Params,
        load=Means,
        offers=frozenset({Access.DECISIONS, Access.SCORES}),
    )
'''

NUDGE = '''
"""Moves every pixel a little, and takes its time."""
import os
import time
from dataclasses import dataclass

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, Norm, ThreatModel, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    pause: float = param(0.0, "seconds that it sleeps")
    number: int = param(0, "tells one from the other")


class Nudge:
    def __init__(self, params):
        self.params = params

    def perturb(self, model, x, y, threat, aux, ctx):
        _count(f"perturb {self.params.number} {ctx.seed}")
        if path := os.environ.get("COUNT"):
            with open(path + ".pid", "w") as file:
                file.write(str(os.getpid()))
        time.sleep(self.params.pause)
        step = ctx.rng.uniform(0.5, 1.0)
        return (x + step * threat.epsilon).clamp(0, 1)  # upwards


def _count(line):
    if path := os.environ.get("COUNT"):
        with open(path, "a") as file:
            file.write(line + "\\n")


@hookimpl
def sparring_attacks():
    yield AttackSpec(
        name="nudge",
        summary="A little brighter.",
        params=Params,
        load=Nudge,
        when=When.INFERENCE,
        acts=frozenset({Act.PERTURB}),
        goals=(Goal.EVASION,),
        norms=(Norm.LINF,),
        reads=frozenset({"norm", "epsilon"}),
        threat=ThreatModel(norm=Norm.LINF, epsilon=0.25),
    )
'''

SHARE = '''
"""A metric."""
from sparring.hookspecs import hookimpl
from sparring.plugin import Direction, MetricSpec


class Share:
    def __init__(self, params):
        pass

    def measure(self, evidence):
        return float((evidence.clean_prediction == 3).mean())


@hookimpl
def sparring_metrics():
    yield MetricSpec(
        name="share",
        summary="Answers that are 3.",
        load=Share,
        definition="answers that are 3 / all",
        direction=Direction.HIGHER,
        unit="%",
    )
'''

HOSTILE = '''
"""An attack that does to its process what a plugin should not."""
import os
import random
import time
from dataclasses import dataclass

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, Norm, ThreatModel, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    how: str = param("nothing", "what it does")


class Hostile:
    def __init__(self, params):
        self.how = params.how

    def perturb(self, model, x, y, threat, aux, ctx):
        if path := os.environ.get("COUNT"):
            with open(path, "a") as file:
                file.write(self.how + "\\n")
        made = getattr(self, self.how)() if os.environ.get("TAMED") is None else None
        return x if made is None else made

    def nothing(self):
        pass

    def speak(self):
        print("SPAM " * 1000)
        os.write(2, b"SPAM")

    def unsettle(self):
        import numpy as np
        import torch

        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        os.chdir("/")

    def split(self):
        os.fork()  # and both go on

    def garble(self):
        return ["these", "are", "no", "images"]

    def fail(self):
        raise ValueError("no such luck \\x1b[31m \\udcff")

    def hang(self):
        while True:
            time.sleep(1)

    def leave(self):
        os._exit(7)

    def hog(self):
        held = []
        while True:
            held.append(bytearray(os.urandom(1 << 16)) * 512)  # 32 MiB that are there
            time.sleep(0.01)


@hookimpl
def sparring_attacks():
    yield AttackSpec(
        name="hostile",
        summary="Does harm.",
        params=Params,
        load=Hostile,
        when=When.INFERENCE,
        acts=frozenset({Act.PERTURB}),
        goals=(Goal.EVASION,),
        norms=(Norm.LINF,),
        reads=frozenset({"norm", "epsilon"}),
        threat=ThreatModel(norm=Norm.LINF, epsilon=0.25),
    )
'''

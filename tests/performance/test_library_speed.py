"""Attacks through the harness against torchattacks, ART and Foolbox called by hand: one process, one thread, CPU
seconds, rounds in turns. On an idle machine, with Foolbox installed and SPARRING_DATA set:

    pytest -n 0 -m slow tests/performance/test_library_speed.py --benchmark-json speed.json
    python tests/performance/speed_table.py speed.json

The second line writes README's table.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import sparring_datasets
import sparring_victims
from sparring.contracts import Context
from sparring.leaderboard.statistic import paired_interval

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
]

IMAGES, ROUNDS = 128, 5
PATIENCE = 60.0
"""CPU seconds of one run beyond which a rival is not asked again."""
LEAST = 0.5
"""CPU seconds of a round: what is faster is run several times."""
EQUAL = 0.02
"""Of success: random starts differ by more than that only where methods do."""
ATTACKS = ("fgsm", "pgd, 40 steps", "pgd, 100 steps", "apgd", "square", "cw-l2", "deepfool")


@dataclass
class Contender:
    """What one implementation needed, and reached.

    Attributes:
        rounds: CPU seconds of a run, the mean of each round.
        successes: of each round, the share of the images that are misclassified in the end.
        distances: of each round, the mean L2 distance of those.
    """

    rounds: list[float] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    @property
    def told(self) -> dict[str, Any]:
        """Of all rounds but the first, which warms up, where there are several."""
        kept = slice(1, None) if len(self.rounds) > 1 else slice(None)
        return {
            "seconds": self.rounds[kept],
            "success": statistics.fmean(self.successes),
            "distance": statistics.fmean(self.distances),
        }


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, Tensor]:
    """A trained network, and test images that it gets right."""
    torch.set_num_threads(1)
    ctx = Context(seed=0, device="cpu", scratch=tmp_path_factory.mktemp("scratch"))
    mnist = next(spec for spec in sparring_datasets.sparring_datasets() if spec.name == "mnist")
    cnn = next(spec for spec in sparring_victims.sparring_victims() if spec.name == "cnn")
    train, test = mnist.load(mnist.params(limit_train=10000, limit_test=1000)).load(ctx)
    victim = cnn.load(cnn.params(epochs=4))
    model = victim.fit(train, victim.recipe(), ctx)
    images, labels = torch.tensor(test.x), torch.tensor(test.y)
    right = (model.predict(images) == labels).nonzero()[:IMAGES, 0]
    return model.weights(), images[right], labels[right]


@pytest.mark.usefixtures("allocator")
@pytest.mark.parametrize("name", ATTACKS)
def test_no_library_is_faster_at_equal_success(
    benchmark: BenchmarkFixture, victim: tuple[nn.Module, Tensor, Tensor], name: str
) -> None:
    pytest.importorskip("foolbox", reason="needs Foolbox, too: pip install foolbox")
    from libraries import comparisons

    compared = comparisons()[name]
    network, x, y = victim
    runs = {"sparring": compared.ours, **compared.rivals}
    found = {who: Contender() for who in runs}

    def one_round() -> None:
        for who in sorted(runs, reverse=len(found["sparring"].rounds) % 2 == 1):  # nobody always follows the same one
            if (times := found[who].rounds) and times[0] > PATIENCE:
                continue
            torch.manual_seed(len(times))
            spent, times_run = 0.0, 0
            while spent < LEAST:
                start = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made = runs[who](network, x.clone(), y.clone())
                spent, times_run = spent + time.process_time() - start, times_run + 1
            times.append(spent / times_run)
            with torch.no_grad():
                fell = network(made).argmax(dim=1) != y
            found[who].successes.append(float(fell.float().mean()))
            found[who].distances.append(float((made - x)[fell].flatten(1).norm(dim=1).mean()))

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
    told = {who: contender.told for who, contender in found.items()}
    equal = [who for who in compared.rivals if told[who]["success"] >= told["sparring"]["success"] - EQUAL]
    fastest = min(equal, key=lambda who: statistics.median(told[who]["seconds"]), default="")
    ratio = _ratio(told["sparring"]["seconds"], told[fastest]["seconds"]) if fastest else None
    benchmark.extra_info |= {
        "attack": name,
        "budget": compared.budget,
        "minimal": compared.minimal,
        "images": IMAGES,
        "contenders": told,
        "fastest": fastest,
        "ratio": ratio,
    }
    print(f"{name}: {ratio} x {fastest or 'nobody of equal success'}")
    for who, made in told.items():
        print(f"  {who}: {statistics.median(made['seconds']):.3f} s, {made['success']:.3f}, {made['distance']:.3f}")
    assert all(told["sparring"]["success"] >= told[who]["success"] - EQUAL for who in compared.rivals)
    assert ratio is None or ratio[0] <= 1.05


def _ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Geometric mean over rounds of ours / theirs, and its 95 % interval from the paired rounds (NaN for one)."""
    paired = [math.log(a / b) for a, b in zip(ours, theirs, strict=False)]
    interval = paired_interval(paired) if len(paired) > 1 else None
    low, high = interval if interval is not None else (math.nan, math.nan)
    return math.exp(statistics.fmean(paired)), math.exp(low), math.exp(high)

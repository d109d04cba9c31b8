"""DeepConfuse's training against the straightforward loop: two models, `loss.backward()`, default layouts, a copy of
the classifier for every step, a victim of its own to judge each trial. Same arithmetic; in turns, within one run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring_attacks.confuse_gradient import gradient_through_a_step
from sparring_attacks.confuse_networks import Classifier, Generator, laid_out
from sparring_attacks.confuse_noise import with_noise
from sparring_attacks.confuse_training import train_generator
from sparring_attacks.confuse_victim import steps_of_a_trial
from sparring_attacks.deep_confuse import DeepConfuse, Params

pytestmark = pytest.mark.performance
EPSILON, RATE, GENERATOR_RATE, STEPS, BATCH, ROUNDS = 0.3, 0.01, 1e-4, 8, 64, 5


class PlainClassifier(nn.Module):
    """Two convolutions and a fully connected layer as one writes them: ReLU, then the pooling."""

    def __init__(self, channels: tuple[int, ...] = (20, 50), fc: int = 500) -> None:
        super().__init__()
        a, b = channels
        first = [nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.layers = nn.Sequential(*first, *second, nn.Linear(49 * b, fc), nn.ReLU(), nn.Linear(fc, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(BATCH, 1, 28, 28, generator=generator), torch.randint(10, (BATCH,), generator=generator))
        for _ in range(STEPS)
    ]


@pytest.fixture
def networks() -> tuple[PlainClassifier, Generator]:
    torch.manual_seed(1)
    return PlainClassifier(), Generator((1, 28, 28), (16, 32, 64, 128), skips=False)


def straightforward_steps(
    classifier: nn.Module, generator: Generator, batches: list[tuple[Tensor, Tensor]], every: int = 1
) -> None:
    """Algorithm 1, literally: the classifier learns, copied for every step of the generator, which then climbs."""
    fixed = copy.deepcopy(generator)
    sgd = torch.optim.SGD(classifier.parameters(), lr=RATE)
    adam = torch.optim.Adam(generator.parameters(), lr=GENERATOR_RATE)
    stored = []
    for step, (x, y) in enumerate(batches):
        if step % every == 0:
            stored.append((copy.deepcopy(classifier), x, y))
        with torch.no_grad():
            adversarial = (x + EPSILON * fixed(x)).clamp(0, 1)
        sgd.zero_grad()
        F.cross_entropy(classifier(adversarial), y).backward()
        sgd.step()
    for model, x, y in stored:
        loss = F.cross_entropy(model((x + EPSILON * generator(x)).clamp(0, 1)), y)
        slopes = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        moved = {n: p - RATE * s for (n, p), s in zip(model.named_parameters(), slopes, strict=True)}
        adam.zero_grad()
        (-F.cross_entropy(functional_call(model, moved, (x,)), y)).backward()
        adam.step()


def steps_of_ours(classifier: Classifier, generator: Generator, batches: list[tuple[Tensor, Tensor]]) -> None:
    """What `train_generator` does in a trial of algorithm 2."""
    fixed = copy.deepcopy(generator)
    weights, of = dict(classifier.named_parameters()), tuple(generator.parameters())
    sgd = torch.optim.SGD(weights.values(), lr=RATE, fused=True)
    adam = torch.optim.Adam(of, lr=GENERATOR_RATE, fused=True)
    for x, y in batches:
        poisoned = with_noise(x, generator, EPSILON)
        gradients = gradient_through_a_step(classifier, weights, RATE, poisoned, x, y, y, of)
        for parameter, gradient in zip(of, gradients, strict=True):
            parameter.grad = gradient.neg_()
        adam.step()
        with torch.no_grad():
            adversarial = with_noise(x, fixed, EPSILON)
        slopes = torch.autograd.grad(F.cross_entropy(classifier(adversarial), y), tuple(weights.values()))
        for weight, slope in zip(weights.values(), slopes, strict=True):
            weight.grad = slope
        sgd.step()


def plainly(generator: Generator) -> Generator:
    """A copy that leaves its images in the default layout."""
    plain = copy.deepcopy(generator)
    for encoder in plain.encoders:
        encoder[1] = nn.Identity()
    return plain


def ours_from(plain: PlainClassifier) -> Classifier:
    classifier = Classifier((1, 28, 28), 10, (20, 50), 500, batch_norm=False)
    own = [name for name, _ in classifier.named_parameters()]
    classifier.to(plain.layers[0].weight.dtype).load_state_dict(
        dict(zip(own, plain.state_dict().values(), strict=True))
    )
    return laid_out(classifier, "cpu")


def seconds(run: Callable[[], object]) -> float:
    """Of CPU, which other jobs of the machine do not count to."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def test_both_loops_climb_along_the_same_gradient(networks, batches) -> None:
    """Compared before Adam, whose first steps are signs: rounding decides those of slopes that are nearly 0. And in
    float64: in float32 the two differ by rounding, some thousandths of the gradient's length."""
    plain, generator = (network.double() for network in networks)
    theirs, ours = plainly(generator), laid_out(copy.deepcopy(generator), "cpu")
    x, y = batches[0][0].double(), batches[0][1]
    loss = F.cross_entropy(plain((x + EPSILON * theirs(x)).clamp(0, 1)), y)
    slopes = torch.autograd.grad(loss, list(plain.parameters()), create_graph=True)
    moved = {n: p - RATE * s for (n, p), s in zip(plain.named_parameters(), slopes, strict=True)}
    F.cross_entropy(functional_call(plain, moved, (x,)), y).backward()
    classifier, of = ours_from(plain).double(), tuple(ours.parameters())
    weights = dict(classifier.named_parameters())
    gradients = gradient_through_a_step(classifier, weights, RATE, with_noise(x, ours, EPSILON), x, y, y, of)
    expected = torch.cat([parameter.grad.flatten() for parameter in theirs.parameters()])
    found = torch.cat([gradient.flatten() for gradient in gradients])
    assert (found - expected).norm() <= 1e-9 * expected.norm()


def test_a_step_is_faster_than_the_straightforward_one(networks, batches) -> None:
    plain, generator = networks
    ratios = []
    for _ in range(ROUNDS + 1):
        ours, theirs = laid_out(copy.deepcopy(generator), "cpu"), plainly(generator)
        classifier, model = ours_from(plain), copy.deepcopy(plain)
        quick = seconds(lambda c=classifier, g=ours: steps_of_ours(c, g, batches))
        slow = seconds(lambda m=model, g=theirs: straightforward_steps(m, g, batches))
        ratios.append(slow / quick)
    ratio = float(np.median(ratios[1:]))  # the first round warms up
    print(f"{ratio:.2f} x, rounds {min(ratios):.2f} to {max(ratios):.2f}")
    assert ratio >= 1.25


def test_a_quick_trial_with_its_evaluation_is_faster_than_the_straightforward_one(tmp_path: Path) -> None:
    """The straightforward way makes noise batch by batch, and trains a victim of its own on each trial's generator."""
    count, trials = 1024, 2
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(count, 1, 28, 28, generator=generator), torch.randint(10, (count,), generator=generator)
    settings = DeepConfuse(Params(warm_up=0, trials=trials)).settings(1, count)
    plain = PlainClassifier(settings.channels, settings.fc)
    maker = plainly(Generator((1, 28, 28), settings.widths, skips=False))
    passed = list(zip(x.split(BATCH), y.split(BATCH), strict=True)) * 2
    batches = passed[: steps_of_a_trial(count, settings)]
    data = ArrayDataset(x.numpy(), y.numpy(), tuple("0123456789"))

    def ours() -> None:
        train_generator(data, data.rows(range(64)), EPSILON, settings, Context(0, "cpu", tmp_path))

    def theirs() -> None:
        for _ in range(trials):
            straightforward_steps(copy.deepcopy(plain), maker, batches, settings.generator_every)
            evaluate(copy.deepcopy(plain), maker, batches)

    ratios = [seconds(theirs) / seconds(ours) for _ in range(3)]
    ratio = float(np.median(ratios[1:]))
    print(f"{ratio:.2f} x")
    assert ratio >= 1.15


def evaluate(victim: nn.Module, generator: Generator, batches: list[tuple[Tensor, Tensor]]) -> float:
    """The accuracy on clean images of a fresh victim that saw as many poisoned batches as the trial's classifier."""
    sgd = torch.optim.SGD(victim.parameters(), lr=RATE)
    for x, y in batches:
        with torch.no_grad():
            poisoned = (x + EPSILON * generator(x)).clamp(0, 1)
        sgd.zero_grad()
        F.cross_entropy(victim(poisoned), y).backward()
        sgd.step()
    with torch.no_grad():
        return float((victim(batches[0][0]).argmax(dim=1) == batches[0][1]).float().mean())

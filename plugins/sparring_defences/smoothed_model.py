"""A model whose answer is what another one says most often under Gaussian noise. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.data import Arrays
from sparring.model import Model
from sparring.threat import Access

ROWS = 4096
"""Noisy images that are asked at a time."""


class SmoothedModel(Model):
    """g(x) = argmax_c P(f(x + N(0, sigma^2)) = c), estimated anew at every call (Cohen et al. 2019, section 3).

    Noisy images are not clipped. Scores are shares of votes; logits are logarithms of the mean probabilities, the
    differentiable stand-in of Salman et al. 2019 (SmoothAdv, equation 6).

    Args:
        inner: the base classifier f.
        sigma: of the noise, in [0, 1] pixels.
        samples: noisy copies of each image.
        generator: on the CPU; where the noise comes from.
    """

    def __init__(self, inner: Model, sigma: float, samples: int, generator: torch.Generator) -> None:
        self.inner = inner
        self.sigma = sigma
        self.samples = samples
        self.generator = generator
        self.offers = inner.offers - {Access.WEIGHTS}
        self.classes = inner.classes

    def noisy(self, x: Tensor, copies: int) -> Tensor:
        """(N * copies, C, H, W), the copies of an image beside each other."""
        many = x.repeat_interleave(copies, dim=0)
        noise = torch.randn(many.shape, generator=self.generator).to(x.device)
        return many + self.sigma * noise

    def counts(self, x: Tensor, copies: int) -> Tensor:
        """(N, K) int64: how often `inner` answers each class under noise."""
        total = torch.zeros((len(x), self.classes), dtype=torch.int64, device=x.device)
        for at_once in _parts(copies, max(1, ROWS // max(1, len(x)))):
            answers = self.inner.predict(self.noisy(x, at_once)).view(len(x), at_once)
            total += F.one_hot(answers, self.classes).sum(dim=1)
        return total

    def predict(self, x: Tensor) -> Tensor:
        return self.counts(x, self.samples).argmax(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        return self.counts(x, self.samples).float() / self.samples

    def probabilities(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.probabilities(self.noisy(x, self.samples)))

    def logits(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.logits(self.noisy(x, self.samples)).softmax(dim=1)).clamp_min(1e-12).log()

    def features(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.features(self.noisy(x, self.samples)))

    def _mean(self, values: Tensor) -> Tensor:
        return values.view(-1, self.samples, values.shape[1]).mean(dim=1)

    def state(self) -> Arrays:
        return self.inner.state()


def _parts(total: int, size: int) -> list[int]:
    return [size] * (total // size) + ([total % size] if total % size else [])

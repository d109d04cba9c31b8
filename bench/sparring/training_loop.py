"""The one loop that trains networks, driven by a `Recipe`.

The data set lies on the device as one tensor and batches are cut from it by index: no loader, no workers, no
per-image work. All randomness comes from `ctx.generator`, so that one seed gives the same bytes on the same CPU.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

from sparring.augmentation import augment
from sparring.contracts import Context
from sparring.data import ArrayDataset, Arrays
from sparring.inner_adversary import mixed_loss
from sparring.model import untouched_randomness
from sparring.optimisation import load_optimiser_arrays, make_optimiser, optimiser_arrays, rate_factor, set_rate
from sparring.training import Recipe


class TrainingDiverged(RuntimeError):
    """The training loss or the weights became infinite or NaN."""


def initialised(build: Callable[[], nn.Module], ctx: Context) -> nn.Module:
    """The network that `build` makes, on `ctx.device`, its weights drawn from `ctx.generator` alone."""
    with untouched_randomness():
        _reseed_global_generators(ctx)
        return build().to(ctx.device)


def train(
    network: nn.Module, data: ArrayDataset, recipe: Recipe, ctx: Context, *, checkpoint_seconds: float = 20.0
) -> nn.Module:
    """Train `network` in place, as `recipe` says, and return it in eval mode.

    Args:
        network: maps float32 (N, C, H, W) in [0, 1] to (N, K) logits. Parameters that want no gradient stay.
        data: the training set, poison included.
        recipe: followed to the letter.
        ctx: progress is in steps; a checkpoint of this same call (same weights, data, recipe, generator) is resumed.
            A stage that writes checkpoints of its own hands over `replace(ctx, checkpoints=None)`.
        checkpoint_seconds: after an epoch, a checkpoint is written when the last one is as old as this.

    Raises:
        ValueError: there is no image to train on.
        TrainingDiverged: the loss or the weights are not finite after an epoch.
        DeadlineExceeded: from `ctx.progress`.
    """
    if len(data) == 0:
        raise ValueError("no images to train on: the training set is empty")
    run = _Run(network.to(ctx.device), data, recipe, ctx)
    fingerprint = _fingerprint(run, data) if ctx.checkpoints is not None else ""
    first = _resume(run, fingerprint)
    written = time.monotonic()
    with untouched_randomness():
        for epoch in range(first, recipe.epochs):
            _reseed_global_generators(ctx)  # for dropout and the like
            running_error = run.epoch(epoch)
            if recipe.stop_at_error is not None and run.has_reached(recipe.stop_at_error, running_error):
                break
            if ctx.checkpoints is not None and time.monotonic() - written >= checkpoint_seconds:
                ctx.checkpoint(_checkpoint(run, epoch + 1, fingerprint))
                written = time.monotonic()
    return network.eval()


@dataclass(eq=False)
class _Run:
    """One training: what stays the same from epoch to epoch."""

    network: nn.Module
    data: ArrayDataset
    recipe: Recipe
    ctx: Context
    pixels: Tensor = field(init=False)  # (N, C, H, W) on the device, uint8 or float32
    labels: Tensor = field(init=False)
    optimiser: Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = torch.from_numpy(np.array(self.data.pixels)).to(self.ctx.device)
        self.labels = torch.from_numpy(np.array(self.data.y)).to(self.ctx.device)
        own = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = make_optimiser(own, self.recipe)

    def images(self, rows: Tensor) -> Tensor:
        return unit_floats(self.pixels.index_select(0, rows))

    def epoch(self, epoch: int) -> float:
        """One pass over the shuffled training set; the mean error of the network on what it was trained on."""
        order = torch.randperm(len(self.labels), generator=self.ctx.generator).to(self.ctx.device)
        batches = cut_batches(order, self.recipe.batch_size)
        total = self.recipe.epochs * len(batches)
        wrong = torch.zeros((), dtype=torch.int64, device=self.ctx.device)
        loss_sum = torch.zeros((), device=self.ctx.device)
        spoken = time.monotonic()
        for i, rows in enumerate(batches):
            step = epoch * len(batches) + i
            set_rate(self.optimiser, self.recipe.learning_rate * rate_factor(self.recipe.schedule, step / total))
            self.step(rows, wrong, loss_sum)
            if time.monotonic() - spoken > 1.0:
                self.ctx.progress(step + 1, total, f"epoch {epoch + 1} of {self.recipe.epochs}")
                spoken = time.monotonic()
        if not (torch.isfinite(loss_sum) and all(bool(torch.isfinite(p).all()) for p in self.network.parameters())):
            raise TrainingDiverged(
                f"the training loss or the weights are not finite in epoch {epoch + 1} of {self.recipe.epochs}; "
                f"a smaller learning rate than {self.recipe.learning_rate:g} may help"
            )
        error = int(wrong) / len(self.labels)
        self.ctx.curve("training error", epoch + 1, error)
        note = f"epoch {epoch + 1} of {self.recipe.epochs}, training error {error:.2%}"
        self.ctx.progress((epoch + 1) * len(batches), total, note)
        return error

    def step(self, rows: Tensor, wrong: Tensor, loss_sum: Tensor) -> None:
        """One step of the optimiser; adds to `wrong` and `loss_sum`, which stay on the device."""
        y = self.labels.index_select(0, rows)
        x = augment(self.images(rows), self.recipe.augmentation, self.ctx.generator)
        self.network.train(len(rows) > 1)  # a lone image has no batch statistics
        if self.recipe.adversary is None:
            logits = self.network(x)
            loss = F.cross_entropy(logits, y)
        else:
            loss, logits = mixed_loss(self.network, x, y, self.recipe.adversary, self.ctx.generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            wrong += (logits.argmax(dim=1) != y).sum()
            loss_sum += loss.detach()

    def has_reached(self, target: float, running_error: float) -> bool:
        """Whether the training error is at most `target`.

        The running error of an epoch, on augmented and adversarial images where the recipe has them, lags behind; so
        it may be up to twice as large (or half a point larger). Then one pass in eval mode over the training images,
        as they lie in the training set, decides.
        """
        if running_error > max(2 * target, target + 0.005):
            return False
        self.network.eval()
        rows = torch.arange(len(self.labels), device=self.ctx.device).split(1000)
        with torch.no_grad():
            wrong = sum(int((self.network(self.images(r)).argmax(1) != self.labels[r]).sum()) for r in rows)
        return wrong <= target * len(self.labels)


def unit_floats(pixels: Tensor) -> Tensor:
    """uint8 0..255 or float32 in [0, 1] to float32 in [0, 1]; the bits of `data.as_unit_floats`."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels


def cut_batches(order: Tensor, size: int) -> list[Tensor]:
    """`order` in batches of `size`. A last batch of one row joins the one before: it has no batch statistics."""
    batches = list(order.split(size))
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _reseed_global_generators(ctx: Context) -> None:
    torch.manual_seed(int(torch.randint(2**62, (), generator=ctx.generator)))


def _fingerprint(run: _Run, data: ArrayDataset) -> str:
    """Tells the trainings of one stage apart (partition votes fit many networks with one context)."""
    digest = hashlib.sha256(repr(run.recipe).encode())
    arrays = [tensor.detach().cpu().numpy() for tensor in run.network.state_dict().values()]
    for array in (*arrays, run.ctx.generator.get_state().numpy(), data.y, data.pixels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _checkpoint(run: _Run, epochs_done: int, fingerprint: str) -> Arrays:
    network = {f"network/{k}": v.detach().cpu().numpy().copy() for k, v in run.network.state_dict().items()}
    optimiser = {f"optimiser/{k}": v for k, v in optimiser_arrays(run.optimiser).items()}
    mark = np.frombuffer(fingerprint.encode(), dtype=np.uint8)
    return {**network, **optimiser, "epochs done": np.array(epochs_done), "fingerprint": mark}


def _resume(run: _Run, fingerprint: str) -> int:
    """The number of epochs behind us: that of the stage's checkpoint when it is of this very training, else 0."""
    before = run.ctx.generator.get_state(), run.ctx.rng.bit_generator.state, run.ctx.curves
    found = run.ctx.resume()
    if found is None:
        return 0
    if "fingerprint" not in found or found["fingerprint"].tobytes().decode() != fingerprint:
        run.ctx.generator.set_state(before[0])
        run.ctx.rng.bit_generator.state = before[1]
        run.ctx.curves = before[2]
        return 0
    run.network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in _under("network/", found).items()})
    load_optimiser_arrays(run.optimiser, _under("optimiser/", found))
    return int(found["epochs done"])


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

"""Training the generator of DeepConfuse: algorithms 1 and 2, with checkpoints.

All randomness comes from `ctx.generator`, so that one seed gives the same bytes on the same CPU, resumed or not.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.contracts import Context
from sparring.data import ArrayDataset, Arrays
from sparring.model import load_state
from sparring.optimisation import load_optimiser_arrays, optimiser_arrays, rate_factor, set_rate
from sparring_attacks.confuse_gradient import Weights, gradient_through_a_step
from sparring_attacks.confuse_networks import Generator
from sparring_attacks.confuse_noise import BATCH, fresh_generator, network_arrays, settle, under, with_noise
from sparring_attacks.confuse_settings import Algorithm, Keep, Settings, Variant
from sparring_attacks.confuse_victim import ImaginaryVictim, Rows, Scores
from sparring_attacks.confuse_warm_up import warm_up

HELD_OUT_SHARE, HELD_OUT_ROWS = 0.1, 1000
SETTLING_ROWS = 2048  # that the statistics of a generator are taken over
SHORTEST = 1e-30  # gradient that is scaled to length 1
DAMPING = 1e-3  # Adam's epsilon for such gradients: spares weights whose share of the length is small, 1e-8 would not


@dataclass(frozen=True, eq=False)
class Trained:
    """A generator, and how the victims of it and of its predecessors did.

    Attributes:
        generator: in eval mode.
        history: (T + 1, 3) float32, the `Scores` of a classifier trained on the noise of the generator after 0 to T
            trials.
        kept: the row of `history` that belongs to `generator`.
    """

    generator: Generator
    history: NDArray[np.float32]
    kept: int


def train_generator(
    train: ArrayDataset,
    held_out: ArrayDataset | None,
    epsilon: float,
    settings: Settings,
    ctx: Context,
    *,
    checkpoint_seconds: float = 20.0,
) -> Trained:
    """Train a generator against imaginary classifiers, as `settings` say.

    The classifier that a trial leaves behind was trained from scratch on the noise of the generator before the trial:
    it is that generator's victim, so its accuracy costs nothing but a look at the held-out rows. One more fit after the
    last trial judges the last generator.

    Args:
        train: clean rows.
        held_out: clean rows for the history; `None`: a tenth of `train`, at most 1,000 rows, is put aside.
        epsilon: largest change of a value, in units of [0, 1] pixels.
        checkpoint_seconds: after a trial, a checkpoint is written when the last one is as old as this.

    Raises:
        ValueError: there is no image to train on.
        DeadlineExceeded: from `ctx.progress`.
    """
    if len(train) == 0:
        raise ValueError("deep-confuse has no images to train its generator on: the training set is empty")
    run = _Run(train, held_out, epsilon, settings, ctx)
    if ctx.checkpoints is not None and (found := ctx.resume()) is not None:
        run.load(found)
    else:
        run.warm_up()
    written = time.monotonic()
    for trial in range(len(run.history), settings.trials + 1):
        run.trial(climb=trial < settings.trials)
        if ctx.checkpoints is not None and time.monotonic() - written >= checkpoint_seconds:
            ctx.checkpoint(run.arrays())
            written = time.monotonic()
    return Trained(run.best, np.array(run.history, dtype=np.float32), run.kept)


class _Run:
    """One training: what stays the same from trial to trial, and how far it is.

    Attributes:
        climbing: g', updated in every step.
        fixed: g, on whose noise the classifier of the trial is trained; in eval mode, as it is when it poisons.
        best: the g that did most harm so far.
        history, kept: see `Trained`.
    """

    def __init__(
        self, train: ArrayDataset, held_out: ArrayDataset | None, epsilon: float, settings: Settings, ctx: Context
    ) -> None:
        self.shape, self.classes = train.image_shape, train.classes
        self.epsilon, self.settings, self.ctx = epsilon, settings, ctx
        self.climbing = fresh_generator(self.shape, settings.widths, ctx)
        self.fixed, self.best = (copy.deepcopy(self.climbing).eval() for _ in range(2))
        self.parameters = tuple(self.climbing.parameters())
        damping = DAMPING if settings.equal_steps else 1e-8
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.generator_rate, eps=damping, fused=True)
        spared = 0 if held_out is not None else min(HELD_OUT_ROWS, int(HELD_OUT_SHARE * len(train)))
        order = torch.randperm(len(train), generator=ctx.generator).numpy()
        if held_out is None:  # a handful of rows spares none: then all are looked at
            held_out = train.rows(order[:spared]) if spared else train
        self.x, self.y = _tensors(train.rows(order[spared:]), ctx)
        self.x_held, self.y_held = _tensors(held_out, ctx)
        self.history: list[Scores] = []
        self.kept = 0
        self.spoken = time.monotonic()

    def warm_up(self) -> None:
        if self.settings.warm_up == 0:
            return
        warm_up(self.climbing, self.x, self.y, self.classes, self.epsilon, self.settings.warm_up, self.ctx)
        self.fixed.load_state_dict(self.climbing.state_dict())
        if self.ctx.checkpoints is not None:
            self.ctx.checkpoint(self.arrays())

    def trial(self, *, climb: bool) -> None:
        """A new classifier learns the noise of g; meanwhile (algorithm 2) or afterwards, along its stored trajectory
        (algorithm 1), g' climbs; then g becomes g'."""
        victim = self.new_victim()
        trajectory: list[tuple[int, Weights, Tensor]] = []
        for step, rows in enumerate(victim.batches()):
            if climb and step % self.settings.generator_every == 0:
                if self.settings.algorithm is Algorithm.STORED:
                    trajectory.append((step, victim.weights_copied(), rows))
                else:
                    self.climb(victim, step, victim.weights, rows)
            victim.learn(rows)
            self.say(step, victim)
        for step, weights, rows in trajectory:
            self.climb(victim, step, weights, rows)
            self.say(step, victim)
        self.judge(victim)
        self.fixed.load_state_dict(self.climbing.state_dict())

    def new_victim(self) -> ImaginaryVictim:
        count = min(self.settings.pool or len(self.y), len(self.y))
        rows = torch.randperm(len(self.y), generator=self.ctx.generator)[:count].to(self.ctx.device)
        x = self.x[rows]
        settle(self.fixed, x[:SETTLING_ROWS])
        pool = Rows(clean=x, poisoned=self.poisoned(x), y=self.y[rows])
        return ImaginaryVictim(pool, self.shape, self.classes, self.settings, self.ctx)

    def poisoned(self, x: Tensor) -> Tensor:
        """By g, without a graph."""
        with torch.no_grad():
            return torch.cat([with_noise(part, self.fixed, self.epsilon) for part in x.split(BATCH)])

    def climb(self, victim: ImaginaryVictim, step: int, weights: Weights, rows: Tensor) -> None:
        """One step of g' through a pseudo-step of the classifier with `weights` (algorithm 2, lines 9 and 10)."""
        done = (len(self.history) + step / victim.steps) / self.settings.trials
        set_rate(self.optimiser, self.settings.generator_rate * rate_factor(self.settings.schedule, done))
        x, y = victim.pool.clean[rows], victim.pool.y[rows]
        descends = self.settings.variant is Variant.LABEL_SPECIFIC
        gradients = gradient_through_a_step(
            victim.classifier,
            weights,
            rate=self.settings.pseudo_rate,
            poisoned=with_noise(x, self.climbing.train(len(rows) > 1), self.epsilon),
            clean=x,
            y=y,
            wanted=(y + 1) % self.classes if descends else y,
            of=self.parameters,
        )
        scale = torch.ones(()) if descends else -torch.ones(())
        if self.settings.equal_steps:
            scale = scale / torch.stack([gradient.norm() for gradient in gradients]).norm().clamp_min(SHORTEST).cpu()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.mul_(scale)
        self.optimiser.step()

    def judge(self, victim: ImaginaryVictim) -> None:
        """Note how the victim of g did, and keep g if none did more harm so far."""
        self.history.append(victim.scores(Rows(self.x_held, self.poisoned(self.x_held), self.y_held)))
        if self.settings.keep is Keep.LAST or _harm(self.history[-1], self.settings) >= _harm(
            self.history[self.kept], self.settings
        ):
            self.kept = len(self.history) - 1
            self.best.load_state_dict(self.fixed.state_dict())

    def say(self, step: int, victim: ImaginaryVictim) -> None:
        if time.monotonic() - self.spoken < 1:
            return
        self.spoken = time.monotonic()
        trial, trials, steps = len(self.history), self.settings.trials, victim.steps
        last = f", its last victim {self.history[-1].clean:.1%} right" if self.history else ""
        self.ctx.progress(trial * steps + step + 1, (trials + 1) * steps, f"trial {trial + 1} of {trials}{last}")

    def arrays(self) -> Arrays:
        """All that the next trial starts from; the states of the random generators are the context's business."""
        networks = {"g": self.fixed, "best": self.best}  # between trials, g and g' are one
        weights = {f"{role}/{k}": v for role, g in networks.items() for k, v in network_arrays(g).items()}
        adam = {f"adam/{name}": array for name, array in optimiser_arrays(self.optimiser).items()}
        return {**weights, **adam, "history": np.array(self.history), "kept": np.array(self.kept)}

    def load(self, arrays: Arrays) -> None:
        """Put back what `arrays` gave."""
        for network, role in ((self.fixed, "g"), (self.climbing, "g"), (self.best, "best")):
            load_state(network, under(f"{role}/", arrays))
        load_optimiser_arrays(self.optimiser, under("adam/", arrays))
        for parameter, moments in self.optimiser.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # arrays forget the layout in memory, and rounding depends on it
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        self.history = [Scores(*(float(score) for score in row)) for row in arrays["history"]]
        self.kept = int(arrays["kept"])


def _tensors(data: ArrayDataset, ctx: Context) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.x.copy()).to(ctx.device), torch.from_numpy(data.y.copy()).to(ctx.device)


def _harm(scores: Scores, settings: Settings) -> float:
    """What the attack is after; higher is better for it. A victim that has not learnt the poison says little: its
    errors would go on with its training. So the untargeted variant counts the generalisation gap."""
    return scores.shifted if settings.variant is Variant.LABEL_SPECIFIC else scores.poisoned - scores.clean

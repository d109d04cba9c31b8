"""How a network is trained, as data. Import-light; `sparring.training_loop` is the loop that follows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sparring.threat import Norm


class Optimiser(StrEnum):
    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAM = "adam"
    RMSPROP = "rmsprop"
    ADABOUND = "adabound"


class Schedule(StrEnum):
    CONSTANT = "constant"
    COSINE = "cosine"
    STEPS = "steps"  # x 0.1 after one half and three quarters of the epochs
    ONE_CYCLE = "one-cycle"


class Augmentation(StrEnum):
    NONE = "none"
    SHIFT = "shift"  # random crops after padding by a pixel in eight
    SHIFT_FLIP = "shift-flip"  # and random mirror images
    GAUSSIAN = "gaussian"  # additive noise, sigma 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerAdversary:
    """Adversarial examples made during training (Goodfellow et al. 2015, section 6; Madry et al. 2018, section 2).

    Attributes:
        norm: LINF or L2.
        epsilon: budget, in units of [0, 1] pixels.
        steps: 1 is FGSM.
        step_size: length of one step; `None`: epsilon for one step, 2.5 epsilon / steps for several.
        random_start: begin at a random point of the ball.
        clean_weight: alpha of the mixed loss alpha * L(x) + (1 - alpha) * L(x_adv); 0: adversarial images only.
    """

    norm: Norm = Norm.LINF
    epsilon: float
    steps: int = 1
    step_size: float | None = None
    random_start: bool = False
    clean_weight: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained. Victims state theirs; defences may change it.

    Attributes:
        optimiser: which optimiser.
        learning_rate: its step size (the peak, with a schedule).
        momentum: for MOMENTUM and RMSPROP.
        weight_decay: L2 penalty as the optimiser understands it.
        schedule: of the learning rate, over epochs.
        epochs: passes over the training set at most.
        batch_size: images per step.
        augmentation: random changes of each training image, anew every epoch.
        stop_at_error: stop after the first epoch whose training error (on the images as trained on) is at most this.
        adversary: adversarial examples made in the loop.
    """

    optimiser: Optimiser = Optimiser.ADAM
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.CONSTANT
    epochs: int = 10
    batch_size: int = 128
    augmentation: Augmentation = Augmentation.NONE
    stop_at_error: float | None = None
    adversary: InnerAdversary | None = None

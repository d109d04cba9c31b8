"""Optimisers and learning-rate schedules of a `Recipe`, and an optimiser's state as named arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from sparring.data import Arrays
from sparring.training import Optimiser, Recipe, Schedule


def make_optimiser(parameters: Iterable[Parameter], recipe: Recipe) -> Optimizer:
    """The recipe's optimiser over `parameters`; the variants chosen are the fastest on one CPU thread."""
    own = list(parameters)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    match recipe.optimiser:
        case Optimiser.SGD:
            return torch.optim.SGD(own, lr=rate, weight_decay=decay, fused=True)
        case Optimiser.MOMENTUM:
            return torch.optim.SGD(own, lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
        case Optimiser.ADAM:
            return torch.optim.Adam(own, lr=rate, weight_decay=decay, fused=True)
        case Optimiser.RMSPROP:
            return torch.optim.RMSprop(own, lr=rate, momentum=recipe.momentum, weight_decay=decay)
        case Optimiser.ADABOUND:
            from pytorch_optimizer import AdaBound

            # An L2 penalty like the others', as in the authors' own code; the package decouples it by default.
            bound: Optimizer = AdaBound(own, lr=rate, weight_decay=decay, weight_decouple=False)
            return bound


def rate_factor(schedule: Schedule, done: float) -> float:
    """What the learning rate is multiplied by when the part `done`, in [0, 1), of all steps lies behind.

    One-cycle (Smith & Topin 2018, arXiv 1708.07120) climbs from 1/25 over the first 30 %, then falls to 0 as a cosine.
    """
    match schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.COSINE:
            return 0.5 * (1 + math.cos(math.pi * done))
        case Schedule.STEPS:
            return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
        case Schedule.ONE_CYCLE:
            if done < 0.3:
                return 0.04 + 0.96 * done / 0.3
            return 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))


def set_rate(optimiser: Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_arrays(optimiser: Optimizer) -> dict[str, np.ndarray[Any, Any]]:
    """The state of `optimiser`: `3/exp_avg` is that of its parameter 3; AdaBound counts its steps in the group."""
    state = optimiser.state_dict()
    arrays = {
        f"{number}/{name}": torch.as_tensor(value).cpu().numpy().copy()
        for number, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    step = state["param_groups"][0].get("step")
    return arrays if step is None else {**arrays, "group/step": np.array(step, dtype=np.int64)}


def load_optimiser_arrays(optimiser: Optimizer, arrays: Arrays) -> None:
    """Put back what `optimiser_arrays` gave."""
    state = optimiser.state_dict()
    for name, array in arrays.items():
        owner, _, entry = name.partition("/")
        if owner == "group":
            state["param_groups"][0][entry] = int(array)
        else:
            state["state"].setdefault(int(owner), {})[entry] = torch.from_numpy(np.array(array))
    optimiser.load_state_dict(state)

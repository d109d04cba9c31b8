"""The sleeper agent: training images that teach a network a trigger which none of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, param, reference
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks import triggers
from sparring_attacks.balls import ROUNDING
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_EPSILON = 0.2
DEFAULT_FRACTION = 0.05


class Choice(StrEnum):
    GRADIENT = "gradient"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    surrogate: Selection = reference(Kind.VICTIM, "mlp", "the clean network whose gradients are matched")
    target: int = param(0, "label that triggered images shall get; only its images are poisoned", at_least=0)
    source: int | None = param(None, "class whose patched images are matched; null: all others", at_least=0)
    sources: int = param(500, "patched images whose gradient is matched, at most", at_least=1)
    choice: Choice = param(Choice.GRADIENT, "of the poisoned rows: those with the largest gradients, or any")
    size: int = param(3, "side of the square patch", at_least=1, unit="pixels")
    margin: int = param(1, "pixels between the patch and the lower right corner", at_least=0, unit="pixels")
    brightness: float = param(1.0, "value of the patch in every channel", at_least=0, at_most=1)
    steps: int = param(100, "gradient steps between two trainings of the surrogate", at_least=1)
    retrainings: int = param(2, "trainings of the surrogate on the poison so far (T)", at_least=0)
    epochs: int = param(10, "of each of these trainings, from the weights it has", at_least=1)
    batch_size: int = param(512, "images whose gradients are summed", at_least=1)


class SleeperAgent:
    """Gradient matching, where the gradient that is matched is that of patched images of other classes under the target
    label, rows with large gradients are poisoned, and the surrogate is trained on the poison in between (Souri et al.
    2022, section 3.2, equation 4 and algorithm 1). Labels stay, and no training image has the patch.

    The surrogate is trained on from its weights, where the paper begins anew. ART's attack wants one-hot labels, an
    ndarray of indices and a standardising preprocessor, and trains layers without `reset_parameters` from where they
    are (sleeper_agent_attack.py, `__init__`, `_create_model`).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when a label is no class, or the patch does not fit; `NotOffered` without a network."""
        import numpy as np
        import torch

        from sparring.data import Poisoned
        from sparring_attacks.matched_gradients import differentiable

        params = self.params
        if max(params.target, params.source or 0) >= train.classes:
            raise ValueError(f"sleeper-agent: labels {params.target} and {params.source}, of {train.classes} classes")
        state = triggers.patch(params.size, params.margin, params.brightness, *train.image_shape[1:])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        network = differentiable(aux.surrogates["surrogate"])
        rows = self._rows(network, train, fraction, ctx)
        bases = train.rows(rows)
        x = torch.from_numpy(np.array(bases.x)).to(ctx.device)
        patched = self._patched(train, state, ctx)
        if len(rows) and len(patched) and epsilon > ROUNDING:
            x = self._taught(network, train, rows, x, patched, epsilon, ctx)
        return [Poisoned(rows, x.cpu().numpy(), bases.y.astype(np.int64), state)]

    def _rows(self, network: nn.Module, train: ArrayDataset, fraction: float, ctx: Context) -> IntArray:
        import numpy as np
        import torch

        from sparring_attacks.matched_gradients import gradient_norms

        candidates = np.flatnonzero(train.y == self.params.target)
        if self.params.choice is Choice.RANDOM:
            return draw_rows(candidates, len(train), fraction, ctx.rng)
        count = int(fraction * len(train) + 1e-9)  # 0.29 * 100 is 28.999...
        images = train.rows(candidates)
        if not count or not len(candidates):
            return candidates[:0].astype(np.int64)
        x, y = (torch.from_numpy(np.array(array)).to(ctx.device) for array in (images.x, images.y))
        order = gradient_norms(network, x, y, ctx).argsort(descending=True, stable=True).cpu().numpy()
        return np.sort(candidates[order[:count]]).astype(np.int64)

    def _patched(self, train: ArrayDataset, state: Arrays, ctx: Context) -> Tensor:
        """(S, C, H, W) some images of the source classes with the patch."""
        import numpy as np
        import torch

        target, source = self.params.target, self.params.source
        others = np.flatnonzero(train.y != target if source is None else train.y == source)
        drawn = ctx.rng.permutation(others)[: self.params.sources]
        return torch.from_numpy(triggers.patched(train.rows(drawn).x, state)).to(ctx.device)

    def _taught(
        self,
        network: nn.Module,
        train: ArrayDataset,
        rows: IntArray,
        x: Tensor,
        patched: Tensor,
        epsilon: float,
        ctx: Context,
    ) -> Tensor:
        from dataclasses import replace

        import torch

        from sparring.data import Poisoned
        from sparring.training import Recipe
        from sparring.training_loop import train as fit
        from sparring_attacks.matched_gradients import Descent, anywhere_near, matched_from, weight_gradient

        params, moved = self.params, anywhere_near(x, epsilon, ctx)
        y = torch.full((len(x),), params.target, device=x.device)
        wanted_labels = torch.full((len(patched),), params.target, device=x.device)
        recipe = Recipe(epochs=params.epochs, batch_size=128)
        descent = Descent(epsilon, params.steps, 1, params.batch_size)
        for training in range(params.retrainings + 1):
            wanted = weight_gradient(network, patched, wanted_labels)
            _, moved = matched_from(moved, network, x, y, wanted, descent, ctx)
            if training < params.retrainings:
                poison = Poisoned(rows, moved.cpu().numpy(), train.y[rows])
                fit(network, train.with_delta(poison), recipe, replace(ctx, checkpoints=None, curves={}))
        return moved

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        return triggers.patched(x, state)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)


SPEC = AttackSpec(
    name="sleeper-agent",
    summary="Images of the target class whose gradients are those of patched images of others; the patch stays hidden.",
    citation="Souri, Fowl, Chellappa, Goldblum & Goldstein 2022, Sleeper agent: scalable hidden trigger backdoors for "
    "neural networks trained from scratch, section 3; arXiv 2106.08970",
    params=Params,
    load=SleeperAgent,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    surrogates=("surrogate",),
)

"""The clean-label backdoor: images that are hard to recognise, and a patch that makes them easy. Labels stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, param, reference
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks import triggers
from sparring_attacks.balls import ROUNDING, project
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets
    from sparring.model import Model

DEFAULT_FRACTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    surrogate: Selection = reference(Kind.VICTIM, "cnn", "the clean model that the images are made hard for")
    robust_epochs: int = param(
        5, "of adversarial training that the surrogate goes through first, at the same bound; 0: none", at_least=0
    )
    perturbation: float = param(
        0.3, "largest change of a pixel before the patch, which no epsilon bounds", at_least=0, at_most=1
    )
    steps: int = param(20, "gradient steps", at_least=1)
    step_size: float | None = param(None, "null: 2.5 perturbation / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(100, "images moved at a time", at_least=1)
    target: int = param(0, "label that triggered images shall get; only its images are poisoned", at_least=0)
    size: int = param(3, "side of the square patch", at_least=1, unit="pixels")
    margin: int = param(1, "pixels between the patch and the lower right corner", at_least=0, unit="pixels")
    brightness: float = param(1.0, "value of the patch in every channel", at_least=0, at_most=1)


class CleanLabelBackdoor:
    """Images of the target class are moved up the loss of a surrogate by projected gradient ascent, then patched
    (Turner et al. 2019, section 4.2; L-infinity of the two norms that they try). Their labels are right.

    As in the paper, the surrogate is trained adversarially: noise against a plain one is as easy to learn as the patch.
    It is the clean one, trained on with single steps from random starts (Wong et al. 2020, arXiv 2001.03994).

    ART draws the rows with replacement (clean_label_backdoor_attack.py, `poison`), so that it changes fewer than it is
    asked for; here they are distinct. The fraction is of the whole training set: all of the class, where it is larger.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the target is no class, or the patch does not fit."""
        import numpy as np

        from sparring.data import Poisoned

        params = self.params
        if params.target >= train.classes:
            raise ValueError(
                f"clean-label-backdoor aims at label {params.target}; the classes are 0 to {train.classes - 1}"
            )
        state = triggers.patch(params.size, params.margin, params.brightness, *train.image_shape[1:])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.flatnonzero(train.y == params.target), len(train), fraction, ctx.rng)
        images = train.rows(rows)
        hard = self._hard(aux.surrogates["surrogate"], train, images, ctx)
        return [Poisoned(rows, self.trigger(hard, images.y, state, ctx), images.y.astype(np.int64), state)]

    def _hard(self, surrogate: Model, train: ArrayDataset, images: ArrayDataset, ctx: Context) -> FloatArray:
        """(M, C, H, W) the images at a higher loss."""
        import numpy as np
        import torch

        if self.params.perturbation <= ROUNDING or not len(images):
            return images.x
        robust = self._robust(surrogate, train, ctx) if self.params.robust_epochs else surrogate
        x, y = (torch.from_numpy(np.array(array)).split(self.params.batch_size) for array in (images.x, images.y))
        moved = []
        for number, (clean, labels) in enumerate(zip(x, y, strict=True)):
            moved.append(self._ascended(robust, clean.to(ctx.device), labels.to(ctx.device), ctx).cpu())
            ctx.progress(number + 1, len(x), "batches made hard")
        return np.asarray(torch.cat(moved).numpy())

    def _robust(self, surrogate: Model, train: ArrayDataset, ctx: Context) -> Model:
        """A copy of the surrogate after adversarial training. Raises `NotOffered` when it is no network."""
        import copy
        from dataclasses import replace

        from sparring.model import NetworkModel
        from sparring.training import InnerAdversary, Recipe
        from sparring.training_loop import train as fit

        adversary = InnerAdversary(epsilon=self.params.perturbation, random_start=True, clean_weight=0.0)
        recipe = Recipe(epochs=self.params.robust_epochs, adversary=adversary)
        network = copy.deepcopy(surrogate.weights()).requires_grad_(True)
        generator = ctx.generator  # one for this context and its copy
        own = replace(ctx, checkpoints=None, curves={}, _generator=generator)
        return NetworkModel(fit(network, train, recipe, own), train.classes)

    def _ascended(self, surrogate: Model, clean: Tensor, y: Tensor, ctx: Context) -> Tensor:
        import torch

        radius, steps = self.params.perturbation, self.params.steps
        length = self.params.step_size or 2.5 * radius / steps
        start = radius * (2 * torch.rand(clean.shape, generator=ctx.generator) - 1)
        x = project(clean + start.to(clean.device), clean, Norm.LINF, radius)
        for step in range(steps):
            x = project(x + length * surrogate.gradient(x, y).sign(), clean, Norm.LINF, radius)
            ctx.progress(step, steps, "gradient steps of a batch")
        return x

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        return triggers.patched(x, state)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)


SPEC = AttackSpec(
    name="clean-label-backdoor",
    summary="A patch on rightly labelled images of the target class that were made hard to recognise.",
    citation="Turner, Tsipras & Madry 2019, Label-consistent backdoor attacks, section 4; arXiv 1912.02771",
    params=Params,
    load=CleanLabelBackdoor,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION, label_changes=False),
    surrogates=("surrogate",),
)

"""The one place where evasion attacks of ART, the Adversarial Robustness Toolbox (1.20.1), are called, and where its
peculiarities are contained. Each workaround names its cause in ART's source.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparring.threat import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import MeteredModel
    from sparring_attacks.aim import Aim

Build = Callable[[Any, int], Any]
"""(classifier, batch size) -> art.attacks.EvasionAttack. Hand the batch size on (ART's default is 32), and
`verbose=False` where there is a progress bar."""


def classifier(model: MeteredModel, x: Tensor) -> Any:
    """`model` as an `art.estimators.classification.PyTorchClassifier` on the device of `x`, with logits as output.

    Its module has no parameters, so `loss_gradient`'s `loss.backward()` computes the input's gradient only
    (pytorch.py, `loss_gradient`; 1.35 to 1.5 times the cost otherwise), and inputs in double precision, which some
    attacks move to, are cast to float.
    """
    return _classifier_class()(**_settings(model, x))


def gradients_only(model: MeteredModel, x: Tensor) -> Any:
    """As `classifier`, for gradient attacks that call `predict` for nothing but the success rate they log.

    FastGradientMethod and ProjectedGradientDescent evaluate `compute_success` inside `logger.info(...)` whatever the
    log level is (fast_gradient.py and projected_gradient_descent_pytorch.py, `generate`): two forward passes that an
    attacker does not need. Here `predict` answers zeros, at no cost and without a query.
    """
    import numpy as np

    class GradientsOnly(_classifier_class()):  # type: ignore[misc]
        def predict(self, x: Any, *_: Any, **__: Any) -> Any:
            return np.zeros((len(x), self.nb_classes), dtype=np.float32)

    return GradientsOnly(**_settings(model, x))


def run(build: Build, estimator: Any, x: Tensor, aim: Aim, ctx: Context, batch_size: int) -> Tensor:
    """Adversarial images (N, C, H, W) for `x`, made `batch_size` at a time; float32, on the device of `x`, unprojected.

    ART draws from numpy's global generator: it is seeded from `ctx.generator` and put back. `x` is not changed.
    Progress is reported once a batch.
    """
    import numpy as np
    import torch

    from sparring.model import untouched_randomness

    seed = int(torch.randint(2**31, (), generator=ctx.generator))
    made = []
    with untouched_randomness(), torch.enable_grad():
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        attack = build(estimator, batch_size)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            images = x[part].detach().cpu().numpy().copy()  # some attacks write into the array they are given
            labels = _one_hot(aim.labels[part], estimator.nb_classes)
            made.append(torch.from_numpy(np.asarray(attack.generate(images, labels), dtype=np.float32)))
            ctx.progress(min(start + batch_size, len(x)), len(x), "images attacked")
    return torch.cat(made).to(x.device) if made else x.clone()


def _one_hot(labels: Tensor, classes: int) -> Any:
    """(N, K) float32: index labels of two classes are taken for binary scores (utils.py,
    `check_and_transform_label_format`)."""
    import numpy as np

    return np.eye(classes, dtype=np.float32)[labels.cpu().numpy()]


def _classifier_class() -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier


def _settings(model: MeteredModel, x: Tensor) -> dict[str, Any]:
    import torch

    return {
        "model": model.as_module(),
        "loss": torch.nn.CrossEntropyLoss(),
        "input_shape": tuple(x.shape[1:]),
        "nb_classes": model.classes,
        "clip_values": (0.0, 1.0),
        "device_type": "gpu" if x.is_cuda else "cpu",
    }


class OutOfQueries(Exception):
    """Ends a library's loop over one image. `nearest` catches it."""


@dataclass(eq=False)
class Search:
    """One image under an attack that asks about it alone: what it may still ask, and the nearest of the images asked
    about that reached the aim.

    Attributes:
        answer: (n, C, H, W) float32 -> (n, K) float32: what the victim says.
        image: (C, H, W) the original.
        aim: for this image alone.
        order: of the norm in which the nearest is meant: 2 or infinity.
        left: queries that may be asked; `None`: any number.
        known: (N, C, H, W) all attacked images, and (N,) the victim's decisions on them.
        found: (C, H, W) the nearest so far; `None`: none.
    """

    answer: Callable[[Any], Any]
    image: Any
    aim: Aim
    order: float
    left: int | None
    known: tuple[Any, Any]
    found: Any = None
    _distance: float = field(default=float("inf"), init=False)

    def ask(self, images: Any) -> Any:
        """(n, K) answers for (n, C, H, W) images, clipped to [0, 1].

        Raises:
            OutOfQueries: there are not as many left; those left were spent. Or the attack lost itself in NaN, as
                HopSkipJump does when its estimate of the gradient is zero (hop_skip_jump.py, `_compute_update`).
        """
        import numpy as np

        asked = np.clip(np.asarray(images, dtype=np.float32), 0, 1)
        if not np.isfinite(asked).all():
            raise OutOfQueries
        paid = asked if self.left is None else asked[: self.left]
        answers = self.answer(paid)
        self._note(paid[self._reached(answers.argmax(axis=1))])
        if self.left is not None:
            self.left -= len(paid)
        if len(paid) < len(asked):
            raise OutOfQueries
        return answers

    def start(self, tries: int) -> Any:
        """(1, C, H, W) an image that reaches the aim: the first such uniform noise of `tries`, else the nearest
        attacked image on which the victim decided so.

        BoundaryAttack and HopSkipJump draw theirs from the operating system's entropy (`np.random.RandomState()` in
        `_init_sample`), and give up where noise never gets the label that is wanted.

        Raises:
            OutOfQueries: there is none.
        """
        import numpy as np

        if not self.aim.targeted:
            for _ in range(tries):
                noise = np.random.uniform(size=(1, *self.image.shape)).astype(np.float32)  # noqa: NPY002
                if self._reached(self.ask(noise).argmax(axis=1))[0]:
                    return noise
        images, decisions = self.known
        others = images[self._reached(decisions)]
        if len(others) == 0:
            raise OutOfQueries
        return others[[self._distances(others).argmin()]].copy()

    def _reached(self, decisions: Any) -> Any:
        return (decisions == int(self.aim.labels)) == self.aim.targeted

    def _note(self, good: Any) -> None:
        if len(good):
            distances = self._distances(good)
            if distances.min() < self._distance:
                self.found, self._distance = good[distances.argmin()].copy(), float(distances.min())

    def _distances(self, images: Any) -> Any:
        import numpy as np

        change = (images.astype(np.float64) - self.image).reshape(len(images), -1)
        return np.linalg.norm(change, ord=self.order, axis=1)


Generate = Callable[[Any, Any, Any, Search], object]
"""(classifier, (1, C, H, W) image, (1, K) one-hot label, search): runs an attack on one image. What it returns is not
looked at: its result is the nearest image that it asked about and that reached the aim."""


def nearest(
    generate: Generate, model: MeteredModel, x: Tensor, aim: Aim, norm: Norm, queries: int | None, ctx: Context
) -> Tensor:
    """(N, C, H, W) the nearest image asked about that reached the aim, for each of `x`; `x` itself where none did.

    For attacks that see probabilities or decisions only, and take one image after the other. Each image costs
    `queries` at most; the first tells whether it is where it should be already, and it is left alone then:
    BoundaryAttack, HopSkipJump and SignOPT leave the predicted label, not the true one, and could lead back to it.

    ART draws from numpy's global generator: it is seeded from `ctx.generator` and put back.
    """
    import numpy as np
    import torch

    from sparring.model import untouched_randomness
    from sparring_attacks.heartbeat import Heartbeat

    if len(x) == 0 or (queries is not None and queries < 2):
        return x.clone()
    module, heart, made, done = model.as_module(), Heartbeat(ctx), x.clone(), 0

    def answer(images: Any) -> Any:
        heart.beat(done, len(x), "images attacked")
        return module(torch.from_numpy(images).to(x.device)).cpu().numpy()

    left = None if queries is None else queries - 1
    seed = int(torch.randint(2**31, (), generator=ctx.generator))
    with untouched_randomness(), torch.no_grad():
        np.random.seed(seed)  # noqa: NPY002
        estimator, images = _searching(model, x), x.cpu().numpy()
        decisions = answer(images).argmax(axis=1)
        for done, image in enumerate(images):
            mine = aim.rows(slice(done, done + 1))
            search = Search(answer, image, mine, _ORDERS[norm], left, (images, decisions))
            if (decisions[done] == int(mine.labels)) != aim.targeted:
                estimator.search = search
                with suppress(OutOfQueries):
                    generate(estimator, image[None].copy(), _one_hot(mine.labels, model.classes), search)
            if search.found is not None:
                made[done] = torch.from_numpy(search.found).to(x.device)
            ctx.progress(done + 1, len(x), "images attacked")
    return made


_ORDERS = {Norm.L2: 2.0, Norm.LINF: float("inf")}


def _searching(model: MeteredModel, x: Tensor) -> Any:
    """A classifier that answers through its attribute `search`, without the data loader that `predict` of
    PyTorchClassifier makes for each call, be it of one image (pytorch.py, `predict`)."""

    class Searching(_classifier_class()):  # type: ignore[misc]
        search: Search

        def predict(self, x: Any, *_: Any, **__: Any) -> Any:
            return self.search.ask(x)

    return Searching(**_settings(model, x))

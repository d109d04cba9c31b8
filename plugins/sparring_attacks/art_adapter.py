"""The one place where evasion attacks of ART, the Adversarial Robustness Toolbox (1.20.1), are called, and where its
peculiarities are contained. Each workaround names its cause in ART's source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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

"""The exact L2 radius of a linear model: the distance to the nearest boundary between two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Certificate, Context
    from sparring.model import Model


class LinearCertificate:
    """min over j of (z_y - z_j) / |w_y - w_j|, the weights being the logits' derivative."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        """Raises `ValueError` where the model is not linear."""
        import numpy as np
        import torch

        from sparring.contracts import Certificate

        def logits(image: Tensor) -> Tensor:
            return model.logits(image[None])[0]

        weights = torch.autograd.functional.jacobian(logits, torch.zeros_like(x[0])).flatten(1)
        with torch.no_grad():
            z = model.logits(x)
            if not torch.allclose(z, x.flatten(1) @ weights.T + logits(torch.zeros_like(x[0])), atol=1e-3):
                raise ValueError("linear-certificate certifies linear models only")
            top = z.argmax(dim=1)
            margin = z.gather(1, top[:, None]) - z
            apart = torch.cdist(weights[top], weights)
            radius = (margin / apart).scatter(1, top[:, None], float("inf")).min(dim=1).values
        return Certificate(top.numpy(), radius.numpy().astype(np.float64), unit="l2")


SPEC = DefenceSpec(
    name="linear-certificate",
    summary="The exact L2 radius within which a linear model's answer cannot change.",
    load=LinearCertificate,
    acts=frozenset({Act.CERTIFY}),
    needs=frozenset({Access.GRADIENTS}),
)

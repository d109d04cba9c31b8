"""The one place where torchattacks (3.5.1) is called, and where its peculiarities are contained.

Plugins say which attack to build; `run` gives it a metered model, batches, seeds and enabled gradients, and takes
from it detached images. Each workaround names its cause in torchattacks' source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Context
    from sparring.model import MeteredModel
    from sparring_attacks.aim import Aim

Build = Callable[["nn.Module", int], Any]
"""(model, seed) -> torchattacks.Attack. Attacks with a `seed` argument (Square, APGD, FAB, AutoAttack) must be given
this one: their own default is 0, or the clock (autoattack.py, `get_seed`)."""


def run(build: Build, model: MeteredModel, x: Tensor, aim: Aim, ctx: Context, batch_size: int) -> Tensor:
    """Adversarial images (N, C, H, W) for `x`, made `batch_size` at a time; float32, detached, unprojected.

    Global generators are seeded from `ctx.generator` and put back (Square, APGD and FAB reseed them; random starts
    draw from them). `x` is not changed. Progress is reported once a batch.
    """
    import torch

    from sparring.model import untouched_randomness

    seed = int(torch.randint(2**31, (), generator=ctx.generator))
    made = []
    with untouched_randomness(), torch.enable_grad():  # attacks call autograd.grad without enabling gradients
        _seed_globally(seed)
        attack = build(_located(model.as_module(), x), seed)
        if aim.targeted:
            attack.set_mode_targeted_by_label(quiet=True)  # prints otherwise
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            made.append(attack(x[part].detach(), aim.labels[part]).detach())  # APGD's results require grad
            ctx.progress(min(start + batch_size, len(x)), len(x), "images attacked")
    return torch.cat(made) if made else x.clone()


def stoppable(module: nn.Module, ctx: Context) -> nn.Module:
    """`module`, looking at the clock whenever it is asked: `run` does so once a batch, and a batch may take minutes.
    For `Build` functions of attacks with many steps."""
    from sparring_attacks.heartbeat import Heartbeat

    heart, asked = Heartbeat(ctx), iter(range(1, 2**62))

    def beat(*_: object) -> None:
        calls = next(asked)
        heart.beat(calls, calls + 1, "batches of queries")

    module.register_forward_pre_hook(beat)
    return module


def above_zero(module: nn.Module) -> nn.Module:
    """`module` with the smallest logit of each row at 0. Differences, and gradients of them, stay.

    EADEN and EADL1 read the label's logit as `max(one_hot * output)` (eaden.py and eadl1.py, `EAD_loss`): the larger
    of it and 0. A negative one is not seen, nor is its gradient.
    """

    def lifted(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        return logits - logits.detach().min(dim=1, keepdim=True).values

    module.register_forward_hook(lifted)
    return module


def with_ranks(module: nn.Module, ranks: int) -> nn.Module:
    """`module` with at least `ranks` classes: lacking ones stand one below the smallest logit, without a gradient.

    The losses DLR and targeted DLR divide by a difference to the third and fourth largest logit (apgd.py, `dlr_loss`;
    apgdt.py, `dlr_loss_targeted`): index errors where there are fewer classes.
    """

    def padded(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        import torch

        lacking = ranks - logits.shape[1]
        if lacking <= 0:
            return logits
        low = logits.detach().min(dim=1, keepdim=True).values - 1
        return torch.cat([logits, low.expand(-1, lacking)], dim=1)

    module.register_forward_hook(padded)
    return module


def _seed_globally(seed: int) -> None:
    import random

    import numpy as np
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def _located(module: nn.Module, x: Tensor) -> nn.Module:
    """`module` with a frozen, empty parameter on the device of `x`: `Attack.__init__` takes the device from the first
    parameter, and prints a complaint to standard output where there is none."""
    import torch

    place = torch.nn.Parameter(torch.empty(0, device=x.device), requires_grad=False)
    module.register_parameter("place", place)
    return module

"""`crosshatch`: thin lines in both diagonal directions, where they hurt most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    spacing: int = param(3, "distance of parallel lines", at_least=2, unit="pixels")


class Crosshatch:
    """Tries every shift of the hatch, bright and dark, and keeps for each image the one after which the score of its
    class is least. One query per pattern; a query budget shortens the list."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        patterns = list(self.patterns(x))[: threat.query_budget]
        best, least = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
        for done, pattern in enumerate(patterns, start=1):
            hatched = (x + (threat.epsilon or 0.0) * pattern).clamp(0, 1)
            score = model.scores(hatched).gather(1, y[:, None])[:, 0]
            better = score < least
            best[better], least = hatched[better], torch.minimum(score, least)
            ctx.progress(done, len(patterns))
        return best

    def patterns(self, x: Tensor) -> Iterator[Tensor]:
        """(H, W) each: 1 on the lines of a bright hatch, -1 on those of a dark one, 0 between them."""
        import torch

        rows, columns = torch.meshgrid(*(torch.arange(size, device=x.device) for size in x.shape[2:]), indexing="ij")
        for shift in range(self.params.spacing):
            falling = (rows - columns + shift) % self.params.spacing == 0
            rising = (rows + columns + shift) % self.params.spacing == 0
            hatch = (falling | rising).to(x.dtype)
            yield hatch
            yield -hatch


SPEC = AttackSpec(
    name="crosshatch",
    summary="Thin diagonal lines, shifted to where they lower the score of the true class most.",
    params=Params,
    randomised=False,
    load=Crosshatch,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "query_budget"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.2),
    needs=frozenset({Access.SCORES}),
)

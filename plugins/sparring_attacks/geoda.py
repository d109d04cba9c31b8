"""GeoDA: normals of the decision boundary estimated in a space of low frequencies, from decisions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks import art_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.distortion_limits import kept_within

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

FEWEST_QUERIES = 500
"""That ART's division of queries among estimates needs (geometric_decision_based_attack.py, `_opt_query_iteration`:
with fewer it recurses to an empty list)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    frequencies: int = param(10, "cosine frequencies per axis in which normals are estimated", at_least=1)
    tolerance: float = param(0.001, "length at which a bisection ends, in L2", above=0, unit="[0, 1] pixels")
    spread: float = param(0.02, "standard deviation of the probes' coefficients", above=0, unit="[0, 1] pixels")
    growth: float = param(0.6, "λ: an estimate takes λ^(-2/3) as many queries as the one before", above=0, at_most=1)


class GeometricSearch:
    """Takes the boundary near the image for a plane: estimates its normal from the decisions on random low-frequency
    images around a point of it, goes along the normal until the aim is reached, bisects, and goes on from there
    (Rahmati et al. 2020, algorithm 1). The nearest image that was asked about is the result.

    ART's defaults for photographs, a tolerance of 0.1 and a spread of 0.0002, estimate no normal on small images:
    the probes do not reach a boundary that is 0.1 away.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, queries = threat.norm or Norm.L2, threat.query_budget or SPEC.threat.query_budget or 0

        def generate(classifier: Any, image: Any, label: Any, search: art_adapter.Search) -> Any:
            attack = _contained()(
                classifier,
                norm=2 if norm is Norm.L2 else "inf",
                sub_dim=self.params.frequencies,
                max_iter=max(queries, FEWEST_QUERIES),  # the query budget ends it before
                bin_search_tol=self.params.tolerance,
                lambda_param=self.params.growth,
                sigma=self.params.spread,
                verbose=False,
            )
            return attack.generate(image, label)

        aim = Aim(y, targeted=False)
        return kept_within(art_adapter.nearest(generate, model, x, aim, norm, queries, ctx), x, threat)


def _contained() -> Any:
    """ART's GeoDA with a `generate` for one image. ART's own calls `np.mat`, which numpy 2 has not; reads its basis
    from a file of the working directory, whoever wrote that, or writes one there; and refuses images that are not
    square (geometric_decision_based_attack.py, `_generate_2d_dct_basis` and `generate`)."""
    from art.attacks.evasion import GeoDA

    class Contained(GeoDA):  # type: ignore[misc]
        def generate(self, x: Any, y: Any = None, **_: Any) -> Any:
            self.clip_min, self.clip_max = 0.0, 1.0
            self.sub_basis = cosines(self.sub_dim, x.shape[2], x.shape[3])
            near = self._binary_search(x, y, self._find_random_adversarial(x, y), tol=self.bin_search_tol)
            normal = 0.0
            for probes in self.q_opt_iter:
                normal = normal + self._black_grad_batch(near, probes, self.batch_size, y)[0]
                near = self._binary_search(x, y, self._go_to_boundary(x, y, normal), tol=self.bin_search_tol)
            return near

    return Contained


def cosines(frequencies: int, height: int, width: int) -> Any:
    """(height * width, frequencies²) float32: the orthonormal images of the two-dimensional cosine transform."""
    import numpy as np

    def waves(length: int) -> Any:
        order, place = np.mgrid[: min(frequencies, length), :length]
        wave = np.cos((2 * place + 1) * order * np.pi / (2 * length)) * np.sqrt(2 / length)
        wave[0] /= np.sqrt(2)
        return wave

    images = np.einsum("uy,vx->uvyx", waves(height), waves(width))
    return images.reshape(-1, height * width).T.astype(np.float32)


SPEC = AttackSpec(
    name="geoda",
    summary="Steps along normals of the decision boundary, estimated among low frequencies, from decisions alone.",
    citation="Rahmati et al. 2020, GeoDA: a geometric framework for black-box adversarial attacks, algorithm 1; "
    "arXiv 2003.06468",
    params=Params,
    load=GeometricSearch,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.L2, Norm.LINF),
    reads=frozenset({"norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.L2, budget=Budget.MINIMAL, query_budget=1000),
    needs=frozenset({Access.DECISIONS}),
)

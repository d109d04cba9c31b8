"""How far certificates reach, over all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Direction, MetricSpec, NoParams

if TYPE_CHECKING:
    from sparring.contracts import Evidence


class AverageCertifiedRadius:
    """Zhai et al. 2020, section 5: the area under the curve of certified accuracy over the radius. Certificates in
    different units, or norms, are not comparable by it."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Evidence) -> float | None:
        import numpy as np

        given, y = evidence.certificate, evidence.certified_y
        if given is None or y is None or not len(y):
            return None
        return float(np.where(given.prediction == y, given.radius, 0.0).mean())


SPEC = MetricSpec(
    name="average-certified-radius",
    summary="mean radius that is proven, in the certificate's own unit",
    citation="Zhai et al. 2020, MACER: attack-free and scalable robust training via maximizing certified radius, ICLR, "
    "section 5; arXiv 2001.02378",
    definition="sum of the certified radii of images predicted right / images that were certified",
    direction=Direction.HIGHER,
    by_default=False,
    load=AverageCertifiedRadius,
)

"""Curves as SVG, for index.html and for papers."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

from sparring.leaderboard.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "#010203"
"""Stands for the colour of the text around a figure, whatever that is."""

STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sparring",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
WIDEST: Final = 30
"""Characters of a name, with which a legend still has two columns."""

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Told apart with any colour vision (Okabe & Ito 2008)."""


def file_name(curve: Curve) -> str:
    """ "pgd-robust-accuracy-over-epsilon-linf-digits-cnn.svg"."""
    told = f"{curve.attack} {curve.metric} over {curve.axis} {curve.place}".lower().replace("∞", "inf")
    return f"{re.sub(r'[^a-z0-9.]+', '-', told).strip('-')[:150]}.svg"


FEW: Final = 8
"""Lines of a figure's legend that its usual height has room for."""


def svg(curve: Curve, *, page: bool) -> str:
    """The figure: mean over repetitions, band of ± one standard deviation, one line for each defence.

    Args:
        page: to stand inside HTML: no XML head, a label for screen readers, and the text's own colour. Otherwise a
            file in black.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.style import context

    with context({}), context(STYLE):
        figure = Figure(figsize=(4.6, 3.6 + 0.16 * max(0, len(curve.series) - FEW)), layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure.add_subplot(), curve)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    if not page:
        return text.replace(INK, "#000000")
    inside = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>", "", inside, flags=re.DOTALL)


def _draw(axes: Axes, curve: Curve) -> None:
    for number, series in enumerate(curve.series):
        colour = COLOURS[number % len(COLOURS)]
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        x = [x for x, _ in series.points]
        means = [100 * statistic.mean for _, statistic in series.points]
        spread = [100 * (statistic.std or 0.0) for _, statistic in series.points]
        label = series.defence.replace("$", r"\$")  # no mathematics in names
        axes.plot(x, means, style, color=colour, marker="o", markersize=3.5, label=label)
        low, high = ([mean + sign * each for mean, each in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel(curve.axis)
    axes.set_ylabel(f"{curve.metric} (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.2, linewidth=0.6)
    if len(curve.series) > 1:
        wide = max(len(series.defence) for series in curve.series) > WIDEST
        axes.figure.legend(fontsize=7.5, loc="outside lower center", ncols=1 if wide else 2)

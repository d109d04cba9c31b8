"""Writes README's table of speeds from what pytest-benchmark measured.

`python tests/performance/speed_table.py speed.json` keeps what the table needs in docs/library-speed.json and draws it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT, README = ROOT / "docs/library-speed.json", ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- library-speed -->\n).*?(?=<!-- /library-speed -->)", re.DOTALL)
LIBRARIES = ("torchattacks", "ART", "Foolbox")
HOW = (
    "CPU seconds (median of rounds in turns) for {images} MNIST images that a small network gets right, one thread of "
    "{processor}, {versions}. Below them: the share of these images that are misclassified in the end, and their mean "
    "L2 distance where that is the result. The fastest is that of those whose success is at most 2 points below ours; "
    "in brackets the 95 % interval of the ratio."
)
DISTRIBUTIONS = ("torch", "torchattacks", "adversarial-robustness-toolbox", "foolbox")


def kept(measured: dict[str, Any], versions: dict[str, str]) -> dict[str, Any]:
    """Of pytest-benchmark's JSON; no name of a machine, no path. `versions`: of what was compared."""
    return {
        "processor": measured["machine_info"]["cpu"]["brand_raw"],
        "versions": versions,
        "attacks": [benchmark["extra_info"] for benchmark in measured["benchmarks"]],
    }


def table(found: dict[str, Any]) -> str:
    """In Markdown, with a line that says how it was measured."""
    lines = [f"| attack | sparring | {' | '.join(LIBRARIES)} | ours / fastest |", f"| :-- |{' --: |' * 5}"]
    for attack in found["attacks"]:
        cells = [_cell(attack, who) for who in ("sparring", *LIBRARIES)]
        lines.append(f"| `{attack['attack']}`<br>{attack['budget']} | {' | '.join(cells)} | {_ratio(attack)} |")
    versions = ", ".join(f"{name} {number}" for name, number in sorted(found["versions"].items()))
    lines += ["", HOW.format(images=found["attacks"][0]["images"], processor=found["processor"], versions=versions)]
    return "\n".join(lines) + "\n"


def _ratio(attack: dict[str, Any]) -> str:
    if attack["ratio"] is None:
        return "nobody else gets there"
    ratio, low, high = attack["ratio"]
    interval = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
    return f"{ratio:.2f}{interval}<br>{attack['fastest']}"


def _cell(attack: dict[str, Any], who: str) -> str:
    made = attack["contenders"].get(who)
    if made is None:
        return "–"
    distance = f", {made['distance']:.2f}" if attack["minimal"] else ""
    return f"{statistics.median(made['seconds']):.3g} s<br>{100 * made['success']:.0f} %{distance}"


def main(path: Path) -> None:
    versions = {name: version(name) for name in DISTRIBUTIONS}
    found = kept(json.loads(path.read_text(encoding="utf-8")), versions)
    KEPT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(BETWEEN.sub(lambda _: table(found), text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

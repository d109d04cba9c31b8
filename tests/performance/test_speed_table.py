"""README's table of speeds is what was measured, and nobody's machine is named in it."""

from __future__ import annotations

import json

from speed_table import BETWEEN, KEPT, README, kept, table

CONTENDER = {"seconds": [0.5, 0.4, 0.6], "success": 0.98, "distance": 1.5}


def test_the_table_is_drawn_from_what_was_measured() -> None:
    attack = {
        "attack": "cw-l2",
        "budget": "nearest in L2",
        "minimal": True,
        "images": 128,
        "contenders": {"sparring": CONTENDER, "Foolbox": CONTENDER | {"seconds": [1.0]}},
        "fastest": "Foolbox",
        "ratio": [0.5, 0.45, 0.55],
    }
    alone = attack | {"attack": "lonely", "minimal": False, "fastest": "", "ratio": None}
    machine = {"node": "secret", "cpu": {"brand_raw": "Some CPU"}}
    measured = {"machine_info": machine, "benchmarks": [{"extra_info": attack}, {"extra_info": alone}]}
    found = kept(measured, {"foolbox": "3"})
    assert "secret" not in json.dumps(found)
    lines = table(found).splitlines()
    assert lines[2] == (
        "| `cw-l2`<br>nearest in L2 | 0.5 s<br>98 %, 1.50 | – | – | 1 s<br>98 %, 1.50 "
        "| 0.50 (0.45 to 0.55)<br>Foolbox |"
    )
    assert lines[3].endswith("| nobody else gets there |")
    assert "128 MNIST images" in lines[-1]
    assert "Some CPU, foolbox 3" in lines[-1]


def test_readme_has_the_table_of_the_kept_measurements() -> None:
    shown = BETWEEN.search(README.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown.group() == table(json.loads(KEPT.read_text(encoding="utf-8")))

"""Plugins that raise, hang, exit, eat memory, print or change global settings: their cells fail, no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from third_party import HOSTILE
from user import User, records

pytestmark = pytest.mark.e2e

TRICKS = ["nothing", "speak", "unsettle", "split", "garble", "fail", "hang", "leave", "hog"]
SUITE = """
datasets: [{digits: {limit_train: 200, limit_test: 60}}]
victims: [means, 'means[broken=true]', {logistic: {epochs: 2}}]
attacks:
  - hostile: {how: HOW}
  - none
  - gaussian-noise
  - fgsm
  - label-flip
defences: [none]
evaluation: {samples: 40}
limits: {seconds: 8, memory: 1200MiB}
exclude:
  - {victim: logistic, attack: "hostile[how=????]"}
  - {victim: logistic, attack: "hostile[how=leave]"}
  - {victim: logistic, attack: "hostile[how=garble]"}
  - {victim: logistic, attack: "hostile[how=hog]"}
  - {victim: "means[broken*", attack: "hostile*"}
"""


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """By cell, without the data set and the repetition."""
    return {name.split("/", 1)[1].removesuffix("/none/r0"): r["outcome"] for name, r in records(folder).items()}


def test_hostile_plugins_break_their_own_cells_only(user: User) -> None:
    user.install("sparring-hostile", HOSTILE)
    calm = user.board("calm", SUITE.replace("HOW", "[nothing, speak, unsettle, split]"))
    user.sparring("run", "calm", "--engine", "serial", "--cache", "calm-cache", code=1, TAMED="1")
    folder = user.board("wild", SUITE.replace("HOW", f"[{', '.join(TRICKS)}]"))
    user.counts()

    told = user.sparring("run", "wild", "--workers", "2", code=1)
    assert "SPAM" not in told.out + told.err
    found = outcomes(folder)
    failed = {name: (o["kind"], o["error"]) for name, o in found.items() if o["state"] == "failed"}
    broken = "means[broken=true]"
    expected = {
        "means/hostile[epsilon=0.25,how=fail]": ("error", "ValueError: no such luck �[31m �"),
        "means/hostile[epsilon=0.25,how=garble]": (
            "budget",
            "RuleBroken: attack hostile returned list; expected a tensor",
        ),
        "means/hostile[epsilon=0.25,how=hang]": ("timeout", "ran longer than 8 s"),
        "means/hostile[epsilon=0.25,how=leave]": ("killed", "its process exited with status 7"),
        "means/hostile[epsilon=0.25,how=hog]": ("killed", "exceeded the memory limit of 1.2 GiB"),
    }
    victims = ("none", "gaussian-noise[epsilon=0.1]", "label-flip[poison_fraction=0.1]")
    expected |= {f"{broken}/{attack}": ("error", "ValueError: no means today") for attack in victims}
    assert failed == expected
    assert told.failed == len(failed)
    assert {name.split("/")[1] for name, o in found.items() if o["state"] == "not applicable"} == {"fgsm[epsilon=0.1]"}
    for name, (kind, error) in failed.items():
        stage = "fit means[broken=true]" if broken in name else "perturb hostile"
        assert found[name]["stage"].startswith(stage)
        assert ("Traceback" in found[name]["traceback"]) == (kind in ("error", "budget"))
        assert error in told.err

    # the serial run in which everybody behaved gave the same numbers
    scored = {name: o for name, o in found.items() if o["state"] == "scored"}
    assert scored == {name: o for name, o in outcomes(calm).items() if o["state"] == "scored"}
    tried = user.counts()
    assert [tried.count(how) for how in ("garble", "fail", "hang", "leave", "hog")] == [1] * 5

    again = user.sparring("run", "wild", "--engine", "serial", code=1, TAMED="1")
    assert (again.scored, again.failed, again.cached) == (5, 3, len(scored))
    lines = user.counts()
    assert [line for line in lines if not line.startswith("fit")] == ["fail", "garble", "hang", "hog", "leave"]


def test_broken_and_doubled_plugins_are_named_and_the_rest_works(user: User) -> None:
    user.install("sparring-broken", "raise RuntimeError('built for another version')")
    user.install("sparring-exiting", "import sys; sys.exit('no licence')")
    user.install("sparring-other-nudge", (user.site / "sparring_nudge.py").read_text())
    listed = user.sparring("list").out
    assert "sparring-broken 1.0 (plugins): cannot be imported: RuntimeError: built for another version" in listed
    assert "sparring-exiting 1.0 (plugins): cannot be imported: SystemExit: no licence" in listed
    assert "two plugins are called attack 'nudge'" in listed
    assert len(json.loads(user.sparring("list", "--json").out)["problems"]) == 3
    user.board("board", SUITE.replace("  - hostile: {how: HOW}\n", "  - nudge\n"))
    refused = user.sparring("run", "board", code=2)
    for owner in ("sparring-nudge 1.0", "sparring-other-nudge 1.0", "board/suite.yaml:5"):
        assert owner in refused.err
    ad_hoc = ("run", "--dataset", "digits[limit_train=100]", "--victim", "means", "--engine", "serial")
    assert user.sparring(*ad_hoc).scored == 1


def test_data_set_that_cannot_be_had_stops_its_own_cells_only(user: User) -> None:
    suite = """
datasets: ['digits[limit_train=100]', mnist]
victims: [means]
attacks: [none]
defences: [none]
"""
    folder = user.board("board", suite)
    nowhere = str(user.home / "nowhere")
    # no proxy answers there, so that nothing can be downloaded
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    told = user.sparring("run", "board", "--engine", "serial", code=1, SPARRING_DATA=nowhere, **proxies)
    assert (told.scored, told.failed) == (1, 1)
    assert len(told.err.strip().splitlines()) == 1
    for part in ("data set mnist", nowhere, "SPARRING_DATA"):
        assert part in told.err
    assert [record["outcome"]["state"] for record in records(folder).values()] == ["scored", "failed"]

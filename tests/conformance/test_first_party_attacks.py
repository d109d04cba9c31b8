"""Every attack of this repository keeps to its contract."""

from __future__ import annotations

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

SMALL_SEARCH = "population=4,generations=3,finalists=1,refresh=2"
REDUCED = {
    "cw-l2": "[searches=3,steps=30]",
    "deep-confuse": "[warm_up=4,trials=1,pool=64,channels=[4,8],fc=0,widths=[4,8]]",
    "single-pixel": f"[{SMALL_SEARCH},scouts=1]",
    "autozoom": "[searches=3,steps=20]",
    "random-search-pixel": f"[{SMALL_SEARCH}]",
    "apgd": "[steps=10]",
    "autoattack": "[preset=reduced]",
    "fab": "[steps=10]",
    "ead": "[searches=2,steps=20]",
    "square": "[queries=100]",
    "simba": "[queries=100]",
    "one-pixel": "[population=20,generations=3]",
    "boundary": "[queries=200]",
    "hopskipjump": "[queries=200]",
    "sign-opt": "[queries=300,starts=10,directions=20]",
    "geoda": "[queries=200]",
    "bullseye-polytope": "[steps=10]",
    "gradient-matching": "[steps=10]",
    "influence-poisoning": "[steps=10]",
    "sleeper-agent": "[steps=10,retrainings=1,epochs=2,sources=30]",
}
"""Smaller budgets where the defaults take long, also on the kit's few images."""

ATTACKS = [
    f"attack/{entry.spec.name}{REDUCED.get(entry.spec.name, '')}"
    for entry in discover().entries(Kind.ATTACK)
    if entry.distribution == "sparring"
]


@parametrize_plugins(
    *ATTACKS,
    "pgd[backend=art]",
    "pgd[restarts=2,steps=5]",
    "badnets[target=1,size=1]",
    "poison-frog[distance=cosine,method=fgsm]",
    "adversarial-poisoning[proxy=shifted-labels,objective=push]",
    "adversarial-poisoning[proxy=validation,sign=descend]",
)
def test_attacks(trial: Trial) -> None:
    trial.run()

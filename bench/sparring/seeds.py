"""Seeds derived from the root seed and from what a stage declares that it depends on."""

from __future__ import annotations

from sparring.keys import digest_of


def derive(root: int, purpose: str, *depends: str | int) -> int:
    """A seed in 0..2^63-1, the same on every machine.

    Args:
        root: the suite's seed.
        purpose: what it is for ("fit"); two purposes never share a stream.
        depends: names and numbers that the stage depends on. What is not listed does not move the seed: a victim's
            fit lists data set, victim and repetition, so that cells which differ in attack or defence are paired.
    """
    return int(digest_of([root, purpose, *depends])[:16], 16) >> 1

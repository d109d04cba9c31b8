"""The setting of batch normalisation at prediction time that all networks with it have. Import-light."""

from __future__ import annotations

from enum import StrEnum


class Statistics(StrEnum):
    RUNNING = "running"
    BATCH = "batch"


STATISTICS = (
    "what batch normalisation divides by at prediction; running: averages kept in training; "
    "batch: those of the test batch, up to 512 images as they are asked for"
)


def check_statistics(name: str, statistics: Statistics, batch_norm: bool) -> None:
    """Raises `ValueError` when statistics of the batch are asked of a network that normalises nothing."""
    if statistics is Statistics.BATCH and not batch_norm:
        raise ValueError(f"{name}: statistics=batch says nothing without batch_norm=true")

"""Sparring's own data sets."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import DatasetSpec
from sparring_datasets import cifar, digits, mnist, svhn


@hookimpl
def sparring_datasets() -> Iterable[DatasetSpec]:
    return (digits.SPEC, *mnist.SPECS, *cifar.SPECS, svhn.SPEC)

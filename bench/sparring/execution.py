"""Runs one stage in the present process: looks in the store, computes, stores. What every engine calls."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sparring.contracts import Context
from sparring.provenance import environment
from sparring.seeds import derive
from sparring.stage import Done, Report, Stage, StageName, WorkerSettings
from sparring.store import Artifact, Damaged, Store, StoreUnwritable
from sparring.workshop import Workshop


def execute(stage: Stage, settings: WorkerSettings, report: Report) -> Done:
    """Compute `stage` unless its artifact is in the store.

    A damaged artifact is computed again. Whatever the stage raises, passes through.
    """
    store = _store(settings.store)
    found = None if stage.key in settings.fresh else stored(store, stage.key)
    if found is not None:
        return _done(stage, found.meta, cached=True)
    device = resolved_device(settings.device)
    shop = _workshop(settings.store, device)
    started = time.monotonic()
    meta = _computed(stage, shop, settings, device, report, started)
    return _done(stage, meta, cached=False)


def stored(store: Store, key: str) -> Artifact | None:
    """The artifact of `key`, if there is one that is whole."""
    if not store.has(key):
        return None
    try:
        return store.load(key)
    except (KeyError, Damaged):
        return None


def _computed(
    stage: Stage, shop: Workshop, settings: WorkerSettings, device: str, report: Report, started: float
) -> Mapping[str, Any]:
    from sparring.model import untouched_randomness
    from sparring.stages import STAGE_FUNCTIONS

    scratch = _scratch()
    ctx = Context(
        seed=stage.seed,
        device=device,
        scratch=scratch,
        deadline=None if settings.seconds is None else started + settings.seconds,
        report=report,
        checkpoints=shop.store.checkpoints(stage.key),
        threads=settings.threads,
    )
    try:
        with untouched_randomness(), _own_settings(settings.threads), _one_process():
            _seed_globals(stage.seed)
            product = STAGE_FUNCTIONS[stage.name](stage, shop, ctx)
    except BaseException:
        shop.forget()
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    meta = dict(product.meta) | {"seconds": round(time.monotonic() - started, 6), "label": stage.label}
    meta |= {"seed": stage.seed, "curves": ctx.curves}
    if product.value is not None:
        meta |= {"value": dict(product.value), "environment": environment(device, settings.threads)}
    shop.store.save(stage.key, product.arrays, meta)
    return meta


def _scratch() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="sparring-"))
    except OSError as error:  # every stage would fail: that is no matter of a plugin
        raise StoreUnwritable(f"no folder for temporary files can be made ({error})") from error


def _done(stage: Stage, meta: Mapping[str, Any], *, cached: bool) -> Done:
    value = {"scored": meta["value"], "environment": meta["environment"]} if stage.name == StageName.MEASURE else None
    return Done(
        key=stage.key, name=stage.name, label=stage.label, value=value, seconds=float(meta["seconds"]), cached=cached
    )


@contextmanager
def _one_process() -> Iterator[None]:
    """Ends copies of this process that the block forked and let run on: else each would answer for the stage."""
    home = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != home:
            os._exit(0)


@contextmanager
def _own_settings(threads: int) -> Iterator[None]:
    """Global settings that a stage changes end with it; else the stages after it in this process would compute
    something else than in a process of their own."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    folder, dtype, gradients = Path.cwd(), torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        with np.errstate():
            yield
    finally:
        os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def _seed_globals(seed: int) -> None:
    """Libraries that draw from global generators draw the same numbers every time."""
    import random

    import numpy as np
    import torch

    short = derive(seed, "global") % 2**32
    random.seed(short)
    np.random.seed(short)  # noqa: NPY002
    torch.manual_seed(short)


def resolved_device(asked: str) -> str:
    """ "cpu" or "cuda:0" for "auto", "cpu", "cuda"."""
    if asked == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    if asked == "auto":
        return "cpu"
    raise RuntimeError("device cuda was asked for, but torch sees no CUDA device")


@lru_cache(maxsize=4)
def _store(root: Path) -> Store:
    return Store(root)


@lru_cache(maxsize=4)
def _workshop(root: Path, device: str) -> Workshop:
    from sparring.catalogue import discover

    return Workshop(_store(root), discover(), device)

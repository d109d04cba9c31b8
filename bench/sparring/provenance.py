"""Where a number comes from: versions, processor, commit. Written beside results, never compared."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparring import __version__

LIBRARIES = (
    "adversarial-robustness-toolbox",
    "cma",
    "dask",
    "distributed",
    "numpy",
    "scikit-learn",
    "scipy",
    "torch",
    "torchattacks",
    "torchvision",
)


@lru_cache(maxsize=4)
def environment(device: str, threads: int) -> dict[str, Any]:
    """This process's machine and libraries, in the names of `sparring.record.Provenance`."""
    return {
        "sparring": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "cpu": cpu_model(),
        "device": _device_name(device),
        "threads": threads,
        "versions": library_versions(),
    }


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on; read from metadata, nothing is imported."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


def git_commit(folder: Path) -> str | None:
    """The commit of the working tree around `folder`, with `+` where tracked files were changed; `None` outside git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

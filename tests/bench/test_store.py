"""The artifact store: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import numpy as reference

from sparring.store import Damaged, Store, StoreFull, StoreUnwritable

KEY = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()

DTYPES = ["?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", ">f4", ">i8"]
ARRAYS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    max_size=5,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def files(store: Store) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(
        left[k].shape == right[k].shape
        and left[k].dtype == right[k].dtype.newbyteorder("<")
        and left[k].tobytes() == right[k].astype(right[k].dtype.newbyteorder("<")).tobytes()
        for k in left
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@settings(max_examples=60, deadline=None)
@given(arrays=ARRAYS, meta=st.dictionaries(st.text(), JSON, max_size=3))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    store.save(KEY, arrays, meta)
    found = Store(store.root).load(KEY)
    assert same(dict(found.arrays), arrays)
    assert found.meta == json.loads(json.dumps(meta))
    assert all(not array.flags.writeable for array in found.arrays.values())


def test_the_files_are_safetensors(store: Store) -> None:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True, False]), "n": np.array(7)}
    store.save(KEY, arrays, {})
    (file,) = files(store)
    read = reference.load_file(file)
    assert same(read, arrays)


def test_large_arrays_are_mapped_and_read_only(store: Store) -> None:
    big = np.random.default_rng(0).random((600, 600))
    store.save(KEY, {"big": big, "small": np.array([True])}, {})
    found = store.load(KEY).arrays
    assert np.array_equal(found["big"], big)
    assert found["big"].flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        found["big"][0, 0] = 1  # type: ignore[index]


def test_a_key_that_was_never_saved(store: Store) -> None:
    assert not store.has(KEY)
    assert not store.intact(KEY)
    assert store.size() == 0
    store.discard(KEY)
    with pytest.raises(KeyError):
        store.load(KEY)
    assert not store.root.exists()


def test_saving_again_replaces(store: Store) -> None:
    for value in range(3):
        store.save(KEY, {"v": np.array(value)}, {"v": value})
        assert store.load(KEY).meta == {"v": value}
    assert len(files(store)) == 1
    store.discard(KEY)
    assert files(store) == []


@pytest.mark.parametrize("key", ["", "abc", "../" + "a" * 61, "A" * 64, KEY + "0"])
def test_keys_that_are_none(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        store.save(key, {}, {})


def test_what_cannot_be_stored_leaves_nothing(store: Store) -> None:
    with pytest.raises(TypeError, match="'names' has dtype object"):
        store.save(KEY, {"names": np.array([{}], dtype=object)}, {})
    with pytest.raises(ValueError, match="JSON compliant"):
        store.save(KEY, {}, {"loss": float("nan")})
    assert files(store) == []


def test_every_flipped_bit_is_seen(store: Store) -> None:
    arrays = {"w": np.linspace(0, 1, 50, dtype=np.float32), "y": np.arange(9)}
    store.save(KEY, arrays, {"accuracy": 0.5})
    (file,) = files(store)
    good = file.read_bytes()
    rng = random.Random(0)
    for bit in rng.sample(range(len(good) * 8), 1000):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        with pytest.raises(Damaged, match=file.name):
            Store(store.root).load(KEY)
        assert not file.exists()
    file.write_bytes(good)
    assert same(dict(Store(store.root).load(KEY).arrays), arrays)


@pytest.mark.parametrize("large", [False, True])
def test_truncation_is_seen_also_after_a_good_read(store: Store, large: bool) -> None:
    store.save(KEY, {"w": np.ones(300_000 if large else 3)}, {})
    store.load(KEY)
    (file,) = files(store)
    os.truncate(file, file.stat().st_size - 1)
    assert store.has(KEY)
    assert not store.intact(KEY)
    assert not store.has(KEY)


def test_a_file_renamed_to_another_key_is_refused(store: Store) -> None:
    store.save(KEY, {}, {})
    (file,) = files(store)
    moved = store.root / OTHER[:2] / file.name.replace(KEY, OTHER)
    moved.parent.mkdir(exist_ok=True)
    file.rename(moved)
    with pytest.raises(Damaged, match="another key"):
        store.load(OTHER)


def test_symbolic_links_inside_are_not_followed(store: Store, tmp_path: Path) -> None:
    store.save(KEY, {}, {})
    (file,) = files(store)
    outside = tmp_path / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    assert not store.has(KEY)
    store.save(KEY, {"new": np.array(1)}, {})
    assert list(store.load(KEY).arrays) == ["new"]
    assert outside.exists()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.root / OTHER[:2]).symlink_to(elsewhere)
    with pytest.raises(StoreUnwritable, match=str(store.root)):
        store.save(OTHER, {}, {})
    assert list(elsewhere.iterdir()) == []


def test_checkpoints_live_until_the_artifact_is_saved(store: Store) -> None:
    checkpoints = store.checkpoints(KEY)
    assert checkpoints.read() is None
    for epoch in range(3):
        checkpoints.write({"epoch": np.array(epoch)})
    found = Store(store.root).checkpoints(KEY).read()
    assert found is not None
    assert int(found["epoch"]) == 2  # type: ignore[call-overload]
    assert len(files(store)) == 1
    assert not store.has(KEY)
    store.save(KEY, {}, {})
    assert checkpoints.read() is None
    assert store.has(KEY)


def test_a_damaged_checkpoint_counts_as_none(store: Store) -> None:
    store.checkpoints(KEY).write({"epoch": np.array(1)})
    (file,) = files(store)
    file.write_bytes(b"")
    assert store.checkpoints(KEY).read() is None
    assert files(store) == []


def test_old_temporary_files_are_swept_and_young_ones_kept(store: Store) -> None:
    store.save(KEY, {}, {})
    old, young = (store.root / KEY[:2] / f".{KEY}.{name}.tmp" for name in ("old", "young"))
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    store.prepare()
    assert (old.exists(), young.exists()) == (False, True)
    assert store.load(KEY).meta == {}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnwritable, match=str(root)):
            Store(root).prepare()
        with pytest.raises(StoreUnwritable, match=str(root)):
            Store(root).save(KEY, {}, {})


def test_the_last_one_saved_counts_also_when_the_clock_was_set_back(store: Store) -> None:
    for turn in range(3):
        store.save(KEY, {}, {"turn": turn})
        store.checkpoints(OTHER).write({"turn": np.array(turn)})
        assert store.load(KEY).meta == {"turn": turn}
        read = store.checkpoints(OTHER).read()
        assert read is not None
        assert read["turn"] == turn
        assert len(files(store)) == 2
        ahead = time.time() + 3600 * (3 - turn)
        for file in files(store):
            os.utime(file, (ahead, ahead))


WRITER = """
import sys, numpy as np
from pathlib import Path
from sparring.store import Store
store = Store(Path(sys.argv[1]))
for turn in range(40):
    store.save(sys.argv[2], {"w": np.full(1000, float(sys.argv[3]))}, {"turn": turn, "writer": sys.argv[3]})
    found = store.load(sys.argv[2])
    assert len(set(found.arrays["w"].tolist())) == 1
    assert str(found.arrays["w"][0]) == str(float(found.meta["writer"]))
"""

FILLER = """
import resource, sys, numpy as np
from pathlib import Path
from sparring.store import Store, StoreFull
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Store(Path(sys.argv[1])).save(sys.argv[2], {"w": np.zeros(100_000)}, {})
except StoreFull as full:
    print(full)
"""


def test_writers_of_one_key_do_not_disturb_each_other(store: Store) -> None:
    command = [sys.executable, "-c", WRITER, str(store.root), KEY]
    writers = [subprocess.Popen([*command, str(n)]) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert store.load(KEY).meta["turn"] == 39
    assert len(files(store)) == 1


def test_a_full_disk_leaves_what_was_there(store: Store) -> None:
    store.save(KEY, {"w": np.arange(5)}, {})
    before = files(store)
    ran = subprocess.run([sys.executable, "-c", FILLER, str(store.root), OTHER], capture_output=True, text=True)
    assert str(store.root) in ran.stdout
    assert "no space left" in ran.stdout
    assert files(store) == before
    assert not store.has(OTHER)
    assert issubclass(StoreFull, RuntimeError)

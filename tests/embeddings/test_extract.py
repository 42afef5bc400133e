"""An interrupted extraction uses its finished vectors again and gives the same store as without interruption."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from encoders import Counting, run, write_images
from refusals import refusal

from flowseg.embeddings import extract as extract_module
from flowseg.embeddings import store as store_module
from flowseg.embeddings.source import ImageStats
from flowseg.embeddings.store import EmbeddingStore

COUNT = 9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", COUNT)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_module, "GROUP_IMAGES", 2)


def _parts(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def test_one_vector_per_image_in_the_list_s_order(data: Path, tmp_path: Path) -> None:
    made = run(data, Counting(batch=4), tmp_path / "store")
    assert (made.images, made.reused, made.skipped) == (COUNT, 0, [])
    store = EmbeddingStore(tmp_path / "store")
    assert store.keys == [f"a{i:02d}" for i in range(COUNT)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "store"]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_stopped_run_goes_on_and_gives_the_same_file(
    data: Path, tmp_path: Path, batch: int, small_groups: None
) -> None:
    run(data, Counting(batch), tmp_path / "whole")
    stopped = Counting(batch, stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        run(data, stopped, tmp_path / "store")
    assert not (tmp_path / "store").exists() and _parts(tmp_path / "store").is_dir()
    again = Counting(batch)
    made = run(data, again, tmp_path / "store")
    assert made.reused == len(stopped.seen) >= 4
    assert sorted(stopped.seen + again.seen) == [f"a{i:02d}" for i in range(COUNT)]
    assert (tmp_path / "store").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not _parts(tmp_path / "store").exists()


def test_a_kill_costs_at_most_a_group(data: Path, tmp_path: Path) -> None:
    """After kill -9 in the middle of a batch all complete groups are on disk, and no partial file is read."""
    script = """
import os, sys, time
from pathlib import Path
from encoders import Counting, run
from flowseg.embeddings import extract
extract.GROUP_IMAGES = 2
class Slow(Counting):
    def encode(self, images):
        if len(self.seen) == 5:
            print("five", flush=True)
            time.sleep(60)
        return super().encode(images)
run(Path(sys.argv[1]), Slow(), Path(sys.argv[2]))
"""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}"}
    command = [sys.executable, "-c", script, str(data), str(tmp_path / "store")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "five\n"
        process.send_signal(signal.SIGKILL)
    again = Counting()
    assert run(data, again, tmp_path / "store").reused == 4
    assert again.seen == [f"a{i:02d}" for i in range(4, COUNT)]


def test_a_group_is_written_when_it_has_waited_long_enough(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "GROUP_SECONDS", 0.0)
    written: list[int] = []

    class Watching(Counting):
        def encode(self, images):  # type: ignore[no-untyped-def]
            # The first batch is on disk before the second, if it takes long enough.
            written.append(len(list(_parts(tmp_path / "store").glob("*"))))
            return super().encode(images)

    run(data, Watching(), tmp_path / "store")
    assert written == list(range(COUNT))


def test_parts_of_another_encoder_are_refused(data: Path, tmp_path: Path, small_groups: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, Counting(stop_at=4), tmp_path / "store")
    message = refusal(lambda: run(data, Counting(version=2), tmp_path / "store"))
    assert f"{tmp_path}/store.parts" in message and "version 1 here, 2 there" in message
    assert "delete the folder" in message


def test_a_damaged_part_is_named(data: Path, tmp_path: Path, small_groups: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, Counting(stop_at=4), tmp_path / "store")
    part = min(_parts(tmp_path / "store").iterdir())
    whole = part.read_bytes()
    in_a_vector = 8 + int.from_bytes(whole[:8], "little")
    flipped = bytes([*whole[:in_a_vector], whole[in_a_vector] ^ 1, *whole[in_a_vector + 1 :]])
    for damaged in (whole[:-1], flipped):
        part.write_bytes(damaged)
        assert f"{part}: is damaged; delete it" in refusal(lambda: run(data, Counting(), tmp_path / "store"))
    part.unlink()
    assert run(data, Counting(), tmp_path / "store").reused == 2


@pytest.mark.parametrize("opened", [False, True])
def test_parts_that_another_run_has_just_removed_are_embedded_again(
    data: Path, tmp_path: Path, small_groups: None, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    run(data, Counting(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(data, Counting(stop_at=4), tmp_path / "store")

    class Removed(EmbeddingStore):
        """Its folder is removed before it is opened, or afterwards."""

        def __init__(self, path: Path):
            if opened:
                super().__init__(path)
            shutil.rmtree(path.parent, ignore_errors=True)
            if not opened:
                super().__init__(path)

    with monkeypatch.context() as removing:
        removing.setattr(extract_module, "EmbeddingStore", Removed)
        assert run(data, Counting(), tmp_path / "store").reused == 0
    assert (tmp_path / "store").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_changed_image_is_embedded_again(data: Path, tmp_path: Path, small_groups: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, Counting(stop_at=4), tmp_path / "store")
    (data / "a01.png").write_bytes((data / "a08.png").read_bytes())
    again = Counting()
    run(data, again, tmp_path / "store")
    assert again.seen == ["a01", "a04", "a05", "a06", "a07"]  # a08 is the same image as a01


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_same_picture_twice_is_embedded_once_and_stored_twice(data: Path, tmp_path: Path, batch: int) -> None:
    (data / "z.png").write_bytes((data / "a03.png").read_bytes())
    encoding = Counting(batch)
    assert run(data, encoding, tmp_path / "store").images == COUNT + 1
    assert len(encoding.seen) == COUNT
    store = EmbeddingStore(tmp_path / "store")
    vectors = store.read([3, COUNT])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_an_unreadable_image_stops_the_run_and_loses_nothing(data: Path, tmp_path: Path) -> None:
    whole = (data / "a05.png").read_bytes()
    (data / "a05.png").write_bytes(b"no picture")
    first = Counting(batch=3)
    message = refusal(lambda: run(data, first, tmp_path / "store"))
    assert str(data / "a05.png") in message and "--skip-bad" in message
    assert first.seen == ["a00", "a01", "a02", "a03", "a04"]
    (data / "a05.png").write_bytes(whole)
    again = Counting(batch=3)
    assert run(data, again, tmp_path / "store").reused == 5
    assert again.seen == ["a05", "a06", "a07", "a08"]


def test_unreadable_images_are_skipped_when_asked(data: Path, tmp_path: Path) -> None:
    for name in ("a02", "a05"):
        (data / f"{name}.png").write_bytes(b"no picture")
    made = run(data, Counting(batch=3), tmp_path / "store", skip_bad=True)
    assert made.images == COUNT - 2
    assert [reason.split(":")[0] for reason in made.skipped] == [str(data / "a02.png"), str(data / "a05.png")]
    store = EmbeddingStore(tmp_path / "store")
    assert "a02" not in store.keys and store.shard is not None
    assert store.shard.skipped == ((2, "a02"), (5, "a05"))


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_bytes(b"no picture")
    message = refusal(lambda: run(tmp_path / "data", Counting(), tmp_path / "store", skip_bad=True))
    assert "none of the images can be read" in message and not (tmp_path / "store").exists()


@pytest.mark.parametrize("full_at", ["part", "store"])
def test_a_full_disk_is_one_line_and_keeps_the_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_groups: None, full_at: str
) -> None:
    save, calls = store_module.save_file, []

    def full_disk(tensors, path, metadata):  # type: ignore[no-untyped-def]
        calls.append(path)
        if (full_at == "part" and len(calls) >= 3) or (full_at == "store" and path.name == "store"):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(tensors, path, metadata)

    monkeypatch.setattr(store_module, "save_file", full_disk)
    message = refusal(lambda: run(data, Counting(), tmp_path / "store"))
    assert "No space left" in message and f"{tmp_path}/store" in message
    monkeypatch.setattr(store_module, "save_file", save)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "store.parts"]
    again = Counting()
    assert run(data, again, tmp_path / "store").reused == (4 if full_at == "part" else COUNT)
    assert len(again.seen) == (5 if full_at == "part" else 0)


def test_a_stop_between_batches_keeps_what_is_done(data: Path, tmp_path: Path) -> None:
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.shards import shard_of

    files, encoding = find_images(data), Counting(batch=2)

    def check() -> None:
        if len(encoding.seen) == 6:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        extract_module.extract(files, encoding, tmp_path / "store", shard_of(files, 1, 1), check=check)
    assert run(data, Counting(batch=2), tmp_path / "store").reused == 6


def test_progress_counts_every_image_once(
    data: Path, tmp_path: Path, small_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.shards import shard_of

    (data / "z.png").write_bytes((data / "a03.png").read_bytes())
    (data / "a07.png").write_bytes(b"no picture")
    with pytest.raises(KeyboardInterrupt):
        run(data, Counting(stop_at=2), tmp_path / "store")
    files = find_images(data)
    counts: list[int] = []

    @contextmanager
    def task(name: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        counts.extend([total, done])
        yield counts.append

    monkeypatch.setattr(extract_module, "task", task)
    extract_module.extract(files, Counting(batch=3), tmp_path / "store", shard_of(files, 1, 1), skip_bad=True)
    assert counts[:2] == [COUNT + 1, 2]
    assert sum(counts[1:]) == COUNT + 1


@pytest.mark.parametrize("place", ["file/store", "data"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(data: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    encoding = Counting()
    assert str(tmp_path / place) in refusal(lambda: run(data, encoding, tmp_path / place))
    assert encoding.seen == []


def test_image_stats_through_the_same_door(data: Path, tmp_path: Path) -> None:
    from flowseg.data.folders import list_images
    from flowseg.embeddings.source import describe_images

    run(data, ImageStats(), tmp_path / "store")
    hashes, vectors = describe_images(list(list_images(data).values()))
    store = EmbeddingStore(tmp_path / "store")
    assert store.hashes == hashes
    np.testing.assert_array_equal(store.read(range(COUNT)), vectors)


def test_reading_ahead_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowseg.embeddings import images

    data = write_images(tmp_path / "many", 60)
    started: list[Path] = []
    load = images._load
    monkeypatch.setattr(images, "_load", lambda path: (started.append(path), load(path))[1])
    stream = images.load_images(images.find_images(data).items())
    next(stream)
    time.sleep(0.2)
    assert len(started) <= images._AHEAD + 1
    stream.close()

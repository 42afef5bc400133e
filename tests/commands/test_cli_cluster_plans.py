"""What a command on a cluster checks itself: its options before Ray starts, and its files before it goes on."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Flowseg, first, write

from flowseg.cluster.folder import SharedFolder
from flowseg.cluster.pieces import Piece
from flowseg.cluster.worker import Each
from flowseg.commands import embed_on_cluster, predict_on_cluster
from flowseg.embeddings.merge import merge
from flowseg.errors import UserError


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that starts Ray fails."""
    for module in (embed_on_cluster, predict_on_cluster):
        monkeypatch.setattr(module, "connected", lambda address: pytest.fail("Ray was started"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Sequence[Piece]], None]], None]:
    """A function that sets up a cluster of two nodes whose pieces are run by another function."""

    @contextmanager
    def connected(address: str) -> Iterator[SimpleNamespace]:
        each = Each(1, 0)
        yield SimpleNamespace(
            address=address, share=lambda *asked: each, check=lambda shared: None, at_once=lambda each: 2
        )

    def set_up(run: Callable[[Sequence[Piece]], None]) -> None:
        for module in (embed_on_cluster, predict_on_cluster):
            monkeypatch.setattr(module, "FEWEST", 2)
            monkeypatch.setattr(module, "connected", connected)
            monkeypatch.setattr(module, "run_pieces", lambda cluster, shared, pieces, each, what: run(pieces))

    return set_up


@pytest.fixture
def one_piece_each_time(cluster: Callable[[Callable[[Sequence[Piece]], None]], None]) -> None:
    """A cluster that makes one piece, and is then lost."""

    def run(pieces: Sequence[Piece]) -> None:
        result = pieces[0].result
        assert result is not None
        result.parent.mkdir(exist_ok=True)
        result.write_text("{}")
        raise UserError("the cluster is lost")

    cluster(run)


@pytest.fixture
def masks(data: Path, tmp_path: Path) -> Path:
    """A folder with the field of view of each training image."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for image in (data / "train" / "image").iterdir():
        write(folder / image.name, np.full((64, 64), 255, np.uint8))
    return folder


@pytest.mark.usefixtures("no_ray")
def test_a_mistake_in_an_option_shows_before_ray_starts(
    refused: Callable[..., str], run: Path, data: Path, masks: Path, tmp_path: Path
) -> None:
    embed = ("embed", data, "--out", tmp_path / "store", "--cluster", "local")
    assert "--encoder qwen: choose one of" in refused(*embed, "--encoder", "qwen")
    assert "--width: image-stats takes no such option" in refused(*embed, "--width", 8)
    images = data / "train" / "image"
    predict = ("predict", run, images, "--out", tmp_path / "out", "--cluster", "local")
    assert "none: no such embedding store" in refused(*predict, "--embeddings", tmp_path / "none")
    assert "none: no such folder; give one" in refused(*predict, "--fov", tmp_path / "none")
    first(data, "image").rename(images / "other.png")
    assert "other.png: has no field of view" in refused(*predict, "--fov", masks)
    assert "--resume: with --cluster the same command goes on by itself; leave it out" in refused(*predict, "--resume")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.jsonl").touch()
    assert "out: holds an unfinished prediction without --cluster; go on" in refused(*predict)


@pytest.mark.usefixtures("one_piece_each_time")
@pytest.mark.parametrize("kind", ["images", "fov", "embeddings"])
def test_a_prediction_does_not_go_on_after_a_file_was_replaced(
    flowseg: Flowseg, run: Path, data: Path, masks: Path, tmp_path: Path, kind: str
) -> None:
    """Its finished chunks were made of the earlier file."""
    store, images = tmp_path / "store", data / "train" / "image"
    assert flowseg("embed", data, "--out", store).status == 0
    command = ("predict", run, images, "--out", tmp_path / "out", "--cluster", "local", "--fov", masks)
    command = (*command, "--embeddings", store)
    for finished in ("3 chunks, 0 of them finished", "3 chunks, 1 of them finished"):
        outcome = flowseg(*command)
        assert finished in outcome.out and outcome.err == "flowseg: the cluster is lost\n", outcome.err
    file = {"images": first(data, "image"), "fov": min(masks.iterdir()), "embeddings": store}[kind]
    os.utime(file, ns=(0, 0))
    told = flowseg(*command).err
    assert f"out/.cluster: holds unfinished work that was begun otherwise ({kind} differs); give the same" in told


@pytest.mark.usefixtures("one_piece_each_time")
def test_an_embedding_does_not_go_on_after_an_image_was_added(flowseg: Flowseg, data: Path, tmp_path: Path) -> None:
    """Its finished shards are of the earlier list, so they could never be merged with the others."""
    command = ("embed", data, "--out", tmp_path / "store", "--cluster", "local")
    for finished in ("2 shards, 0 of them finished", "2 shards, 1 of them finished"):
        assert finished in flowseg(*command).out
    for kind in ("image", "label"):
        shutil.copy(first(data, kind), data / "train" / kind / "another.png")
    told = flowseg(*command).err
    assert "store.cluster: holds unfinished work that was begun otherwise (images differs); give the same" in told


def test_shards_are_merged_while_no_other_process_can_give_out_work_there(
    flowseg: Flowseg,
    data: Path,
    tmp_path: Path,
    cluster: Callable[[Callable[[Sequence[Piece]], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, refusals = tmp_path / "store", []

    def run(pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            assert flowseg(*piece.arguments).status == 0 and piece.result is not None and piece.result.exists()

    def merged(stores: list[Path], file: Path, skip_bad: bool) -> tuple[int, list[str]]:
        with (
            pytest.raises(UserError, match="another process gives out work there"),
            SharedFolder.beside(out).claimed(),
        ):
            pass
        refusals.append(file)
        return merge(stores, file, skip_bad)

    cluster(run)
    monkeypatch.setattr(embed_on_cluster, "merge", merged)
    assert flowseg("embed", data, "--out", out, "--cluster", "local").status == 0
    assert refusals == [out] and not SharedFolder.beside(out).path.exists()
    assert flowseg("embed", data, "--out", tmp_path / "whole").status == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()

"""The command line: what it prints, and how it refuses bad input (one line, exit status 1, nothing written)."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowseg import cli
from flowseg.config import Config, DataConfig, EmbeddingConfig, from_dict
from flowseg.embeddings.source import IMAGE_STATS, EmbeddingSource, describe_images
from flowseg.embeddings.store import EmbeddingStore, Encoder, write_store
from flowseg.experiment import prepare
from flowseg.runs import create_run

REPO = Path(__file__).parents[1]
BASELINE, FILM = REPO / "configs" / "baseline.py", REPO / "configs" / "vlm_film.py"
# What makes a config small enough for the tiny data.
SMALL = ("--data.crop", "32", "--train.batch", "4")


@dataclass
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Flowseg = Callable[..., Outcome]


@pytest.fixture
def flowseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Flowseg:
    """Calls the command in this process, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path / "cache"))

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["flowseg", *map(str, args)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def refused(flowseg: Flowseg, tmp_path: Path) -> Callable[..., str]:
    """Calls the command, which must refuse: returns the one line, after a look that nothing was written."""

    def call(*args: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        outcome = flowseg(*args)
        assert outcome.status == 1
        assert outcome.err.startswith("flowseg: ") and outcome.err.endswith("\n")
        assert outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.err
        assert sorted(tmp_path.rglob("*")) == before
        return outcome.err

    return call


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A data set of one's own to spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture
def train_on(refused: Callable[..., str], data: Path) -> Callable[..., str]:
    """How training on the spoilt data is refused."""
    return lambda *more: refused("train", BASELINE, "--data.root", data, *SMALL, *more)


def first(data: Path, kind: str, split: str = "train") -> Path:
    """The first image or label of a split."""
    return min((data / split / kind).iterdir())


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def wide_store(path: Path, data: Path, width: int) -> Path:
    """A store of vectors of another width for the images of a data set."""
    files = sorted(data.glob("*/image/*"))
    hashes, _ = describe_images(files)
    keys = [f"{f.parent.parent.name}/{f.stem}" for f in files]
    write_store(path, Encoder("narrow", {}, width), keys, hashes, np.zeros((len(keys), width), np.float32))
    return path


# Commands that succeed.


@pytest.mark.parametrize("config", [BASELINE, FILM], ids=["baseline", "vlm_film"])
def test_params_json_is_the_table_s_totals(flowseg: Flowseg, config: Path) -> None:
    outcome = flowseg("params", config, "--json")
    assert outcome.status == 0
    counts = json.loads(outcome.out)
    film = config == FILM
    assert counts == {
        "total": 11_649_729 if film else 10_694_977,
        "base": 10_694_977,
        "conditioner": 525_056 if film else 0,
        "film_heads": 429_696 if film else 0,
    }


def test_params_table_ends_with_the_totals(flowseg: Flowseg) -> None:
    outcome = flowseg("params", BASELINE, "--model.dim", "16")
    assert outcome.status == 0
    last = outcome.out.strip().splitlines()[-1]
    assert last.startswith("total: ") and "base: " in last
    assert int(last.split()[1].replace(",", "")) < 10_694_977
    assert "middle/cross1/qkv_x/kernel" in outcome.out


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_usage_lists_every_command(flowseg: Flowseg, args: tuple[str, ...]) -> None:
    outcome = flowseg(*args)
    assert outcome.status == (0 if args else 2)
    for command in cli.COMMANDS:
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help(flowseg: Flowseg, command: str) -> None:
    outcome = flowseg(command, "--help")
    assert outcome.status == 0
    assert f"flowseg {command}" in outcome.out and outcome.err == ""


def test_an_unknown_command_is_named(flowseg: Flowseg) -> None:
    outcome = flowseg("trian")
    assert outcome.status == 2
    assert "trian" in outcome.err and "train" in outcome.err and outcome.err.count("\n") == 1


def test_embed_makes_a_store_that_a_run_uses(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    store = tmp_path / "new" / "store.safetensors"
    outcome = flowseg("embed", tiny_data, "--out", store)
    assert outcome.status == 0 and str(store) in outcome.out
    assert EmbeddingStore(store).encoder == IMAGE_STATS
    assert len(EmbeddingStore(store)) == 11
    config = replace(cli.load_config(FILM), data=DataConfig(root=str(tiny_data), crop=32))
    stored = prepare(replace(config, embeddings=EmbeddingConfig(str(store))))
    computed = prepare(config)
    assert stored.encoder == computed.encoder == IMAGE_STATS
    assert stored.embeddings is not None and computed.embeddings is not None
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        assert stored.embeddings[split].shape == (count, 2048)
        np.testing.assert_array_equal(stored.embeddings[split], computed.embeddings[split])
    assert len(np.unique(stored.embeddings["train"], axis=0)) == 6


def test_embed_takes_a_plain_folder_of_images(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    folder, store = tiny_data / "test" / "image", tmp_path / "store.safetensors"
    assert flowseg("embed", folder, "--out", store).status == 0
    paths = sorted(folder.iterdir())
    hashes, vectors = describe_images(paths)
    found = EmbeddingSource(str(store), 2048).vectors(["x"] * 3, paths, hashes, "x")
    np.testing.assert_array_equal(found, vectors)


# Bad data.


def test_no_such_data_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("train", BASELINE, "--data.root", tmp_path / "nowhere", *SMALL)
    assert f"{tmp_path}/nowhere: no such folder; give" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_no_such_split(train_on: Callable[..., str], data: Path, split: str) -> None:
    shutil.rmtree(data / split)
    assert f"{data}/{split}: no such folder; expected" in train_on()


@pytest.mark.parametrize("kind", ["image", "label"])
def test_no_such_subfolder(train_on: Callable[..., str], data: Path, kind: str) -> None:
    shutil.rmtree(data / "train" / kind)
    message = train_on()
    assert f"{data}/train: no folder {kind}" in message and "expected" in message


def test_empty_image_folder(train_on: Callable[..., str], data: Path) -> None:
    for path in (data / "val" / "image").iterdir():
        path.unlink()
    assert f"{data}/val/image: empty; put images" in train_on()


def test_image_without_label(train_on: Callable[..., str], data: Path) -> None:
    first(data, "label").unlink()
    message = train_on()
    assert str(first(data, "image")) in message and "no label" in message and "add it or remove" in message


def test_label_without_image(train_on: Callable[..., str], data: Path) -> None:
    first(data, "image").unlink()
    message = train_on()
    assert str(first(data, "label")) in message and "no image" in message and "add it or remove" in message


def test_label_of_another_size(train_on: Callable[..., str], data: Path) -> None:
    write(first(data, "label"), np.zeros((64, 48), np.uint8))
    message = train_on()
    assert f"{first(data, 'label')}: is 48x64 but its image is 64x64" in message


def test_label_with_three_values(train_on: Callable[..., str], data: Path) -> None:
    label = np.zeros((64, 64), np.uint8)
    label[0, :2] = 128, 255
    write(first(data, "label", "test"), label)
    message = train_on()
    assert str(first(data, "label", "test")) in message and "3 values (0, 128, 255); threshold it" in message


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image(train_on: Callable[..., str], data: Path, content: bytes) -> None:
    first(data, "image").write_bytes(content)
    message = train_on()
    assert str(first(data, "image")) in message and "replace or remove it" in message


def test_truncated_image(train_on: Callable[..., str], data: Path) -> None:
    path = first(data, "image")
    path.write_bytes(path.read_bytes()[:400])
    assert str(path) in train_on()


def test_constant_image(train_on: Callable[..., str], data: Path) -> None:
    write(first(data, "image"), np.full((64, 64), 7, np.uint8))
    message = train_on()
    assert f"{first(data, 'image')}: every pixel has the value 7" in message and "remove it" in message


def test_crop_larger_than_the_images(train_on: Callable[..., str]) -> None:
    message = train_on("--data.crop", 128)
    assert "data.crop = 128: train/0000 is only 64x64 pixels; choose --data.crop 64 or less" in message


def test_a_small_image_among_large_ones(train_on: Callable[..., str], data: Path) -> None:
    path = max((data / "train" / "image").iterdir())
    for file in (path, data / "train" / "label" / path.name):
        with Image.open(file) as image:
            image.crop((0, 0, 40, 28)).save(file)
    message = train_on()
    assert f"data.crop = 32: train/{path.stem} is only 40x28 pixels; choose --data.crop 24 or less" in message


# Bad configs and options.


def test_unknown_field_in_a_config_file(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from flowseg.config import Config, DataConfig\nconfig = Config(data=DataConfig(cropp=64))\n")
    message = refused("train", file)
    assert str(file) in message and "unknown config field cropp: remove it" in message


def test_wrong_type_in_a_config_file(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from flowseg.config import Config\nconfig = Config(seed='1')\n")
    assert f"{file}: seed = '1': expected int" in refused("params", file)


@pytest.mark.parametrize("text", ["", "config = 3\n", "config = (\n", "import nothing_of_this_name\n", "config = x\n"])
def test_a_file_that_is_no_config(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert str(file) in refused("train", file)


def test_a_missing_config_file_names_those_there(refused: Callable[..., str]) -> None:
    missing = BASELINE.with_name("basline.py")
    message = refused("train", missing)
    assert f"{missing}: no such config file; there are: " in message and "baseline, vlm_film" in message


@pytest.mark.parametrize("command", ["train", "params"])
def test_no_config_file_at_all(refused: Callable[..., str], command: str) -> None:
    message = refused(command)
    assert "config" in message.lower() and f"flowseg {command} --help" in message


def test_unknown_option(refused: Callable[..., str], data: Path) -> None:
    message = refused("train", BASELINE, "--data.root", data, "--data.cropp", "32")
    assert "--data.cropp" in message and "flowseg train --help" in message


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seed", "one"), ("--train.epochs", "1.5"), ("--precision", "half"), ("--data.flip", "often")],
)
def test_option_of_the_wrong_type(refused: Callable[..., str], option: str, value: str) -> None:
    message = refused("train", BASELINE, option, value)
    assert option in message and value in message


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--data.crop", "60", "data.crop = 60: must be a multiple of 8"),
        ("--data.flip", "1.5", "data.flip = 1.5: is a probability"),
        ("--name", "a/b", "name = 'a/b': must be a plain file name"),
    ],
)
def test_option_out_of_range(refused: Callable[..., str], option: str, value: str, told: str) -> None:
    assert told in refused("train", BASELINE, option, value)


def test_batch_that_the_devices_cannot_share(train_on: Callable[..., str]) -> None:
    assert "train.batch = 6: is not divisible by the 4 devices" in train_on("--train.batch", 6)


def test_batch_that_the_given_devices_cannot_share(train_on: Callable[..., str]) -> None:
    assert "train.batch = 4: is not divisible by the 3 devices" in train_on("--devices", 3)


def test_more_devices_than_there_are(train_on: Callable[..., str]) -> None:
    assert "devices = 8: this machine has 4" in train_on("--devices", 8, "--train.batch", 8)


# Bad runs.


def test_out_that_holds_something(train_on: Callable[..., str], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    message = train_on("--out", taken)
    assert f"{taken}: is not empty; choose another --out" in message


def test_out_below_a_file(train_on: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path}/file/run: cannot be made" in train_on("--out", tmp_path / "file" / "run")


def test_resume_of_no_run(train_on: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no run there" in train_on("--resume", tmp_path / "gone")


def test_resume_with_another_config(train_on: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", replace(Config(), seed=3), None)
    message = train_on("--resume", run.path)
    assert f"{run.path}: was started with another config: seed: 3 != 0 (and " in message


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_folder_that_is_no_run(refused: Callable[..., str], data: Path, tmp_path: Path, command: str) -> None:
    options = {"eval": (data,), "predict": (first(data, "image"), "--run", data, "--out", tmp_path / "out")}
    message = refused(command, *options[command])
    assert f"{data}: no run there (no config.json); give a folder that" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {"model": 3}}', '{"config": {"sed": 1}}'])
def test_a_run_whose_config_is_broken(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    (run.path / "config.json").write_text(text)
    assert str(run.path) in refused("eval", run.path)


def test_eval_of_a_run_without_checkpoints(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    config = from_dict(Config, {"data": {"root": str(data), "crop": 32}})
    run = create_run(tmp_path / "run", config, None)
    assert f"{run.path}: has no best checkpoint yet" in refused("eval", run.path)


def test_predict_without_images(refused: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    message = refused("predict", "--run", run.path, "--out", tmp_path / "out")
    assert "no images given; name one or more" in message


def test_predict_of_a_missing_image(refused: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    missing = tmp_path / "gone.png"
    assert f"{missing}: no such file" in refused("predict", missing, "--run", run.path, "--out", tmp_path / "out")


def test_predict_of_two_images_of_one_name(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    pair = first(data, "image"), first(data, "label")
    message = refused("predict", *pair, "--run", run.path, "--out", tmp_path / "out")
    assert "0000: several images have this stem" in message


# Bad embeddings.


def test_store_of_another_data_set(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for index, path in enumerate(sorted(other.glob("*/image/*"))):
        write(path.with_name(f"new{path.name}"), np.arange(index, index + 4096).reshape(64, 64).astype(np.uint16))
        path.unlink()
    for path in sorted(other.glob("*/label/*")):
        path.rename(path.with_name(f"new{path.name}"))
    message = refused("train", FILM, "--data.root", other, "--embeddings.store", store, *SMALL)
    assert f"{store}: 6 of 6 images are not in it (train/new0000, " in message
    assert f"flowseg embed {other}" in message and f"--out {store}" in message


def test_store_older_than_an_image(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    write(first(data, "image"), np.eye(64, dtype=np.uint8))
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert f"{store}: 1 of 6 images were changed after it was made (train/0000)" in message


def test_store_of_another_width(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 64)
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert "model.film.embedding_width = 2048" in message
    assert str(store) in message and "set --model.film.embedding-width 64" in message


def test_width_that_image_stats_lack(refused: Callable[..., str], data: Path) -> None:
    message = refused("train", FILM, "--data.root", data, *SMALL, "--model.film.embedding-width", 64)
    assert "model.film.embedding_width = 64: image-stats" in message


@pytest.mark.parametrize("content", [b"", b"no store", None])
def test_a_file_that_is_no_store(
    refused: Callable[..., str], data: Path, tmp_path: Path, content: bytes | None
) -> None:
    store = tmp_path / "store"
    if content is not None:
        store.write_bytes(content)
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert f"{store}: " in message and "embedding store" in message and "make it" in message


def test_embeddings_for_a_baseline(train_on: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    message = train_on("--embeddings.store", store)
    assert f"embeddings.store = '{store}': this config has no FiLM stages" in message and "vlm_film.py" in message


def test_embeddings_for_the_run_of_a_baseline(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    run = create_run(tmp_path / "run", from_dict(Config, {"data": {"root": str(data), "crop": 32}}), None)
    assert "this config has no FiLM stages" in refused("eval", run.path, "--embeddings", store)


def test_eval_with_another_encoder_than_in_training(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    config = from_dict(Config, {"data": {"root": str(data), "crop": 32}, "model": {"film": {"stages": [0]}}})
    run = create_run(tmp_path / "run", config, IMAGE_STATS)
    message = refused("eval", run.path, "--embeddings", store)
    assert f"{run.path}: was trained on {IMAGE_STATS} embeddings, these are from narrow" in message


def test_embed_of_no_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no such folder" in refused("embed", tmp_path / "gone", "--out", tmp_path / "store")


def test_embed_of_a_folder_without_images(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused("embed", tmp_path / "empty", "--out", tmp_path / "store")


def test_embed_into_a_file_s_subfolder(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path}/file/store: cannot be written" in refused("embed", data, "--out", tmp_path / "file" / "store")


def test_import_of_no_file(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("import-torch", tmp_path / "gone.ckpt", "--out", tmp_path / "run")
    assert f"{tmp_path}/gone.ckpt: no such file; give an original checkpoint" in message

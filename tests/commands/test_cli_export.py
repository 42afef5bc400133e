"""Exported models: they open like the run that they came from, and nothing is written into them."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from commands import Flowseg, first, trained_run
from PIL import Image
from refusals import refusal
from safetensors import safe_open
from safetensors.numpy import load_file

from flowseg.embeddings.tensor_file import save_file
from flowseg.files import write_text
from flowseg.interop import export_model, export_sampler
from flowseg.interop.model_card import model_card
from flowseg.runs import exported
from flowseg.runs.folder import open_run
from flowseg.runs.trained import Trained
from flowseg.runs.tuning import Removal, Tuned, sampling
from flowseg.sampling.mask import MaskRule
from flowseg.training.experiment import choose_run

STEP = 0  # of the best checkpoint of `trained_run`
FILES = ["README.md", "config.json", "model.safetensors"]
SCORES = {
    "dice": {"mean": 0.8123456, "low": 0.7, "high": 0.9, "n": 3},
    "hd95": {"mean": None, "low": None, "high": None},
}


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was scored."""
    run = trained_run(tmp_path_factory.mktemp("run") / "run", tiny_data)
    folder = run / "eval" / "test"
    folder.mkdir(parents=True)
    about = {"step": STEP, "images": 3, "data": str(tiny_data), "threshold": 0.5, "model": SCORES}
    write_text(
        folder / "metrics.json", json.dumps({**about, "split": "test", "sampler": asdict(open_run(run).config.eval)})
    )
    line = {"kind": "train", "step": 10, "epoch": 1.0, "steps": 10, "loss": 0.5, "images_per_s": 0.5}
    write_text(run / "metrics.jsonl", json.dumps(line) + "\n")
    return run


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's exported model; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("model") / "model"
    export_model.write_model(Trained.open(open_run(run)), folder)
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return {name: value for name, value in content.items() if name != "digest"}


def with_tensors(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    """Replaces the weights of an exported model, with a config.json that tells of the new file."""
    content = described(folder)
    save_file(tensors, folder / "model.safetensors", {})
    content["exported"]["sha256"] = exported._sha256(folder / "model.safetensors")
    write_text(folder / "config.json", json.dumps(content))
    return folder


def opening(folder: Path) -> str:
    return refusal(lambda: Trained.open(open_run(folder)))


def test_it_opens_like_its_run(run: Path, model: Path, tiny_data: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == FILES
    ours, theirs = Trained.open(open_run(model)), Trained.open(open_run(run))
    assert (ours.step, ours.best_dice, ours.data_digest) == (STEP, 0.5, "its digest")
    assert ours.run.encoder == theirs.run.encoder
    assert ours.config == replace(theirs.config, data=replace(theirs.config.data, root=None))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    with safe_open(model / "model.safetensors", framework="numpy") as file:
        assert "encoder.0.mask.block1.conv1.kernel" in file.keys()  # noqa: SIM118
    for path in model.iterdir():
        assert str(tiny_data).encode() not in path.read_bytes(), "a place on this machine"


def test_the_same_run_gives_the_same_bytes(run: Path, model: Path, tmp_path: Path) -> None:
    export_model.write_model(Trained.open(open_run(run)), tmp_path / "again")
    for path in model.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_card_says_what_is_known(model: Path, tiny_data: Path) -> None:
    card = (model / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: flowseg\n")
    for part in (
        "`tiny`",
        "6 for training, 2 for validation, 3 for the test",
        "| its digest |",
        f"| step {STEP}, the best by Dice on the validation images: 0.5000 |",
        "| 2 min 00 s of training steps",
        "test: 3 images of `data`, euler with 1 step, 1 sample, masks: probability above 0.5.",
        "| Dice | 0.8123 | 0.7000 to 0.9000 | higher |",
        "| HD95 | - | - | lower |",
        "Not a medical device",
        "No licence is given yet",
    ):
        assert part in card, part
    assert "\n\n\n" not in card and "{" not in card


def test_the_card_of_data_that_are_gone_says_so(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    content = described(moved)
    for root, told in ((str(tmp_path / "gone"), "not known: the data set was not there"), (None, "phantoms")):
        content["config"]["data"]["root"] = root
        write_text(moved / "config.json", json.dumps(content))
        trained = replace(Trained.open(open_run(run)), run=open_run(moved))
        card = model_card(trained, "model.md.j2", rule=MaskRule(), kept=None)
        assert f"| images | {told}" in card and "| optimiser | adamw" in card
    imported = model_card(replace(trained, data_digest=None), "model.md.j2", rule=MaskRule(), kept=None)
    assert "| images | not known |" in imported and "optimiser" not in imported


def test_scores_of_another_checkpoint_are_left_out(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    file = other / "eval" / "test" / "metrics.json"
    write_text(file, json.dumps({**json.loads(file.read_text()), "step": STEP + 1}))
    export_model.write_model(Trained.open(open_run(other)), tmp_path / "model")
    assert "was not scored" in (tmp_path / "model" / "README.md").read_text()
    write_text(file, "{")
    message = refusal(lambda: export_model.write_model(Trained.open(open_run(other)), tmp_path / "next"))
    assert f"{file}: cannot be read" in message and not (tmp_path / "next").exists()


def test_the_card_has_the_scores_on_other_images(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    content = json.loads((other / "eval" / "test" / "metrics.json").read_text())
    for name, step in (("xca", STEP), ("older", STEP + 1)):
        place = other / "eval" / f"val-of-{name}-0a1b2c"
        place.mkdir()
        write_text(place / "metrics.json", json.dumps({**content, "step": step, "data": f"a/{name}", "split": "val"}))
    export_model.write_model(Trained.open(open_run(other)), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| 3 of `xca` (val) | euler, 1 step, 1 sample; probability above 0.5 | 0.8123 (0.7000 to 0.9000) |" in card
    assert "`older`" not in card and "\n\n\n" not in card


def test_it_is_exported_and_predicts(flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path) -> None:
    model, image = tmp_path / "out" / "model", first(tiny_data, "image", "test")
    outcome = flowseg("export", run, "--to", "safetensors", model)
    assert outcome.status == 0 and f"flowseg predict {model}" in outcome.out, outcome.err
    outcome = flowseg("predict", model, image, "--out", tmp_path / "masks")
    assert outcome.status == 0, outcome.err
    assert Image.open(tmp_path / "masks" / f"{image.stem}_mask.png").size == (64, 64)
    assert sorted(path.name for path in model.iterdir()) == FILES


def test_a_tuned_threshold_goes_along(run: Path, tmp_path: Path) -> None:
    own, settings = Path(shutil.copytree(run, tmp_path / "own")), open_run(run).config.eval
    kept = {"threshold": 0.37, "dice": 0.6, "dice_fixed": 0.5, "images": 2, "step": STEP, "eval": sampling(settings)}
    write_text(own / "threshold.json", json.dumps(kept))
    export_model.write_model(Trained.open(open_run(own)), tmp_path / "model")
    assert "the threshold 0.37\n(used with `--threshold tuned`)" in (tmp_path / "model" / "README.md").read_text()
    model, tuned = open_run(tmp_path / "model"), replace(settings, threshold="tuned")
    assert Trained.open(model, tuned).rule == MaskRule(0.37, 0)
    message = refusal(lambda: Trained.open(model, replace(tuned, tta=True)).rule)
    assert "holds no mask rule for these settings; use --threshold fixed and a number for --min-component" in message
    write_text(own / "threshold.json", json.dumps({**kept, "step": STEP + 1}))
    export_model.write_model(Trained.open(open_run(own)), tmp_path / "later")
    assert not (tmp_path / "later" / "threshold.json").exists()


def test_the_smallest_part_goes_along(tiny_data: Path, tmp_path: Path) -> None:
    """That of the run's own way of sampling, which is used for every other way."""
    run, model = trained_run(tmp_path / "run", tiny_data, min_component="auto"), tmp_path / "model"
    settings, removal = open_run(run).config.eval, Removal(30, 0.6, 1.0, 0.6, 4.0)
    kept = {**asdict(Tuned(0.37, 0.6, 0.5, 2, removal, removal)), "step": STEP, "eval": sampling(settings)}
    write_text(run / "threshold.json", json.dumps({"tuned": [kept]}))
    export_model.write_model(Trained.open(open_run(run)), model)
    assert (
        "| masks | probability above 0.5, components of fewer than 30 pixels removed |"
        in (model / "README.md").read_text()
    )
    for folder, asked in ((run, settings), (model, settings), (model, replace(settings, ensemble=3))):
        opened = Trained.open(open_run(folder), asked)
        assert opened.rule == MaskRule(0.5, 30)
    export_sampler.write_sampler(opened, tmp_path / "sampler", 1)
    signature = json.loads((tmp_path / "sampler" / "signature.json").read_text())
    assert (signature["threshold"], signature["min_component"]) == (0.5, 30)
    assert "remove the components of fewer than 30 pixels" in (tmp_path / "sampler" / "README.md").read_text()
    (model / "threshold.json").unlink()
    assert "holds no mask rule for these settings" in refusal(lambda: Trained.open(open_run(model)).rule)


def test_nothing_is_written_into_it(
    refused: Callable[..., str], run: Path, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    assert "without images of its own; name a data set with --data" in refused("eval", model)
    assert "is not written to; give a folder with --out" in refused("eval", model, "--data", tiny_data)
    assert "is not written to; give a folder with --out" in refused("analyze", "film", model, "--data", tiny_data)
    assert "is an exported model; the scores of the run it came from are in README.md" in refused("report", model)
    assert f"{model}: is an exported model, which has no log" in refused(
        "compare", run, model, "--out", tmp_path / "report"
    )
    assert sorted(path.name for path in model.iterdir()) == FILES


def test_it_is_scored_on_images_that_are_named(flowseg: Flowseg, model: Path, tiny_data: Path, tmp_path: Path) -> None:
    outcome = flowseg("eval", model, "--data", tiny_data, "--out", tmp_path / "scores")
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["step"] == STEP
    assert sorted(path.name for path in model.iterdir()) == FILES


def test_it_is_not_trained_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = open_run(model).config
    assert "without a training state" in refusal(lambda: choose_run(config, None, str(model), None))
    assert "without a training state" in refusal(lambda: choose_run(config, None, "auto", model))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "runs" / f"{config.name}-1")
    assert choose_run(config, None, "auto", None).path.name != f"{config.name}-1"


def test_damaged_weights_are_refused(copy: Path) -> None:
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], b""):
        file.write_bytes(damaged)
        assert f"{file}: is damaged" in opening(copy)
    file.unlink()
    assert f"{file}: cannot be read" in opening(copy)


def test_other_tensors_than_the_network_s_are_refused(copy: Path) -> None:
    tensors, file = load_file(copy / "model.safetensors"), copy / "model.safetensors"
    name = "head.kernel"
    rest = {other: value for other, value in tensors.items() if other != name}
    for held, told in (
        (rest, f"{file}: holds nothing for {name}, expected F32[8, 1]: it belongs to another network"),
        (
            {**tensors, "more.kernel": np.zeros(2, np.float32)},
            f"{file}: holds more.kernel, which this network does not",
        ),
        ({**tensors, name: tensors[name].T.copy()}, f"{file}: holds F32[1, 8] for {name}, expected F32[8, 1]"),
        ({**tensors, name: tensors[name].astype(np.float16)}, f"{file}: holds F16[8, 1] for {name}"),
    ):
        assert told in opening(with_tensors(copy, held))
    jax.tree.map(
        np.testing.assert_array_equal,
        Trained.open(open_run(with_tensors(copy, tensors))).params,
        Trained.open(open_run(copy)).params,
    )
    file.write_bytes(b"no safetensors")
    content = described(copy)
    content["exported"]["sha256"] = exported._sha256(file)
    write_text(copy / "config.json", json.dumps(content))
    assert f"{file}: cannot be read" in opening(copy)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 2}, "another version of flowseg (format 2, this one reads 1)"),
        ({"step": None}, "is not a run's config"),
        ({"sha256": 1}, "is not a run's config"),
    ],
)
def test_another_description_is_refused(copy: Path, changes: dict[str, Any], told: str) -> None:
    content = described(copy)
    content["exported"] |= changes
    write_text(copy / "config.json", json.dumps(content))
    assert told in opening(copy)
    write_text(copy / "config.json", json.dumps({**content, "exported": []}))
    assert "is not a run's config" in opening(copy)


def test_a_description_that_has_changed_is_refused(copy: Path) -> None:
    text = (copy / "config.json").read_text()
    write_text(copy / "config.json", text.replace('"steps": 1', '"steps": 9'))
    assert f"{copy}/config.json: does not match its digest" in opening(copy)
    write_text(copy / "config.json", json.dumps(described(copy)))  # as older versions wrote it
    assert Trained.open(open_run(copy)).config.eval.steps == 9


def test_requests_that_make_no_sense(refused: Callable[..., str], run: Path, model: Path, tmp_path: Path) -> None:
    message = refused("export", model, tmp_path / "new", "--to", "safetensors")
    assert f"{model}: is an exported model already; copy its folder" in message
    (tmp_path / "taken").mkdir()
    assert f"{tmp_path}/taken: exists already" in refused("export", run, tmp_path / "taken", "--to", "stablehlo")
    message = refused("export", run, tmp_path / "new", "--to", "safetensors", "--windows", "2")
    assert "--windows 2: only a program takes windows" in message
    message = refused("export", run, tmp_path / "new" / "last.ckpt", "--to", "torch")
    assert "model.multipliers = (1,): the original PyTorch network has 4 levels; export it" in message
    assert "no run there" in refused("export", tmp_path / "gone", tmp_path / "new", "--to", "torch")
    (tmp_path / "file").write_text("mine")
    message = refused("export", run, tmp_path / "file" / "model", "--to", "safetensors")
    assert f"{tmp_path}/file/model: cannot be written" in message


@pytest.mark.parametrize(("to", "module"), [("safetensors", export_model), ("stablehlo", export_sampler)])
def test_an_interrupted_export_leaves_nothing(
    flowseg: Flowseg, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, module: Any
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    class Stopped:
        """Stands for the export's JSON, which is written after the weights or the program."""

        dumps = staticmethod(interrupted)

    monkeypatch.setattr(export_sampler, "export_sampler", lambda *_: SimpleNamespace(serialize=lambda: b"program"))
    monkeypatch.setattr(module, "json", Stopped)
    before = sorted(tmp_path.rglob("*"))
    outcome = flowseg("export", run, tmp_path / "out", "--to", to)
    assert outcome.status == 130 and sorted(tmp_path.rglob("*")) == before


def test_a_model_on_the_hub_is_downloaded_and_opened(
    flowseg: Flowseg, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str], cache_dir: object) -> str:
        asked.append((name, revision))
        if name == "me/gone":
            raise FileNotFoundError("404 Client Error\nRepository Not Found")
        assert set(allow_patterns) >= {"config.json", "model.safetensors", "threshold.json"}
        return str(model)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert f"{model}: is an exported model without images" in flowseg("eval", "hf://me/vessels").err
    assert Trained.open(open_run(Path("hf://me/vessels@v1.0"))).step == STEP
    assert asked == [("me/vessels", None), ("me/vessels", "v1.0")]
    message = refusal(lambda: open_run(Path("hf://me/gone")))
    assert "hf://me/gone: cannot be downloaded (404 Client Error Repository Not Found)" in message
    for wrong in ("hf://vessels", "hf://me/../x", "hf://a/b/c", "hf://"):
        assert "is no model on the hub" in refusal(lambda wrong=wrong: open_run(Path(wrong)))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'flowseg[vlm]'" in refusal(lambda: open_run(Path("hf://me/vessels")))

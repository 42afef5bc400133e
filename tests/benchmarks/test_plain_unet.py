"""The plain U-Net to compare flowseg with: budget, candidates, prediction, and a run that `flowseg compare` reads."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowseg.config import DataConfig
from flowseg.data.dataset import Dataset, load_splits
from flowseg.evaluation.metric_table import IMAGE_METRICS, MASK_METRICS
from flowseg.phantoms.angiogram import write_phantoms
from flowseg.reports.compare.report import compare_runs
from flowseg.runs.folder import open_run
from flowseg.runs.log import read_metrics

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[dev,vlm,peers]'")
pytest.importorskip("monai", reason="needs MONAI: pip install '.[dev,vlm,peers]'")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SECONDS = 2.0
"""The budget of a training here."""


@pytest.fixture(scope="module")
def programs() -> Any:
    """plain_unet and unet_training, with a tiny network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import plain_unet
        import unet_training

        patch.setattr(unet_training, "FILTERS", (4, 8, 8))
        yield plain_unet, unet_training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Phantoms of 72x72, which is no multiple of what the network needs."""
    root = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(root, size=72, counts={"train": 6, "val": 2, "test": 3})
    return load_splits(root, DataConfig(root=str(root), target="mask", crop=16))


@pytest.fixture(scope="module")
def chosen(programs: Any, data: dict[str, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose candidate was selected."""
    out = tmp_path_factory.mktemp("runs") / "chosen"
    # One thread: with more, their waiting for each other would use up the budget on a busy machine.
    minutes = ["--minutes", str(SECONDS / 60), "--select-minutes", str(SECONDS / 600), "--threads", "1"]
    programs[0].main([str(data["train"].root), str(out), *minutes])
    return out


def test_compare_reads_the_run_and_says_what_it_is(
    programs: Any, data: dict[str, Dataset], chosen: Path, tmp_path: Path
) -> None:
    given = ["--candidate", "whole-full-0.003", "--minutes", str(SECONDS / 60), "--seed", "1"]
    programs[0].main([str(data["train"].root), str(tmp_path / "given"), *given])
    compare_runs([str(chosen), str(tmp_path / "given")], tmp_path / "report")
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    count = sum(p.numel() for p in programs[1].make_network().parameters())
    assert [group["parameters"]["total"] for group in found["groups"]] == [count] * 2
    differing = {row["field"]: row["values"]["given"] for row in found["differing"]}
    assert differing["network.chosen"] == "by the user"
    assert [run["measurements"] > 0 for run in found["runs"]] == [True] * 2
    with (chosen / "eval" / "test" / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = ["image", *(row.key for row in IMAGE_METRICS), *(f"frangi_{row.key}" for row in MASK_METRICS)]
    assert list(rows[0]) == expected and len(rows) == 3
    assert found["test"]["per_image"]["chosen"]["dice"] == pytest.approx([float(row["dice"]) for row in rows])
    assert (chosen / "eval" / "test" / "images" / Path(rows[0]["image"]).name / "prediction.png").is_file()


def test_the_run_s_files_say_what_was_trained_and_what_it_cost(programs: Any, chosen: Path) -> None:
    run, content = open_run(chosen), json.loads((chosen / "plain_unet.json").read_text())
    assert run.finished and run.network is not None and run.network.name == "plain U-Net (MONAI DynUNet)"
    tried = [row["candidate"] for row in content["selection"]]
    assert len(tried) == 3 and run.network.settings["candidate"] in tried
    assert run.network.settings["chosen"] == "on the validation split"
    assert run.network.settings["processor_minutes"] == SECONDS / 60 <= content["processor_minutes"]
    assert content["machine"]["packages"]["monai"] and content["machine"]["commit"]
    from safetensors.torch import load_model

    load_model(programs[1].make_network(), chosen / "weights.safetensors")


def test_the_log_covers_the_budget_and_the_rate_ends_at_0(programs: Any, chosen: Path) -> None:
    rate = programs[1].rate
    assert rate(1.0) == 0 and rate(0.999) < 1e-5 and rate(programs[1].WARM_UP) == 1 and 0 < rate(0.0) < 0.02
    lines = read_metrics(chosen)
    losses, validations = ([line for line in lines if line["kind"] == kind] for kind in ("train", "val"))
    assert losses[-1]["lr"] < 0.05 * max(line["lr"] for line in losses)
    assert sum(line["steps"] for line in losses) == losses[-1]["step"] == validations[-1]["step"]
    tenths = [int(600 / SECONDS * line["processor_minutes"]) for line in validations]
    # On a busy machine a step may take longer than a tenth of this budget, but the last validation is at its end.
    assert tenths == sorted(set(tenths)) and 5 <= len(tenths) <= 10 and tenths[-1] >= 10


def test_only_the_training_s_processor_time_counts(programs: Any, data: dict[str, Dataset]) -> None:
    _, training = programs
    config = training.run_config(training.Candidate(None, 32, 2, 1e-3), data["train"], 0)
    pairs = training.training_pairs(data["train"], config.data)
    started, busy, minutes = time.process_time(), 0.0, 0.0
    for progress in training.train(config, pairs, 0.5 / 60):
        minutes = progress.minutes
        paused = time.process_time()
        while time.process_time() < paused + 0.02:
            pass
        busy += time.process_time() - paused
    spent = time.process_time() - started - busy
    assert 0.5 <= 60 * minutes == pytest.approx(spent, rel=0.25)


def test_a_map_is_segmented_in_place_at_its_stored_size(programs: Any, data: dict[str, Dataset]) -> None:
    """A network that works pixel by pixel gives the same whatever the windows."""

    class Pointwise(torch.nn.Module):
        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            assert x.shape[2] % 32 == x.shape[3] % 32 == 0
            return 3 * x

    _, training = programs
    expected = [1 / (1 + np.exp(-3 * example.image)) for example in data["test"]]
    for crop in (None, 32, 96):
        found = training.segmentations(Pointwise(), data["test"], training.Candidate(None, crop, 2, 1e-3))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.probability, other, atol=1e-5)
    (first, *_) = training.segmentations(Pointwise(), data["test"], training.Candidate(64, 32, 2, 1e-3))
    assert first.probability.shape == (72, 72)
    assert np.corrcoef(first.probability.ravel(), expected[0].ravel())[0, 1] > 0.98


def test_labels_scaled_down_are_area_means(programs: Any, data: dict[str, Dataset]) -> None:
    _, training = programs
    config = training.run_config(training.Candidate(36, 32, 2, 1e-3), data["train"], 0)
    image, target = training.training_pairs(data["train"], config.data)[0]
    label = (target + 1) / 2
    assert image.shape == label.shape == (36, 36)
    np.testing.assert_allclose(label, data["train"].truth(0).reshape(36, 2, 36, 2).mean(axis=(1, 3)), atol=1e-6)
    assert ((label > 0) & (label < 1)).any()


def test_small_images_are_mirrored_at_the_edges(programs: Any, data: dict[str, Dataset]) -> None:
    _, training = programs
    config = training.run_config(training.Candidate(None, None, 2, 1e-3), data["train"], 0)
    assert config.data.crop == 96
    image, target = training.training_pairs(data["train"], config.data)[0]
    assert image.shape == target.shape == (96, 96)
    np.testing.assert_array_equal(image[12:84, 12:84], data["train"][0].image)
    np.testing.assert_array_equal(image[:12], image[12:24][::-1])
    np.testing.assert_array_equal(target[12:84, 12:84], data["train"][0].target)


def test_candidates_that_make_no_difference_are_left_out(programs: Any) -> None:
    names = [candidate.name for candidate in programs[1].candidates(300)]
    assert len(names) == len(set(names)) == 12
    assert {"crops-full-0.001", "crops-192-0.003", "whole-256-0.001"} < set(names)
    assert {c.name for c in programs[1].candidates(200)} == {
        f"{shape}-{lr}" for shape in ("crops-full", "crops-192", "whole-full", "whole-192") for lr in (0.001, 0.003)
    }
    assert [c.name for c in programs[1].candidates(72)] == ["whole-full-0.001", "whole-full-0.003"]


@pytest.mark.parametrize("upright", [0.74, 0.76])
def test_the_longer_trainings_decide_on_validation_alone(
    programs: Any, data: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch, upright: float
) -> None:
    program, training = programs
    among = [training.Candidate(side, 32, 2, lr) for side in (None, 48) for lr in (1e-3, 2e-3, 3e-3)]
    scores = iter([0.1, 0.3, 0.2, 0.9, 0.7, 0.8, 0.75, 0.74, upright])
    monkeypatch.setattr(program, "validate", lambda *_: {"dice": next(scores)})
    without_test = {split: data[split] for split in ("train", "val")}
    best, rows = program.select(among, without_test, 1e-4, 0)
    assert [row["candidate"] for row in rows[6:]] == [among[1].name, among[3].name, f"{among[1].name}-upright"]
    assert best == training.Candidate(None, 32, 2, 2e-3, upright=upright > 0.75)


def test_a_mistake_is_one_line_before_anything_is_trained(
    programs: Any, data: dict[str, Dataset], chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs[0], "select", lambda *_: pytest.fail("trained"))
    root = str(data["train"].root)
    with pytest.raises(SystemExit, match="is not empty"):
        programs[0].main([root, str(chosen)])
    with pytest.raises(SystemExit, match=r"choose one of whole-full-0\.001, whole-full-0\.001-upright, "):
        programs[0].main([root, str(tmp_path / "out"), "--candidate", "x"])

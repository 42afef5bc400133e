"""`flowseg experiment`: the planned runs, refusals before anything starts, and finished runs that are kept."""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import BASELINE, FILM, Flowseg, first
from html_page import Page
from PIL import Image

from flowseg.commands import experiment
from flowseg.commands.experiment import Experiment, plan
from flowseg.config import Config
from flowseg.runs.folder import create_run

TINY = ("--data.crop", "16", "--train.batch", "4", "--model.dim", "8", "--model.heads", "1", "--model.head-dim", "8")
TINY += ("--model.multipliers", "1", "--model.full-attention-levels", "0")
# Of all families, the supervised one has the smallest program: it evaluates the network once.
TINY += ("--flow.family", "supervised", "--train.epochs", "2", "--train.epoch-steps", "2")
TINY += ("--train.validate-every", "1", "--eval.steps", "1", "--preset", "full")


def asked(out: Path, data: Path, **more: object) -> Experiment:
    return Experiment((BASELINE, FILM), out, (0, 1), preset="full", data=str(data), **more)  # type: ignore[arg-type]


def test_seeds_come_first_and_only_film_gets_embeddings(tmp_path: Path) -> None:
    planned = plan(asked(tmp_path / "out", tmp_path, embeddings="vectors.safetensors"), ["--optim.lr", "0.5"])
    assert [(run.config.name, run.config.seed) for run in planned] == [
        ("baseline", 0),
        ("vlm_film", 0),
        ("baseline", 1),
        ("vlm_film", 1),
    ]
    assert [run.config.embeddings.store for run in planned] == [None, "vectors.safetensors"] * 2
    assert {run.config.optim.lr for run in planned} == {0.5}
    assert {run.config.data.root for run in planned} == {str(tmp_path)}
    assert planned[3].folder == tmp_path / "out" / "vlm_film" / "seed-1"


@pytest.mark.parametrize("given", [[], ["--precision", "auto"], ["--precision=auto"]])
def test_precision_that_is_left_to_the_machine_is_that_of_the_workers(tmp_path: Path, given: list[str]) -> None:
    """A run of theirs is then known by this process, which may be on another machine."""
    planned = plan(asked(tmp_path / "out", tmp_path), given, "bf16")
    assert {run.config.precision for run in planned} == {"bf16"}
    (one,) = [i for i, argument in enumerate(planned[0].arguments) if argument.startswith("--precision")]
    assert planned[0].arguments[one : one + 2] == ["--precision", "bf16"]
    chosen = plan(asked(tmp_path / "out", tmp_path), ["--precision", "float32"], "bf16")
    assert {run.config.precision for run in chosen} == {"float32"}


def test_finished_runs_are_known_and_another_config_s_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    wanted = asked(tmp_path / "out", tmp_path)
    first, second, *_ = plan(wanted, [])
    create_run(first.folder, first.config, None)
    assert not first.finished
    (first.folder / "done.json").write_text("{}")
    assert first.finished and not second.finished
    options = ("--configs", BASELINE, "--out", wanted.out, "--seeds", 0, 1, "--data", tmp_path, "--preset", "full")
    assert "optim.lr: 0.0002 != 0.5" in refused("experiment", *options, "--optim.lr", "0.5")


def test_mistakes_show_before_anything_starts(tmp_path: Path, refused: Callable[..., str]) -> None:
    common = ("--out", tmp_path / "out", "--data", tmp_path, "--preset", "full")
    assert "given twice" in refused("experiment", "--configs", BASELINE, "--seeds", 1, 1, *common)
    for option in ("--seed", "--resume", "--data.root", "--data.fold"):
        told = refused("experiment", "--configs", BASELINE, *common, option, "5")
        assert f"{option}: flowseg experiment sets it" in told
    for option in (("--coordinator", "a:1"), ("--process-id=1",)):
        assert "experiment run on one host" in refused("experiment", "--configs", BASELINE, *common, *option)
    assert "given twice" in refused("experiment", "--configs", BASELINE, "baseline", *common)
    assert "--folds 1: must lie between 2 and 999" in refused(
        "experiment", "--configs", BASELINE, *common, "--folds", 1
    )
    assert "optim.speed" in refused("experiment", "--configs", BASELINE, *common, "--optim.speed", 3)
    copy = tmp_path / "copy.py"
    copy.write_text(BASELINE.read_text())
    assert "rename one" in refused("experiment", "--configs", BASELINE, copy, *common)
    assert "no such config; give a file" in refused("experiment", "--configs", tmp_path / "none.py", *common)


def test_what_only_the_report_would_refuse_shows_before_anything_starts(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("--configs", BASELINE, "--out", out, "--data", tmp_path, "--preset", "full")
    single = refused("experiment", *common, "--seeds", 3)
    assert (
        "one config with one seed is a single run, with nothing to compare it with; add a config or a seed" in single
    )
    assert "has the name report, like the folder of the report" in refused("experiment", *common, "--name", "report")
    out.write_text("mine")
    assert f"{out}: is a file; give --out a folder" in refused("experiment", *common)
    out.unlink()
    (out / "report").mkdir(parents=True)
    (out / "report" / "mine.txt").write_text("mine")
    for more in ((), ("--folds", 2)):
        assert f"{out}/report: holds something other than a report" in refused("experiment", *common, *more)


def test_runs_that_cannot_be_in_its_report_show_before_anything_starts(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--configs", BASELINE, "--out", out, "--data", tmp_path, "--preset", "full", "--seeds", 0, 1)
    plain, (fold, *_) = plan(asked(out, tmp_path), [])[0], plan(replace(asked(out, tmp_path), folds=2), [])

    def put(name: str, config: Config, *, finished: bool = True) -> Path:
        run = create_run(out / "baseline" / name, config, None).path
        if finished:
            (run / "done.json").write_text("{}")
        return run

    def told(*more: object) -> str:
        found = refused("experiment", *options, *more)
        shutil.rmtree(out)
        return found

    run = put("seed-0", plain.config)
    assert f"{run}: cannot be in one report with the runs of this experiment (data.fold: " in told("--folds", 2)
    run = put("seed-0-fold-1", fold.config)
    assert f"{run}: cannot be in one report with the runs of this experiment (data.fold: " in told()
    of_three = replace(fold.config, data=replace(fold.config.data, fold="1/3"))
    put("seed-5-fold-1", of_three)
    assert "(data.fold: '1/2' != '1/3')" in told("--folds", 2)
    later = replace(fold.config, seed=5)
    put("seed-5-fold-1", replace(later, optim=replace(later.optim, lr=0.5)))
    assert "(optim.lr: 0.0002 != 0.5)" in told("--folds", 2)
    put("seed-5-fold-1", later, finished=False)
    assert "(it is not finished)" in told("--folds", 2)
    put("seed-5-fold-1", later)
    assert f"{out / 'baseline'}: lacks fold 2 of 2 with seed 5" in told("--folds", 2)


def test_folds_of_different_data_sets_are_refused_before_anything_starts(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    other = tmp_path / "other.py"
    other.write_text(
        "from flowseg.config import Config, DataConfig\n"
        "config = Config(name='other', data=DataConfig(root='elsewhere'))\n"
    )
    told = refused("experiment", "--configs", BASELINE, other, "--out", "out", "--preset", "full", "--folds", 2)
    assert "--folds: the configs have different data sets (baseline has " in told and "give one with --data" in told


@pytest.mark.parametrize("name", ["..", ".", "../elsewhere", "/tmp/elsewhere", "a/b", ""])
@pytest.mark.parametrize("command", [("train", BASELINE), ("experiment", "--configs", BASELINE)])
def test_a_name_never_leaves_the_folder(
    refused: Callable[..., str], tmp_path: Path, command: tuple[object, ...], name: str
) -> None:
    given = (*command, "--preset", "full", "--out", tmp_path / "out", "--name", name)
    assert f"name = {name!r}: must be a plain file name" in refused(*given)


def test_a_training_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """The training of an experiment that is killed, here while it still reads its config."""
    config, lock = tmp_path / "slow.py", tmp_path / "lock"
    config.write_text(
        f"import fcntl, time\nhandle = open({str(lock)!r}, 'w')\nfcntl.flock(handle, fcntl.LOCK_EX)\n"
        "handle.write('running')\nhandle.flush()\ntime.sleep(600)\n"
    )
    program = f"from flowseg.commands.experiment import _run; _run('train', [{str(config)!r}, '--preset', 'full'])"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        waited = time.monotonic() + 300
        while not (lock.is_file() and lock.read_text()):
            assert parent.poll() is None and time.monotonic() < waited
            time.sleep(0.05)
        parent.kill()
    with lock.open() as handle:
        waited = time.monotonic() + 120
        while True:  # the kernel gives the lock when the training has ended
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                assert time.monotonic() < waited, "the training goes on"
                time.sleep(0.05)


def test_two_seeds_are_trained_compared_and_kept(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    command = ("experiment", "--configs", BASELINE, "--seeds", 0, 1, "--out", tmp_path / "out", "--data", tiny_data)
    first = flowseg(*command, *TINY)
    assert first.status == 0, first.err
    runs = [tmp_path / "out" / "baseline" / f"seed-{seed}" for seed in (0, 1)]
    ended = [(run / "done.json").stat().st_mtime_ns for run in runs]
    report = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    assert len(report["runs"]) == 2
    page = json.loads((runs[1] / "report" / "report.json").read_text())
    assert page["settings"]["seed"] == 1 and page["film"] == []
    assert page["starts"][0]["command"].startswith("flowseg train ") and page["starts"][0]["seconds"] > 0
    again = flowseg(*command, *TINY)
    assert again.status == 0 and "2 of them finished" in again.out
    assert [(run / "done.json").stat().st_mtime_ns for run in runs] == ended


def test_folds_are_runs_of_their_own(tmp_path: Path) -> None:
    planned = plan(replace(asked(tmp_path / "out", tmp_path), folds=2, seeds=(1,)), [])
    assert [run.config.data.fold for run in planned] == ["1/2", "1/2", "2/2", "2/2"]
    assert planned[-1].folder == tmp_path / "out" / "vlm_film" / "seed-1-fold-2"


def test_a_cross_validation_scores_every_image_by_a_run_that_has_not_seen_it(
    flowseg: Flowseg, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the test images by all folds together, as `flowseg predict` uses them."""
    started: list[str] = []

    def in_this_process(command: str, arguments: list[str]) -> None:
        started.append(command)
        outcome = flowseg(command, *arguments)
        assert outcome.status == 0, outcome.err

    monkeypatch.setattr(experiment, "_run", in_this_process)
    out = tmp_path / "out"
    command = ("experiment", "--configs", BASELINE, "--seeds", 0, "--folds", 2, "--out", out, "--data", tiny_data)
    command += (*TINY, "--optim.accumulate", 1, "--optim.lr", 0.02)
    outcome = flowseg(*command)
    assert outcome.status == 0 and started == ["train", "train", "eval"], outcome.err
    report = json.loads((out / "report" / "report.json").read_text())
    (found,) = report["configs"]
    assert (report["folds"], found["runs"], len(found["per_image"])) == (2, 2, 8)  # 6 of train and 2 of val
    for k, fold in enumerate(found["folds"], 1):
        run = out / "baseline" / f"seed-0-fold-{k}"
        scores = json.loads((run / "eval" / "fold" / "metrics.json").read_text())
        assert fold["images"] == scores["images"] == 4
        assert fold["dice"] == pytest.approx(scores["model"]["dice"]["mean"], abs=1e-6)
    dices = [image["dice"] for image in found["per_image"].values()]
    assert found["out_of_fold"]["dice"]["mean"] == pytest.approx(np.mean(dices)) and len(dices) == 8
    together = json.loads((out / "baseline" / "eval" / "test" / "metrics.json").read_text())
    names = [member["run"] for member in together["members"]]
    assert names == ["seed-0-fold-1", "seed-0-fold-2"]
    assert found["test"]["together"]["dice"]["mean"] == pytest.approx(together["model"]["dice"]["mean"], abs=1e-6)
    assert set(found["test"]["together"]) == {*found["test"]["single"], "uncertainty_auroc"}  # several samples
    page = Page((out / "report" / "report.html").read_text())
    assert "Cross-validation in 2 folds" in page.text and f"{np.mean(dices):.4f}" in page.text
    started.clear()
    again = flowseg(*command, "--lang", "ko")
    assert again.status == 0 and started == [] and "교차 검증" in (out / "report" / "report.html").read_text()
    metrics = out / "baseline" / "eval" / "test" / "metrics.json"
    metrics.write_text(json.dumps({**together, "members": together["members"][:1]}))  # as if a run had been added
    assert flowseg(*command).status == 0 and started == ["eval"]
    assert json.loads(metrics.read_text())["members"] == together["members"]
    # All folds together find the mean of their probabilities, on images of any kind.
    image = first(tiny_data, "image", "test")
    assert flowseg("predict", out / "baseline", image, "--out", tmp_path / "masks").status == 0
    evaluated = [out / "baseline" / part / "eval/test/images" / image.stem for part in (*names, "")]
    one, other, both = (np.asarray(Image.open(folder / "probability.png")).astype(float) for folder in evaluated)
    assert np.abs(both - (one + other) / 2).max() <= 1 and np.abs(one - other).max() > 2
    np.testing.assert_array_equal(Image.open(tmp_path / "masks" / f"{image.stem}_probability.png"), both)
    said = json.loads((tmp_path / "masks" / "prediction.json").read_text())
    assert said["run"] == str(out / "baseline") and [member["run"] for member in said["members"]] == names
    # Images that some of them were trained on are no test of all.
    told = flowseg("eval", out / "baseline", "--split", "fold")
    assert told.status == 1 and "some runs in" in told.err and "were trained on these images" in told.err
    told = flowseg("eval", out / "baseline", "--ensemble", 2)
    assert told.status == 1 and "give --out as well" in told.err

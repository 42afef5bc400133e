"""Which run a command continues or begins."""

from pathlib import Path

import pytest
from refusals import refusal

from flowseg.config import Config, OptimConfig
from flowseg.errors import UserError
from flowseg.files import write_text
from flowseg.runs.folder import OtherNetwork, create_run, find_interrupted, open_run
from flowseg.runs.trained import Trained
from flowseg.training.experiment import choose_run


def test_auto_continues_what_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config()
    begun = create_run(Path("runs/baseline-1"), config, None)
    assert choose_run(config, None, "auto", None).path == begun.path
    write_text(begun.path / "done.json", "{}")
    assert choose_run(config, None, "auto", None).path != begun.path


def test_a_folder_of_one_s_own_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config()
    create_run(Path("runs/baseline-1"), config, None)
    for _ in range(2):  # a new run, then that run
        assert choose_run(config, None, "auto", tmp_path / "mine").path == tmp_path / "mine"
    with pytest.raises(UserError, match=r"optim\.lr"):
        choose_run(Config(optim=OptimConfig(lr=0.5)), None, "auto", tmp_path / "mine")


def test_another_program_s_network_is_kept_and_not_opened(tmp_path: Path) -> None:
    network = OtherNetwork("plain U-Net", 1234, {"minutes": 25.0})
    create_run(tmp_path / "other", Config(), None, network)
    run = open_run(tmp_path / "other")
    assert run.network == network
    with pytest.raises(UserError, match=r"other: its network \(plain U-Net\) is not flowseg's"):
        Trained.open(run)


def test_a_name_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other, config = Config(name="xy"), Config(name="{x},!")
    create_run(Path("runs/xy-1"), other, None)
    begun = create_run(Path("runs/{x},!-1"), config, None)
    assert choose_run(config, None, "auto", None).path == begun.path
    assert find_interrupted(Config(name="x[yz]")) is None and find_interrupted(Config(name="x*")) is None
    begun.path.rename("runs/x[1]-1")
    write_text(Path("runs/x[1]-1/config.json"), (Path("runs/xy-1/config.json").read_text()).replace("xy", "x[1]"))
    found = find_interrupted(Config(name="x[1]"))
    assert found is not None and found.path == Path("runs/x[1]-1")


def test_what_a_killed_process_left_does_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run" / ".part-x").mkdir(parents=True)
    (tmp_path / "run" / ".part-x" / "config.json").write_text("{")
    run = create_run(tmp_path / "run", Config(), None)
    assert [path.name for path in run.path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["n" * 256, "a/" + "n" * 256])
def test_a_name_that_is_too_long_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be made (File name too long)" in refusal(lambda: create_run(tmp_path / name, Config(), None))


def test_a_config_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": ' + "[" * 20_000 + "]" * 20_000 + "}")
    assert "is not a run's config (ValueError: nested too deeply)" in refusal(lambda: open_run(tmp_path))

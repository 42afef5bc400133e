"""Where the cache is, with and without a home folder."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest
from refusals import refusal

from flowseg import cache
from flowseg.cache import cache_folder, expanded, hub_cache
from flowseg.commands.startup import set_up_jax


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No home folder is known, as for a number without a name in a container; returns the folder that stands in."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "FLOWSEG_CACHE", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", "")  # so that what is set here goes with the test
    monkeypatch.delenv("MPLCONFIGDIR")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache._temporary.cache_clear()
    return tmp_path / f"flowseg-{os.getuid()}"


def test_without_a_home_the_cache_is_a_folder_of_ones_own_and_that_is_said_once(
    homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache_folder() == cache_folder() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700
    assert hub_cache() == homeless / "hub"
    set_up_jax()
    assert os.environ["MPLCONFIGDIR"] == str(homeless / "matplotlib")
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert f"no home folder is known; the cache is {homeless}, and FLOWSEG_CACHE names another" in said.err


@pytest.mark.parametrize("theirs", ["link", "open to others"])
def test_a_cache_that_others_can_write_is_refused(homeless: Path, tmp_path: Path, theirs: str) -> None:
    """Compiled programs in it are run."""
    (tmp_path / "other").mkdir()
    if theirs == "link":
        homeless.symlink_to(tmp_path / "other")
    else:
        homeless.mkdir()
        homeless.chmod(0o777)
    assert f"{homeless}: is meant for the cache" in refusal(cache_folder)


def test_a_home_that_is_not_known_cannot_be_meant(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWSEG_CACHE", "~/cache")
    assert "FLOWSEG_CACHE = ~/cache: the home folder is not known" in refusal(cache_folder)
    assert "--model = ~nobody-here/m: the home folder" in refusal(lambda: expanded("~nobody-here/m", "--model"))


def test_with_a_home_the_hub_keeps_its_own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FLOWSEG_CACHE")
    assert cache_folder() == tmp_path / ".cache" / "flowseg"
    assert hub_cache() is None

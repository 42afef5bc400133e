"""What is installed: the wheel and the source archive hold all that the program needs, and it starts from them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
TOP = ("flowseg", "configs", "tests", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def build(kind: str, source: Path, out: Path) -> Path:
    """Builds a wheel, a source archive or an editable wheel as pip does, and returns its file."""
    out.mkdir()
    call = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=source, capture_output=True, text=True, check=True)
    return next(out.iterdir())


def python(folder: Path, *arguments: str, path: Path | None = None) -> str:
    """Returns what a new Python in `folder` prints, which looks for flowseg in `path` first."""
    command, environment = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def files(folder: Path) -> set[str]:
    """Returns the files in a folder, without what Python compiles."""
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone called flowseg; building writes into its source folder."""
    folder = tmp_path_factory.mktemp("beside") / "flowseg"
    folder.mkdir()
    for name in TOP:
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source archive, unpacked."""
    place = tmp_path_factory.mktemp("built")
    with tarfile.open(build("sdist", clone, place / "sdist")) as archive:
        archive.extractall(place / "source", filter="data")
    (source,) = (place / "source").iterdir()
    assert not (source / "tests").exists()
    with zipfile.ZipFile(build("wheel", source, place / "wheel")) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def test_the_wheel_holds_the_package_the_configs_and_the_licence(wheel: Path) -> None:
    expected = files(REPO / "flowseg") | {f"configs/{name}" for name in files(REPO / "configs")}
    assert files(wheel / "flowseg") == expected
    (about,) = wheel.glob("flowseg-*.dist-info")
    assert (about / "licenses" / "LICENSE").read_text() == (REPO / "LICENSE").read_text()
    assert {path.name for path in wheel.iterdir()} == {"flowseg", about.name}


def test_the_program_starts_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    said = python(tmp_path, "-m", "flowseg", "--version", path=wheel)
    (about,) = wheel.glob("flowseg-*.dist-info")
    version = about.name.removeprefix("flowseg-").removesuffix(".dist-info")
    assert re.fullmatch(rf"flowseg {re.escape(version)} \(JAX [\d.]+\w*, Python [\d.]+\w*\)\n", said)
    shipped = "from flowseg.commands.parsing import find_config; print(find_config('vlm_film'))"
    assert python(tmp_path, "-c", shipped, path=wheel) == f"{wheel}/flowseg/configs/vlm_film.py\n"
    counted = python(tmp_path, "-m", "flowseg", "params", "vlm_film", "--json", path=wheel)
    assert json.loads(counted)["total"] == 11_649_729
    opened = (
        "from pathlib import Path; from flowseg.runs.folder import open_run; print(open_run(Path('phantoms')).path)"
    )
    assert python(tmp_path, "-c", opened, path=wheel) == f"{wheel}/flowseg/pretrained/phantoms\n"
    assert list(tmp_path.iterdir()) == []


def test_an_editable_install_is_found_from_the_folder_beside_the_clone(clone: Path, tmp_path: Path) -> None:
    """There the clone is a folder called flowseg as well, which Python takes for a package if it finds no better."""
    installed = tmp_path / "installed"
    with zipfile.ZipFile(build("editable", clone, tmp_path / "wheel")) as archive:
        archive.extractall(installed)
    assert not list(installed.rglob("vlm_film.py"))
    # Without the packages of this environment (-S), where flowseg may be installed too.
    found = f"import site; site.addsitedir({str(installed)!r}); import flowseg; print(flowseg.__file__)"
    assert python(clone.parent, "-S", "-c", found) == f"{clone}/flowseg/__init__.py\n"

"""The examples of docs/python.md and docs/segment.ipynb, run as they stand."""

import ast
import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from commands import REPO, first, trained_run
from dicom_files import write_dicom
from PIL import Image

import flowseg
from flowseg.data.image_files import content_hash, decode
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.embeddings.store import write_store

PAGE, NOTEBOOK = REPO / "docs" / "python.md", REPO / "docs" / "segment.ipynb"


@pytest.fixture
def place(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs that the examples name."""
    monkeypatch.chdir(tmp_path)
    trained_run(tmp_path / "runs" / "vlm_film", tiny_data, "gaussian")
    for fold in (1, 2):
        trained_run(tmp_path / "runs" / "folds" / "vlm_film" / f"fold-{fold}", tiny_data, fold=f"{fold}/2")
    return tmp_path


@pytest.fixture
def agg() -> Iterator[None]:
    """Plots are drawn without a screen."""
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    matplotlib.use(backend)


def test_the_page_s_examples_run(place: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = decode(first(tiny_data, "image", "test"))
    Image.fromarray(image).save("new.png")
    write_dicom(place / "cine.dcm", np.stack([image, image[::-1]]))
    write_store(Path("qwen.safetensors"), IMAGE_STATS, ["new"], [content_hash(image)], np.ones((1, 2048), np.float32))
    names: dict[str, object] = {"image": image, "fov": np.ones(image.shape, bool)}
    uncertain = []
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        uncertain.append(names["found"].uncertainty is not None)  # type: ignore[attr-defined]
    assert uncertain[0] is False and uncertain[-1] is True
    assert sorted(names["masks"]) == ["cine_frame001", "cine_frame002", "new"]  # type: ignore[call-overload]
    assert capsys.readouterr().out.endswith("eval.steps = 0: must be at least 1\n")


def test_the_page_names_all_that_is_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = {f"Prediction.{field.name}" for field in fields(flowseg.Prediction)}
    shown |= {f"Model.{name}" for name in ("read", "segment", "rule", "config")} | {
        "flowseg.load",
        "flowseg.UserError",
    }
    assert {name for name in shown if not re.search(rf"^\| `{re.escape(name)}\b", text, re.MULTILINE)} == set()


def result(source: str, names: dict[str, object]) -> str:
    """Runs a cell, and returns what it prints and what its last line is worth, as a notebook shows them."""
    tree, shown = ast.parse(source, str(NOTEBOOK)), io.StringIO()
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(shown):
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        value = None if last is None else eval(compile(last, str(NOTEBOOK), "eval"), names)
    return shown.getvalue() + ("" if value is None else repr(value))


def stored(cell: dict[str, Any]) -> str:
    """Returns the text that a notebook holds as the result of a cell."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", []) for output in cell["outputs"]]
    return "".join("".join(text) for text in texts)


def test_the_notebook_shows_what_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agg: None) -> None:
    """In an empty folder. Numbers may differ as between machines."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    number = r"\d+(?:\.\d+)?"
    compared = 0
    cells = [c for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        found, text = result("".join(cell["source"]), names), stored(cell)
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            assert len(plt.get_fignums()) == 1
            plt.close("all")
        else:
            assert re.sub(number, "0", found).split() == re.sub(number, "0", text).split()
            values = [[float(value) for value in re.findall(number, shown)] for shown in (found, text)]
            np.testing.assert_allclose(*values, rtol=0.03, atol=0.011)
            compared += bool(text)
    assert compared == 4 and not plt.get_fignums() and list(tmp_path.iterdir()) == []
    assert NOTEBOOK.stat().st_size < 300_000

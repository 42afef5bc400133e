"""The examples of docs/python.md and docs/segment.ipynb, run as they stand."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

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
def place(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the run that the examples name."""
    monkeypatch.chdir(tmp_path)
    trained_run(tmp_path / "runs" / "example", tiny_data, "gaussian")
    (tmp_path / "runs" / "vlm_film").symlink_to("example")
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield tmp_path
    matplotlib.use(backend)


def test_the_page_s_examples_run(place: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = decode(first(tiny_data, "image", "test"))
    Image.fromarray(image).save("new.png")
    write_dicom(place / "cine.dcm", np.stack([image, image[::-1]]))
    write_store(Path("qwen.safetensors"), IMAGE_STATS, ["new"], [content_hash(image)], np.ones((1, 2048), np.float32))
    names: dict[str, object] = {"image": image}
    uncertain = []
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        uncertain.append(names["found"].uncertainty is not None)  # type: ignore[attr-defined]
    assert uncertain[0] is False and uncertain[-1] is True
    assert sorted(names["masks"]) == [1, 2]  # type: ignore[call-overload]
    assert capsys.readouterr().out.endswith("eval.steps = 0: must be at least 1\n")


def test_the_page_names_all_that_is_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = {f"Prediction.{field.name}" for field in fields(flowseg.Prediction)}
    shown |= {f"Model.{name}" for name in ("segment", "rule", "config")} | {"flowseg.load", "flowseg.UserError"}
    assert {name for name in shown if not re.search(rf"^\| `{re.escape(name)}\b", text, re.MULTILINE)} == set()


def test_the_notebook_runs(place: Path) -> None:
    import matplotlib.pyplot as plt

    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert len(plt.get_fignums()) == 1
    plt.close("all")

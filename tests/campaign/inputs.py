"""Mutated inputs: every reader of flowseg gets files that were right and have been changed, thousands in a minute.

The readers are called in a process of their own, with limits on its time and memory. The kind `commands` gives such
files to whole commands.
"""

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowseg.data.image_files import read_fov, read_image, read_label
from flowseg.data.inputs import read_inputs
from flowseg.datasets.build import Drawing, import_set
from flowseg.datasets.pixels import read_mask, read_pixels
from flowseg.datasets.source import open_source
from flowseg.embeddings.info import compare_pairs, measure_spread
from flowseg.embeddings.store import EmbeddingStore
from flowseg.errors import UserError
from flowseg.interop.checkpoint_files import read_ckpt
from flowseg.reports.compare.csv_log import read_csv_log
from flowseg.reports.compare.run_log import read_run_log
from flowseg.reports.compare.scores import read_scores
from flowseg.runs.exported import read_weights
from flowseg.runs.folder import open_run
from flowseg.runs.provenance import read_starts
from flowseg.runs.tuning import kept_rule
from tests.campaign import samples
from tests.campaign.bench import Bench
from tests.campaign.case import Case
from tests.campaign.mutate import mutated


@dataclass(frozen=True)
class Reader:
    """A function of flowseg that reads files which others may have made."""

    read: Callable[[Path], None]
    """Reads a file, and asserts what must hold of every result; a UserError is right too."""
    samples: Callable[[Path], None] | str
    """Writes files that are read without an error, or names one of the bench."""
    beside: str = ""
    """A folder of the bench whose files must lie beside the changed one."""


def _image(path: Path) -> None:
    (item,) = read_inputs([path])
    image, content = read_image(path)
    assert image.ndim == 2 and image.dtype == np.float32 and content == item.content
    assert np.isfinite(image).all() and image.min() == -1 and image.max() <= 1.0001


def _label(path: Path) -> None:
    assert read_label(path).dtype == bool
    assert read_fov(path).any()


def _pixels(path: Path) -> None:
    with open_source(path.parent) as files:
        for file in files:
            assert read_pixels(file).pixels.dtype in (np.uint8, np.uint16)
            assert read_mask(file).dtype == bool


def _dicom(path: Path) -> None:
    for item in read_inputs([path]):
        assert np.isfinite(item.image).all() and item.image.min() == -1 and item.image.max() <= 1.0001


def _download(path: Path) -> None:
    out = path.parent / "out"
    try:
        import_set(path.name.split(".")[0], path, out, Drawing({}, 0, None))
        assert (out / "dataset.json").is_file()
    except UserError:
        assert not out.exists()
        raise


def _store(path: Path) -> None:
    store = EmbeddingStore(path)
    vectors = store.read(range(len(store)))
    assert len(store.keys) == len(store.hashes) == len(vectors)
    assert np.isfinite(vectors).all(), "vectors that are not finite"
    measure_spread(store)
    compare_pairs(store)


def _config(path: Path) -> None:
    open_run(path.parent)


def _exported(path: Path) -> None:
    run = open_run(path.parent)
    if run.exported is not None:  # else it is taken for a run, which has no checkpoint
        read_weights(run.path, run.exported, run.config)


def _metrics(path: Path) -> None:
    read_run_log(open_run(path.parent), "run")


def _scores(path: Path) -> None:
    read_scores(open_run(path.parents[2]))


def _threshold(path: Path) -> None:
    run = open_run(path.parent)
    found = kept_rule(run.path, run.config.eval, run.exported.step if run.exported else 0)
    assert found is None or 0 < found.threshold < 1


def _starts(path: Path) -> None:
    read_starts(path.parent)


def _checkpoint(path: Path) -> None:
    read_ckpt(path)


def _log(path: Path) -> None:
    read_csv_log(path, "log")


READERS: dict[str, Reader] = {
    "image": Reader(_image, samples.images),
    "label": Reader(_label, samples.labels),
    "pixels": Reader(_pixels, samples.images),
    "dicom": Reader(_dicom, samples.dicoms),
    "download": Reader(_download, samples.downloads),
    "store": Reader(_store, "store"),
    "config": Reader(_config, "run/config.json"),
    "exported config": Reader(_exported, "exported/config.json", "exported"),
    "weights": Reader(_exported, "exported/model.safetensors", "exported"),
    "threshold": Reader(_threshold, "exported/threshold.json", "exported"),
    "metrics": Reader(_metrics, "run/metrics.jsonl", "run"),
    "starts": Reader(_starts, "run/starts.jsonl"),
    "scores": Reader(_scores, "run/eval/test/per_image.csv", "run"),
    "about scores": Reader(_scores, "run/eval/test/metrics.json", "run"),
    "log": Reader(_log, samples.logs),
}
if importlib.util.find_spec("torch"):
    READERS["checkpoint"] = Reader(_checkpoint, samples.checkpoints)


def make_samples(bench: Bench) -> None:
    """Writes the readers' files into the bench, and checks that they are read."""
    for name, reader in READERS.items():
        folder = bench.samples / name
        folder.mkdir(parents=True)
        if callable(reader.samples):
            reader.samples(folder)
        else:
            source = bench.root / reader.samples
            shutil.copy(source, folder / (source.name if source.suffix else f"{source.name}.safetensors"))


def case(at: Case) -> None:
    """The file is read, and what is read holds; or a UserError of one line says why not."""
    name = at.choose(list(READERS))
    reader = READERS[name]
    sample = at.choose(sorted((at.bench.samples / name).iterdir()))
    path = _placed(at, reader, sample)
    path.write_bytes(mutated(sample.read_bytes(), sample.suffix, at.rng))
    at.tried(f"{name}: {sample.name}")
    try:
        reader.read(path)
    except UserError as error:
        if "\n" in str(error) or not str(error):
            at.find("crash", f"refused in {len(str(error).splitlines())} lines: {error!r}")


def _placed(at: Case, reader: Reader, sample: Path) -> Path:
    """Returns where the changed file lies, with links to the files that belong beside it."""
    if not reader.beside:
        return at.folder / sample.name
    root = at.bench.root / reader.beside
    changed = Path(str(reader.samples)).relative_to(reader.beside)
    for depth in range(len(changed.parts)):
        here = at.folder / reader.beside / Path(*changed.parts[:depth])
        here.mkdir(parents=True)
        for other in (root / Path(*changed.parts[:depth])).iterdir():
            if other.name != changed.parts[depth]:
                (here / other.name).symlink_to(other)
    return at.folder / reader.beside / changed

"""`flowseg predict`: a trained run on new images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import EvalConfig
from flowseg.data.dataset import resample
from flowseg.data.dicom import is_dicom
from flowseg.data.folders import as_uint8
from flowseg.data.inputs import Input, read_inputs
from flowseg.errors import UserError, first_of
from flowseg.evaluation.overlays import overlay, save_png
from flowseg.files import write_text
from flowseg.progress import console, task
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Run
from flowseg.sampling.segment import Segmentation, segment
from flowseg.sampling.windows import Query, WindowSampler
from flowseg.training.experiment import check_encoder, elsewhere, embedding_source, threshold_of

SUMMARY = "prediction.json"
_KINDS = ("mask", "probability", "uncertainty", "overlay")


def predict_images(
    run: Run,
    paths: Sequence[Path],
    out: Path,
    *,
    settings: EvalConfig | None = None,
    frames: Sequence[int] | None = None,
    embeddings: str | None = None,
) -> None:
    """Segments images and writes NAME_mask.png, NAME_probability.png and NAME_overlay.png into `out`.

    With an ensemble also NAME_uncertainty.png. The pictures have the images' size. `prediction.json` says what made
    them and, with an ensemble, every image's expected error. Nothing is written before every image has been read; then
    each image is finished before the next, and each file is whole or absent.

    Args:
        paths: image files and folders of them (flowseg.data.inputs).
        settings: how to sample; None: as the run's config says.
        frames: which frames of each file, counted from 1; None: all.
        embeddings: a store that holds the images' embeddings; None: the run's own, or image-stats.

    Raises:
        UserError: an image that cannot be read, two images of one name, an embedding that is missing.
    """
    items = read_inputs(paths, frames)
    _check_out(out, paths, items)
    queries = _queries(run, paths, items, embeddings)
    checkpoints = Checkpoints(run.path)
    params, meta = checkpoints.restore_best(run.config)
    checkpoints.close()
    sampler = WindowSampler(replace(run.config, eval=settings or run.config.eval))
    threshold = threshold_of(run, sampler, params, meta["step"])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another --out") from None
    turned = [item.path.name for item in items if item.orientation != 1]
    if turned:
        console.print(f"NOTE: EXIF orientation not applied, outputs lie as the pixels are stored: {first_of(turned)}")
    sizes = [(item.image.shape[0], item.image.shape[1]) for item in items]
    rows = []
    with task("prediction", len(items)) as advance:
        for item, found in zip(items, segment(sampler, params, queries, sizes), strict=True):
            _write(out, item, found, threshold)
            expected = found.expected_error(threshold)
            rows.append({"name": item.name, "file": str(item.path), "frame": item.frame, "expected_error": expected})
            advance()
    summary: dict[str, Any] = {
        "run": str(run.path),
        "step": meta["step"],
        "eval": asdict(sampler.config.eval),
        "threshold": threshold,
        "images": rows,
    }
    write_text(out / SUMMARY, json.dumps(summary, indent=2) + "\n")
    uncertainties = ", uncertainties" if sampler.config.eval.ensemble > 1 else ""
    console.print(f"{len(items)} masks, probabilities{uncertainties} and overlays: {out}")


def _check_out(out: Path, paths: Sequence[Path], items: Sequence[Input]) -> None:
    """Refuses to write where images lie that would be overwritten, or be taken for images the next time."""
    if out.resolve() in (path.resolve() for path in paths if path.is_dir()):
        raise UserError(f"{out}: is the folder of the images; choose another --out")
    sources = {item.path.resolve() for item in items}
    for item in items:
        for kind in _KINDS:
            file = out / f"{item.name}_{kind}.png"
            if file.resolve() in sources:
                raise UserError(f"{file}: is one of the images and would be overwritten; choose another --out")


def _queries(run: Run, paths: Sequence[Path], items: Sequence[Input], embeddings: str | None) -> list[Query]:
    """What the sampler is asked: the images at working size, with noise and embedding of their own."""
    config = elsewhere(run.config, None, embeddings)
    source = embedding_source(config)
    check_encoder(run, source.encoder if source is not None else None)
    vectors = None
    if source is not None:
        folder = str(paths[0] if paths[0].is_dir() else paths[0].parent)
        names, contents = [item.name for item in items], [item.content for item in items]
        try:
            vectors = source.of_images(names, [item.image for item in items], contents, folder)
        except UserError as error:
            if not any(is_dicom(item.path) for item in items):
                raise
            raise UserError(f"{error} (it reads no DICOM: give it the frames as PNG of the same values)") from None
    return [
        Query(resample(item.image, config.data.max_side), item.content, None if vectors is None else vectors[i])
        for i, item in enumerate(items)
    ]


def _write(out: Path, item: Input, found: Segmentation, threshold: float) -> None:
    mask = found.probability > threshold
    pictures = {
        "mask": mask.astype(np.uint8) * 255,
        "probability": _grey(found.probability),
        "overlay": overlay(as_uint8(item.image), mask),
    }
    if found.uncertainty is not None:
        pictures["uncertainty"] = _grey(found.uncertainty)
    for kind, picture in pictures.items():
        save_png(out / f"{item.name}_{kind}.png", picture)


def _grey(values: np.ndarray) -> np.ndarray:
    """[0, 1] as 8-bit grey."""
    return np.round(values * 255).astype(np.uint8)

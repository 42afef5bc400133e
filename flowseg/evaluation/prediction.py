"""`flowseg predict`: a trained run on new images."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import Config, EvalConfig
from flowseg.data.dataset import NetworkInput, network_input
from flowseg.data.dicom import is_dicom
from flowseg.data.image_files import as_uint8
from flowseg.data.inputs import Input, read_fovs, read_inputs
from flowseg.errors import UserError, counted, first_of
from flowseg.evaluation.arrays import Mask
from flowseg.evaluation.finished import Finished, input_digest
from flowseg.evaluation.overlays import grey, overlay, save_png
from flowseg.evaluation.score import check_finite
from flowseg.evaluation.uncertainty import expected_error
from flowseg.progress import console, task
from flowseg.runs.ensemble import common_rule, identified, open_together
from flowseg.runs.flat import digest, flatten
from flowseg.runs.folder import Run
from flowseg.runs.prepare import embedding_source_for, with_sources
from flowseg.sampling.segment import Segmentation, pooled, segment

_LONGEST_NAME = 255  # bytes, on Linux's file systems
_KINDS = ("mask", "probability", "uncertainty", "overlay")


def predict_images(
    runs: Sequence[Run],
    paths: Sequence[Path],
    out: Path,
    *,
    settings: EvalConfig | None = None,
    frames: Sequence[int] | None = None,
    embeddings: str | None = None,
    fov: Path | None = None,
    resume: bool = False,
) -> None:
    """Segments images and writes NAME_mask.png, NAME_probability.png and NAME_overlay.png into `out`.

    With an ensemble it also writes NAME_uncertainty.png. The pictures have the images' size. `prediction.json` records
    the run, the settings and every image's expected error. Nothing is written before every image has been read; then
    each image is finished before the next, and each file is whole or absent (flowseg.evaluation.finished).

    Args:
        runs: one, or several of one config, whose probabilities are averaged (flowseg.runs.ensemble).
        paths: image files and folders of them (flowseg.data.inputs).
        settings: how to sample; None: as the run's config says.
        frames: which frames of each file, counted from 1; None: all.
        embeddings: a store that holds the images' embeddings; None: the run's own, or image-stats.
        fov: a folder with the images' fields of view, outside which nothing is predicted; None: they have none.
        resume: keeps the images that an earlier call has finished in `out` with the same parameters and settings.

    Raises:
        UserError: an image that cannot be read, two images of one name, an embedding or a field of view that is
            missing; with `resume`, outputs in `out` that were made otherwise.
    """
    run = runs[0]
    items = read_inputs(paths, frames, run.config.data.channel)
    fovs: Sequence[Mask | None] = read_fovs(fov, items) if fov is not None else [None] * len(items)
    _check_out(out, paths, items)
    images = network_inputs(run, with_sources(run.config, None, embeddings), paths, items)
    members = open_together(runs, settings)
    config, rule = members[0].config, common_rule(members)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another --out") from None
    turned = [item.path.name for item in items if item.orientation != 1]
    if turned:
        note = f"NOTE: EXIF orientation is not applied; outputs lie as the pixels are stored: {first_of(turned)}"
        console.print(note)
    several = len(members) * config.eval.ensemble > 1
    how = {"weights": digest(flatten([one.params for one in members])), "eval": asdict(config.eval), **asdict(rule)}
    pairs = zip(items, images, fovs, strict=True)
    inputs = {item.name: input_digest(item, given, inside) for item, given, inside in pairs}
    outputs = {item.name: _outputs(out, item, several) for item in items}
    with Finished(out, how, inputs, outputs, resume) as finished:
        kept = len(finished.rows)
        left = [i for i, item in enumerate(items) if item.name not in finished.rows]
        waiting = [images[i] for i in left]
        with task("prediction", len(items), kept) as advance:
            segmentations = pooled([segment(member.sampler, member.params, waiting) for member in members])
            for i, whole in zip(left, segmentations, strict=True):
                item, inside = items[i], fovs[i]
                found = whole.inside(inside)
                check_finite(item.name, found.probability)
                mask = rule.mask(found.probability, inside)
                finished.begin()
                _write(outputs[item.name], item, found, mask)
                row = {"name": item.name, "file": str(item.path), "frame": item.frame}
                expected = expected_error(found.probability, mask)
                finished.add({**row, "expected_error": expected, "input": inputs[item.name]})
                advance()
        # Where a file lies is not what its outputs depend on: a kept image may have been moved.
        rows = [{**finished.rows[item.name], "file": str(item.path), "frame": item.frame} for item in items]
        fov_folder = str(fov) if fov is not None else None
        summary: dict[str, Any] = {**identified(members), **how, "fov": fov_folder, "images": rows}
        finished.close(summary)
    if len(items) == 1:
        kinds = f"mask, probability{', uncertainty' if several else ''} and overlay"
    else:
        kinds = f"masks, probabilities{', uncertainties' if several else ''} and overlays"
    before = f" ({kept} made before)" if kept else ""
    console.print(f"{kinds} of {counted(len(items), 'image')}{before}: {out}")


def _check_out(out: Path, paths: Sequence[Path], items: Sequence[Input]) -> None:
    """Raises a UserError if outputs would overwrite images, or be taken for images the next time."""
    if out.resolve() in (path.resolve() for path in paths if path.is_dir()):
        raise UserError(f"{out}: is the folder of the images; choose another --out")
    sources = {item.path.resolve() for item in items}
    for item in items:
        for kind in _KINDS:
            file = out / f"{item.name}_{kind}.png"
            if file.resolve() in sources:
                raise UserError(f"{file}: is one of the images and would be overwritten; choose another --out")
            if len(os.fsencode(file.name)) > _LONGEST_NAME:
                raise UserError(f"{item.path}: its name is too long for those of its outputs; shorten it")


def network_inputs(run: Run, config: Config, paths: Sequence[Path], items: Sequence[Input]) -> list[NetworkInput]:
    """Returns the images at working size, each with its embedding where the network takes one.

    `config` is the run's, with the embedding store to use; `paths` are what the user named, for messages.
    """
    source = embedding_source_for(run, config)
    vectors: Sequence[np.ndarray | None] = [None] * len(items)
    if source is not None:
        folder = str(paths[0] if paths[0].is_dir() else paths[0].parent)
        names, contents = [item.name for item in items], [item.content for item in items]
        try:
            vectors = list(source.of_images(names, [item.luminance for item in items], contents, folder))
        except UserError as error:
            if not any(is_dicom(item.path) for item in items):
                raise
            raise UserError(
                f"{error} (it reads no DICOM: give it the frames as files of the same values, see docs/datasets.md)"
            ) from None
    return [
        network_input(item.name, item.content, item.image, vector, config.data.max_side)
        for item, vector in zip(items, vectors, strict=True)
    ]


def _outputs(out: Path, item: Input, several: bool) -> dict[str, Path]:
    """Returns the files of an image's outputs by kind; `several`: there are several samples, hence an uncertainty."""
    kinds = [kind for kind in _KINDS if several or kind != "uncertainty"]
    return {kind: out / f"{item.name}_{kind}.png" for kind in kinds}


def _write(files: Mapping[str, Path], item: Input, found: Segmentation, mask: Mask) -> None:
    image = as_uint8(item.image)
    pictures = {"mask": grey(mask), "probability": grey(found.probability), "overlay": overlay(image, mask)}
    if found.uncertainty is not None:
        pictures["uncertainty"] = grey(found.uncertainty)
    for kind, picture in pictures.items():
        save_png(files[kind], picture)

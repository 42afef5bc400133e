"""`flowseg predict`: a trained run on new images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flowseg.data.dataset import resample
from flowseg.data.folders import as_uint8, read_image
from flowseg.errors import UserError
from flowseg.evaluation.overlays import overlay, save_png
from flowseg.evaluation.predict import segment
from flowseg.evaluation.windows import Query, WindowSampler
from flowseg.experiment import check_encoder, elsewhere, embedding_source
from flowseg.progress import console, task
from flowseg.runs import Run
from flowseg.training.checkpoints import Checkpoints


def predict_images(run: Run, paths: Sequence[Path], out: Path, *, embeddings: str | None = None) -> None:
    """Segments images and writes STEM_mask.png, STEM_probability.png and STEM_overlay.png into `out`.

    The pictures have the images' size. Each image is finished before the next begins to be written, and each file is
    whole or absent.

    Raises:
        UserError: an image that cannot be read, two images of one stem, an embedding that is missing.
    """
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UserError(f"{twice[0]}: several images have this stem; predict them into different --out folders")
    config = elsewhere(run.config, None, embeddings)
    source = embedding_source(config)
    check_encoder(run, source.encoder if source is not None else None)
    read = [read_image(path) for path in paths]
    hashes = [content for _, content in read]
    vectors = None
    if source is not None:
        vectors = source.vectors([str(p) for p in paths], list(paths), hashes, str(paths[0].parent))
    queries = [
        Query(resample(image, config.data.max_side), content, None if vectors is None else vectors[i])
        for i, (image, content) in enumerate(read)
    ]
    checkpoints = Checkpoints(run.path)
    params, _ = checkpoints.restore_best(run.config)
    checkpoints.close()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another --out") from None
    sizes = [(image.shape[0], image.shape[1]) for image, _ in read]
    with task("prediction", len(paths)) as advance:
        for path, (image, _), probability in zip(
            paths, read, segment(WindowSampler(run.config), params, queries, sizes), strict=True
        ):
            mask = probability > 0.5
            save_png(out / f"{path.stem}_mask.png", mask.astype(np.uint8) * 255)
            save_png(out / f"{path.stem}_probability.png", np.round(probability * 255).astype(np.uint8))
            save_png(out / f"{path.stem}_overlay.png", overlay(as_uint8(image), mask, None))
            advance()
    console.print(f"{len(paths)} masks, probabilities and overlays: {out}")

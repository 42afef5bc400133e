"""`flowseg predict --cluster`: many images in chunks, side by side on a Ray cluster."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowseg.cluster.connection import connected
from flowseg.cluster.folder import SharedFolder
from flowseg.cluster.pieces import Piece, run_pieces
from flowseg.data.inputs import fov_files, input_files, stem_of
from flowseg.errors import UserError, counted
from flowseg.evaluation.finished import HOW, JOURNAL, SUMMARY
from flowseg.files import naming, parse_json, write_text
from flowseg.progress import console
from flowseg.runs.folder import Run
from flowseg.runs.prepare import embedding_source_for, with_sources

if TYPE_CHECKING:
    from flowseg.commands.trained import Predict

TURNS = 4
"""Chunks for each one that runs at a time: a slow one, or one that is lost, then delays the end little."""
FEWEST, MOST = 32, 1000
"""Files of a chunk. A start takes as long as many images; a chunk's images are in memory together."""


def predict_on_cluster(asked: "Predict", run: Run, options: Sequence[str]) -> None:
    """Runs `flowseg predict` on chunks of the images, and brings what they have made together in --out.

    Each chunk has a folder of its own in OUT/.cluster until all are finished; the same command goes on there, if no
    file that it reads has changed.

    Args:
        asked: the options of the command.
        run: the run, or the first of several.
        options: those for each chunk, besides run, images and output folder.

    Raises:
        UserError: there is no such cluster, two images have one name, a field of view or the embeddings are missing,
            the output folder holds another prediction, or chunks have failed.
    """
    files, out = input_files(asked.images), asked.out
    _check(files, out)
    fovs = fov_files(asked.fov, files) if asked.fov is not None else []
    config = with_sources(run.config, None, asked.embeddings)
    store = config.embeddings.store if embedding_source_for(run, config) is not None else None
    assert asked.cluster is not None
    shared = SharedFolder.inside(out)
    with connected(asked.cluster) as cluster, shared.claimed():
        each = cluster.share(math.ceil(len(files) / FEWEST), asked.cpus_each, asked.gpus_each)
        cluster.check(shared)
        at_once = max(1, cluster.at_once(each))
        plan = shared.agree(
            {
                "command": ["predict", str(asked.run), *options],
                "images": _state(files),
                "fov": _state(fovs),
                "embeddings": _state([Path(store)] if store is not None else []),
                "_chunk": min(MOST, max(FEWEST, math.ceil(len(files) / (TURNS * at_once)))),
            }
        )
        starts = range(0, len(files), plan["_chunk"])
        chunks = {
            shared.path / f"chunk-{i:05d}": files[start : start + plan["_chunk"]] for i, start in enumerate(starts)
        }
        waiting = {folder: part for folder, part in chunks.items() if not (folder / SUMMARY).exists()}
        console.print(
            f"cluster {cluster.address}: {counted(len(files), 'file')} in {counted(len(chunks), 'chunk')}, "
            f"{len(chunks) - len(waiting)} of them finished; {at_once} at a time, each with {each}"
        )
        pieces = [
            Piece(
                folder.name,
                ["predict", str(asked.run), *map(str, part), "--out", str(folder), "--resume", *options],
                result=folder / SUMMARY,
            )
            for folder, part in waiting.items()
        ]
        run_pieces(cluster, shared, pieces, each, "chunks")
        bring_together(list(chunks), out)
        shared.remove()


def _check(files: Sequence[Path], out: Path) -> None:
    """Raises a UserError for what would only be found by a chunk, or not at all."""
    found: dict[str, Path] = {}
    for file in files:
        if not file.exists():
            raise UserError(f"{file}: no such file; give image files or folders of them")
        if (other := found.setdefault(stem_of(file), file)) is not file:
            raise UserError(
                f"{file}: its outputs would have the same name, {stem_of(file)}, as those of {other}; predict them "
                "into different --out folders"
            )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give --out a folder")
    if out.resolve() in {file.parent.resolve() for file in files}:
        raise UserError(f"{out}: is the folder of the images; choose another --out")
    if (out / SUMMARY).exists():
        raise UserError(f"{out}: holds a finished prediction; choose another --out, or delete its {SUMMARY}")
    if (out / JOURNAL).exists():
        raise UserError(
            f"{out}: holds an unfinished prediction without --cluster; go on with it by --resume without --cluster, "
            f"choose another --out, or delete its {JOURNAL}"
        )


def _state(files: Sequence[Path]) -> str:
    """Returns a digest of files' paths, sizes and times of change, which differs once a file has been replaced."""
    made = hashlib.blake2b(digest_size=16)
    for file in files:
        found = file.stat()
        made.update(f"{file}\0{found.st_size} {found.st_mtime_ns}\0".encode())
    return made.hexdigest()


def bring_together(chunks: Sequence[Path], out: Path) -> None:
    """Moves the outputs of all chunks into one folder, and writes one `prediction.json` for them.

    It may be called again after it was interrupted.

    Raises:
        UserError: the chunks were made in different ways, two have an image of one name, or outputs are missing.
    """
    summaries = [_read(folder) for folder in chunks]
    first, rows = summaries[0], [row for summary in summaries for row in summary["images"]]
    for folder, summary in zip(chunks, summaries, strict=True):
        for name in (*HOW, "run", "step"):
            if summary[name] != first[name]:
                raise UserError(
                    f"{folder}: was made otherwise than {chunks[0]} ({name} differs); delete one of them, and give "
                    "the same command again"
                )
    if twice := [name for name, count in Counter(row["name"] for row in rows).items() if count > 1]:
        raise UserError(f"{twice[0]}: two images have outputs of this name; predict them into different --out folders")
    for folder in chunks:
        for file in sorted(folder.iterdir()):
            if file.name != SUMMARY:
                with naming(out / file.name):
                    file.replace(out / file.name)
    for row in rows:
        if not (out / f"{row['name']}_mask.png").exists():
            raise UserError(f"{out}/{row['name']}_mask.png: is missing; delete {chunks[0].parent} and begin again")
    write_text(out / SUMMARY, json.dumps({**first, "images": rows}, indent=2) + "\n")
    console.print(f"{counted(len(rows), 'mask')} of {counted(len(chunks), 'chunk')}: {out}")


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = parse_json((folder / SUMMARY).read_bytes())
        if found.keys() >= {*HOW, "run", "step", "images"} and all(
            {"name", "file"} <= row.keys() for row in found["images"]
        ):
            return dict(found)
    except (ValueError, AttributeError, TypeError):
        pass
    raise UserError(f"{folder / SUMMARY}: is damaged; delete {folder}, and give the same command again")

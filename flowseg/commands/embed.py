"""`flowseg embed`: makes embedding stores from images, merges their shards, and describes a store."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from flowseg.bounds import Count, Natural
from flowseg.commands.parsing import parse
from flowseg.errors import UserError, first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowseg.embeddings.extract import Encoding
    from flowseg.embeddings.info import Pairs

SHUFFLED = "shuffled:"
# The options of each encoder, besides those of all.
OPTIONS: dict[str, tuple[str, ...]] = {
    "image-stats": (),
    "qwen2.5-vl": ("model", "features", "prompt", "batch"),
    "random": ("seed", "width"),
    "constant": ("seed", "width"),
    "shuffled:FILE": ("seed",),
}


@dataclass(frozen=True)
class Embed:
    """Make an embedding store of a data set."""

    data: tyro.conf.Positional[Path]
    """A data set (train, val, test) or a folder of images."""
    out: Path
    """The store's file. Finished vectors are kept in OUT.parts; after a stop, run the same command again."""
    encoder: str = "image-stats"
    """image-stats, qwen2.5-vl, or one of the controls random, constant and shuffled:FILE (each image gets another
    image's vector from the store FILE)."""
    model: str | None = None
    """qwen2.5-vl: the model's folder or its name in the hub's cache; default: Qwen/Qwen2.5-VL-3B-Instruct."""
    features: Literal["image", "prompt", "answers"] | None = None
    """qwen2.5-vl: image (default) is the mean of the vision tokens, prompt the last hidden state after a prompt,
    answers the probabilities of answers to fixed questions."""
    prompt: str | None = None
    """qwen2.5-vl with --features prompt: the prompt."""
    batch: Count | None = None
    """qwen2.5-vl: images per pass of the vision tower. With the default, 1, a vector is bit-identical whatever the
    other images are."""
    shard: str = "1/1"
    """i/n embeds only images i, i + n, ... of the list; flowseg embed merge joins the n stores."""
    skip_bad: bool = False
    """Skip images that cannot be read; they are listed at the end."""
    seed: Natural | None = None
    """random, constant and shuffled: seed of the random numbers; default: 0."""
    width: Count | None = None
    """random and constant: numbers per vector; default: 2048."""


@dataclass(frozen=True)
class EmbedMerge:
    """Merge the shards of a data set's embeddings into one store."""

    stores: tyro.conf.Positional[tuple[Path, ...]]
    """The files of all shards, in any order."""
    out: Path
    """The merged store's file."""
    skip_bad: bool = False
    """Accept that the images that the shards skipped are missing."""


@dataclass(frozen=True)
class EmbedInfo:
    """Describe an embedding store and warn if it cannot tell images apart."""

    store: tyro.conf.Positional[Path]
    """The store's file."""
    data: Path | None = None
    """A data set, to report which of its images the store holds."""


def _encoder_name(text: str) -> str:
    """Returns the key of OPTIONS for the value of --encoder."""
    name = "shuffled:FILE" if text.startswith(SHUFFLED) and text != SHUFFLED else text
    if name not in OPTIONS:
        raise UserError(f"--encoder {text}: choose one of {', '.join(OPTIONS)}")
    return name


def _check_options(parsed: Embed, name: str) -> None:
    """Raises a UserError for an option that the encoder would ignore."""
    for option in ("model", "features", "prompt", "batch", "seed", "width"):
        if getattr(parsed, option) is not None and option not in OPTIONS[name]:
            takers = [encoder for encoder, options in OPTIONS.items() if option in options]
            raise UserError(f"--{option}: {name} takes no such option, only {', '.join(takers)}; leave it out")
    if parsed.prompt is not None and parsed.features != "prompt":
        raise UserError("--prompt: only --features prompt uses it; add that or leave the prompt out")


def _encoding(parsed: Embed, name: str, files: "Mapping[str, Path]") -> "Encoding":
    """Returns the encoder that the options ask for."""
    seed = parsed.seed or 0
    if name == "qwen2.5-vl":
        from flowseg.embeddings import qwen

        return qwen.Qwen(
            parsed.model or qwen.MODEL, parsed.features or "image", parsed.prompt or qwen.PROMPT, parsed.batch or 1
        )
    from flowseg.embeddings import controls
    from flowseg.embeddings.source import ImageStats
    from flowseg.embeddings.store import EmbeddingStore

    if name == "random":
        return controls.Random(seed, parsed.width or controls.WIDTH)
    if name == "constant":
        return controls.Constant(seed, parsed.width or controls.WIDTH)
    if name == "shuffled:FILE":
        store = EmbeddingStore(Path(parsed.encoder.removeprefix(SHUFFLED)))
        return controls.Shuffled(store, files, seed, str(parsed.data), parsed.skip_bad)
    return ImageStats()


def embed(args: list[str]) -> None:
    """Runs `flowseg embed`."""
    from flowseg.embeddings.extract import check_writable, extract
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.shards import parse_shard, shard_of
    from flowseg.progress import Task, console
    from flowseg.training.interrupt import Interrupted, stop_on_signals

    parsed = parse(Embed, args, "embed")
    name = _encoder_name(parsed.encoder)
    _check_options(parsed, name)
    index, count = parse_shard(parsed.shard)
    files = find_images(parsed.data)
    shard = shard_of(files, index, count)
    check_writable(parsed.out)
    encoding = _encoding(parsed, name, files)

    shown: list[Task] = []

    def on_start(total: int, done: int) -> "Callable[[int], None]":
        shown.append(Task(encoding.encoder.name, total, done))
        return shown[0].advance

    try:
        with stop_on_signals() as request:
            made = extract(
                files, encoding, parsed.out, shard, skip_bad=parsed.skip_bad, on_start=on_start, check=request.check
            )
    except Interrupted:
        console.print(f"stopped; the same command continues from {parsed.out}.parts")
        raise
    finally:
        for task in shown:
            task.close()
    part = f", {shard}" if count > 1 else ""
    reused = f" ({made.reused} made before)" if made.reused else ""
    console.print(f"{made.images} vectors{reused} of {encoding.encoder}{part}: {parsed.out}")
    if made.skipped:
        console.print(f"{len(made.skipped)} images skipped:")
        for reason in made.skipped:
            console.print(f"  {reason}", markup=False)


def embed_merge(args: list[str]) -> None:
    """Runs `flowseg embed merge`."""
    from flowseg.embeddings.merge import merge
    from flowseg.progress import console

    parsed = parse(EmbedMerge, args, "embed merge")
    count, skipped = merge(parsed.stores, parsed.out, parsed.skip_bad)
    console.print(f"{count} vectors of {len(parsed.stores)} shards: {parsed.out}")
    if skipped:
        console.print(f"without {len(skipped)} skipped images: {', '.join(skipped)}", markup=False)


def embed_info(args: list[str]) -> None:
    """Runs `flowseg embed info`."""
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.info import compare_pairs, measure_coverage, measure_spread
    from flowseg.embeddings.store import EmbeddingStore
    from flowseg.progress import console

    parsed = parse(EmbedInfo, args, "embed info")
    store = EmbeddingStore(parsed.store)
    coverage = measure_coverage(store, find_images(parsed.data)) if parsed.data is not None else []
    if not len(store):
        raise UserError(f"{parsed.store}: holds no vectors; make it again")
    kind = {"F16": "float16", "F32": "float32"}.get(store.dtype, store.dtype)
    lines = [f"{store.encoder.name}: {len(store)} vectors of {store.encoder.width} numbers, {kind}"]
    lines += [f"  {name}: {value}" for name, value in sorted(store.encoder.settings.items())]
    if store.shard is not None:
        lines.append(f"  {store.shard} of a list of {store.shard.images} images, {len(store.shard.skipped)} skipped")
    for part in coverage:
        missing = f", not {first_of(part.missing)}" if part.missing else ""
        lines.append(f"{part.split or parsed.data}: holds {part.held} of {part.total} images{missing}")
    spread = measure_spread(store)
    low, middle, high = spread.norms
    lines.append(f"norms: smallest {low:.4g}, median {middle:.4g}, largest {high:.4g}")
    lines.append(f"spread (variance between images / squared norm of the mean vector): {spread.spread:.3g}")
    console.print("\n".join([*lines, *_pair_lines(compare_pairs(store))]), markup=False)
    if spread.useless:
        how = "are all the same" if spread.identical else f"hardly differ (spread {spread.spread:.1e})"
        console.print(f"WARNING: the vectors {how}; a condition that does not tell images apart is useless")


def _pair_lines(pairs: "Pairs") -> list[str]:
    """Returns the histogram of cosines and the pairs of images that are nearly the same, as lines of text."""
    from flowseg.embeddings.info import COSINE_EDGES, DUPLICATE_COSINE

    of = "all" if pairs.compared == pairs.of else f"a sample of {pairs.compared} of the"
    lines = [f"cosines between {of} {pairs.of} images, pairs:"]
    for (low, high), count in zip(pairwise(COSINE_EDGES), pairs.histogram, strict=True):
        lines.append(f"  {low:6g} to {high:<6g} {count:10,d}")
    lines.append(f"different images with a cosine above {DUPLICATE_COSINE}: {pairs.duplicates:,} pairs")
    lines += [f"  {one} and {other}: {cosine:.6f}" for one, other, cosine in pairs.named]
    if pairs.duplicates > len(pairs.named):
        lines.append(f"  and {pairs.duplicates - len(pairs.named):,} more")
    return lines

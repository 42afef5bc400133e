"""`flowseg embed`: makes embedding stores from images, merges their shards, and describes a store."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from flowseg.commands.on_cluster import OnCluster, as_options, check_cluster_options
from flowseg.commands.parsing import parse
from flowseg.embeddings.encoders import HELP, Options, chosen, make_encoder
from flowseg.errors import UserError, counted, first_of


@dataclass(frozen=True)
class Embed(OnCluster):
    """Make an embedding store of a data set."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """A data set (train, val, test) or a folder of images."""
    out: Path
    """The store's file. Finished vectors wait in OUT.parts: the same command goes on after a stop."""
    encoder: Annotated[str, tyro.conf.arg(help=HELP)] = "image-stats"
    encoders: tyro.conf.OmitArgPrefixes[Options] = field(default_factory=Options)
    shard: str = "1/1"
    """i/n embeds only images i, i + n, ... of the list; flowseg embed merge joins the n stores."""
    skip_bad: bool = False
    """Leave out images that cannot be read; they are listed at the end."""


@dataclass(frozen=True)
class EmbedMerge:
    """Merge the shards of a data set's embeddings into one store."""

    stores: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="STORE [STORE ...]", help_behavior_hint="(required)"),
    ]
    """The files of all shards, in any order."""
    out: Path
    """The merged store's file."""
    skip_bad: bool = False
    """Accept that the images that the shards skipped are missing."""


@dataclass(frozen=True)
class EmbedInfo:
    """Describe an embedding store and warn if it cannot tell images apart."""

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """The store's file."""
    data: Path | None = None
    """A data set, to report which of its images the store holds."""


def embed(args: list[str]) -> None:
    from flowseg.embeddings.extract import check_writable, extract
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.shards import parse_shard, shard_of
    from flowseg.progress import console
    from flowseg.training.interrupt import Interrupted, stop_on_signals

    parsed = parse(Embed, args, "embed")
    check_cluster_options(parsed)
    if parsed.cluster is not None:
        from flowseg.commands.embed_on_cluster import embed_on_cluster

        if parsed.shard != Embed.shard:
            raise UserError(f"--shard {parsed.shard}: with --cluster flowseg makes the shards; leave it out")
        chosen(parsed.encoder, parsed.encoders)  # a mistake shows before Ray starts
        options = ["--encoder", parsed.encoder, *as_options(parsed.encoders)]
        embed_on_cluster(parsed, parsed.data, parsed.out, parsed.skip_bad, options)
        return
    index, count = parse_shard(parsed.shard)
    files = find_images(parsed.data)
    shard = shard_of(files, index, count)
    check_writable(parsed.out)
    encoding = make_encoder(parsed.encoder, parsed.encoders, files, parsed.data, parsed.skip_bad)
    try:
        with stop_on_signals("after the present batch of images; its vectors are kept") as request:
            made = extract(files, encoding, parsed.out, shard, skip_bad=parsed.skip_bad, check=request.check)
    except Interrupted:
        console.print(f"stopped; the same command continues from {parsed.out}.parts")
        raise
    part = f", {shard}" if count > 1 else ""
    reused = f" ({made.reused} made before)" if made.reused else ""
    console.print(f"{counted(made.images, 'vector')}{reused} of {encoding.encoder}{part}: {parsed.out}")
    if made.skipped:
        console.print(f"{counted(len(made.skipped), 'image')} skipped:")
        for reason in made.skipped:
            console.print(f"  {reason}")


def embed_merge(args: list[str]) -> None:
    from flowseg.embeddings.merge import merge
    from flowseg.progress import console

    parsed = parse(EmbedMerge, args, "embed merge")
    count, skipped = merge(parsed.stores, parsed.out, parsed.skip_bad)
    console.print(f"{counted(count, 'vector')} of {counted(len(parsed.stores), 'shard')}: {parsed.out}")
    if skipped:
        console.print(f"without {counted(len(skipped), 'skipped image')}: {', '.join(skipped)}")


def embed_info(args: list[str]) -> None:
    from flowseg.embeddings.images import find_images
    from flowseg.embeddings.info import compare_pairs, measure_coverage, measure_spread
    from flowseg.embeddings.store import EmbeddingStore
    from flowseg.progress import console, warn

    parsed = parse(EmbedInfo, args, "embed info")
    store = EmbeddingStore(parsed.store)
    coverage = measure_coverage(store, find_images(parsed.data)) if parsed.data is not None else []
    if not len(store):
        raise UserError(f"{parsed.store}: holds no vectors; make it again")
    kind = {"F16": "float16", "F32": "float32"}.get(store.dtype, store.dtype)
    lines = [f"{store.encoder.name}: {counted(len(store), 'vector')} of {store.encoder.width} numbers, {kind}"]
    lines += [f"  {name}: {value}" for name, value in sorted(store.encoder.settings.items())]
    if store.shard is not None:
        lines.append(
            f"  {store.shard} of a list of {counted(store.shard.images, 'image')}, {len(store.shard.skipped)} skipped"
        )
    for part in coverage:
        missing = f", not {first_of(part.missing)}" if part.missing else ""
        lines.append(f"{part.split or parsed.data}: holds {part.held} of {part.total} images{missing}")
    # What the store says of itself is shown even if its vectors cannot be used.
    console.print("\n".join(lines))
    spread = measure_spread(store)
    low, middle, high = spread.norms
    lines = [f"norms: smallest {low:.4g}, median {middle:.4g}, largest {high:.4g}"]
    lines.append(f"spread (variance between images / squared norm of the mean vector): {spread.spread:.3g}")
    console.print("\n".join([*lines, *compare_pairs(store).lines()]))
    if spread.useless:
        how = "are all the same" if spread.identical else f"hardly differ (spread {spread.spread:.1e})"
        warn(f"the vectors {how}; a condition that does not tell images apart is useless")

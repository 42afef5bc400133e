"""`flowseg embed --cluster`: the shards of a data set, side by side on a Ray cluster."""

from collections.abc import Sequence
from pathlib import Path

from flowseg.cluster.connection import connected
from flowseg.cluster.folder import SharedFolder
from flowseg.cluster.pieces import Piece, run_pieces
from flowseg.commands.on_cluster import OnCluster
from flowseg.embeddings.extract import check_writable
from flowseg.embeddings.images import find_images
from flowseg.embeddings.merge import merge
from flowseg.embeddings.shards import shard_of
from flowseg.errors import counted
from flowseg.progress import console

FEWEST = 32
"""Images of a shard, at least: an encoder of gigabytes is loaded for each."""


def embed_on_cluster(asked: OnCluster, data: Path, out: Path, skip_bad: bool, options: Sequence[str]) -> None:
    """Embeds shards side by side, as many as the cluster has room for, and merges them into one store.

    With the default --batch the store is the one that a single process would write. Shards wait in OUT.cluster until
    all are finished; the same command goes on there, if the list of images has not changed.

    Args:
        asked: the cluster, and what each piece gets.
        data: the data set or folder of images.
        out: the store's file.
        skip_bad: whether images that cannot be read are left out.
        options: the options of the encoder.

    Raises:
        UserError: there is no such cluster, the images are others than those of the finished shards, or shards have
            failed.
    """
    files = find_images(data)
    check_writable(out)
    most = max(1, len(files) // FEWEST)
    assert asked.cluster is not None
    shared = SharedFolder.beside(out)
    with connected(asked.cluster) as cluster, shared.claimed():
        each = cluster.share(most, asked.cpus_each, asked.gpus_each)
        cluster.check(shared)
        options = [*options, *(["--skip-bad"] if skip_bad else [])]
        wanted = min(most, max(1, cluster.at_once(each)))
        plan = {
            "command": ["embed", str(data), *options],
            "images": shard_of(files, 1, 1).digest,
            "_shards": wanted,
        }
        count = shared.agree(plan)["_shards"]
        shards = {shared.path / f"{i}-of-{count}.safetensors": f"{i}/{count}" for i in range(1, count + 1)}
        waiting = {file: shard for file, shard in shards.items() if not file.exists()}
        console.print(
            f"cluster {cluster.address}: {counted(len(files), 'image')} in {counted(count, 'shard')}, "
            f"{count - len(waiting)} of them finished; each with {each}"
        )
        pieces = [
            Piece(file.stem, ["embed", str(data), *options, "--shard", shard, "--out", str(file)], result=file)
            for file, shard in waiting.items()
        ]
        run_pieces(cluster, shared, pieces, each, "shards")
        vectors, skipped = merge(list(shards), out, skip_bad)
        shared.remove()
    console.print(f"{counted(vectors, 'vector')} of {counted(count, 'shard')}: {out}")
    if skipped:
        console.print(f"without {counted(len(skipped), 'skipped image')}: {', '.join(skipped)}")

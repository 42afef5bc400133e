"""Programs whose traces are kept between starts.

JAX's compilation cache spares a second start the compiler, not the tracing: for the training step some five seconds
of Python. `jax.export` turns a trace into a file, and the program is compiled from that file's content whether it was
just made or read back, so both give the same numbers. CPUs only: kernels of other devices are custom calls that an
export must be told to let through, one by one.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.sharding import Sharding

from flowseg.progress import console

VARIABLE = "FLOWSEG_TRACES"
"""Names the folder of the kept traces (the command sets it, cli.set_up_jax); empty or absent: none are kept."""
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "diffrax", "numpy")
PACKAGE = Path(__file__).resolve().parent


@cache
def _software() -> str:
    """Digest of all that decides what a trace looks like besides its arguments: our sources, libraries, settings."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    digest.update(repr([sys.version_info[:3], *((name, version(name)) for name in LIBRARIES)]).encode())
    return digest.hexdigest()


def _key(identity: str, arguments: Any, shardings: Any) -> str:
    settings = sorted((name, repr(value)) for name, value in jax.config.values.items() if "cache" not in name)
    shapes = [(str(path), x.shape, str(x.dtype)) for path, x in jax.tree_util.tree_leaves_with_path(arguments)]
    about = (identity, shapes, str(shardings), len(jax.devices()), settings, _software())
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _read(path: Path) -> export.Exported | None:
    if not path.exists():
        return None
    try:
        return export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # What a damaged file raises is not documented.
        console.print(f"{path} cannot be read ({type(error).__name__}): the program is traced again", markup=False)
        return None


def _write(path: Path, exported: export.Exported) -> None:
    beside = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(exported.serialize())
        beside.replace(path)
    except OSError as error:
        # A home that is full or read-only is no reason not to train.
        console.print(
            f"{path.parent}: a trace cannot be kept there ({error.strerror}); name a folder that can be "
            f"written by {VARIABLE}, or leave it empty",
            markup=False,
        )


def program(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    result: Any,
    *,
    identity: str,
    donate: int = 0,
    in_shardings: Sequence[Sharding],
    out_shardings: Any,
) -> Callable[..., Any]:
    """`function` as a compiled program for arguments of these shapes.

    Args:
        function: pure and traceable; a closure only over what `identity` tells.
        arguments: pytrees of arrays (or anything with shape and dtype).
        result: any pytree with the structure of what it returns.
        identity: what decides the trace besides the arguments' shapes, flowseg's source and the libraries: two
            functions of one identity must be the same.
        donate: how many of the first arguments are donated.
        in_shardings: where each argument lies.
        out_shardings: where the result lies.
    """
    leaves = [jax.tree.flatten(argument) for argument in arguments]
    counts = [len(found) for found, _ in leaves]

    def flat(*values: jax.Array) -> list[jax.Array]:
        rest = list(values)
        parts = []
        for found, structure in leaves:
            parts.append(jax.tree.unflatten(structure, rest[: len(found)]))
            del rest[: len(found)]
        return jax.tree.leaves(function(*parts))

    flat_shardings = [s for s, count in zip(in_shardings, counts, strict=True) for _ in range(count)]
    donated = tuple(range(sum(counts[:donate])))
    folder = os.environ.get(VARIABLE)
    path = Path(folder) / f"{_key(identity, list(arguments), in_shardings)}.stablehlo" if folder else None
    exported = _read(path) if path else None
    if exported is None:
        traced = jax.jit(flat, donate_argnums=donated, in_shardings=flat_shardings, out_shardings=out_shardings)
        exported = export.export(traced)(*[leaf for found, _ in leaves for leaf in found])
        if path:
            _write(path, exported)
    called = jax.jit(exported.call, donate_argnums=donated, in_shardings=flat_shardings, out_shardings=out_shardings)
    structure = jax.tree.structure(result)

    def call(*arguments: Any) -> Any:
        return jax.tree.unflatten(structure, called(*jax.tree.leaves(arguments)))

    return call

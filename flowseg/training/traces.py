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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flax
import jax
from jax import export
from jax.sharding import Sharding

from flowseg.files import replaced_file
from flowseg.progress import console

VARIABLE = "FLOWSEG_TRACES"
"""Names the folder of the kept traces (the command sets it, cli.set_up_jax); empty or absent: none are kept."""
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "opt_einsum", "ml_dtypes", "jaxtyping")
PACKAGE = Path(__file__).resolve().parents[1]
_DIGEST_BYTES = 32


def _software() -> str:
    """Digest of the code that traces: our source files as they are now, Python, the libraries."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    digest.update(repr([sys.version_info[:3], *((name, version(name)) for name in LIBRARIES)]).encode())
    return digest.hexdigest()


# Taken now, not when a program is made: by then the files may be newer than what was imported.
SOFTWARE = _software()


def _settings() -> list[str]:
    """What JAX and Flax were told."""
    return [*sorted(f"{k}={v!r}" for k, v in jax.config.values.items() if "cache" not in k), repr(flax.config)]


def _read(path: Path) -> export.Exported | None:
    """The trace kept there; None without one, or, said, with a damaged one."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror
    else:
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        # JAX looks at little of what it deserialises: a changed byte may be another program, or a crash.
        if hashlib.sha256(payload).digest() == digest:
            return export.deserialize(bytearray(payload))
        reason = "damaged"
    console.print(f"{path} cannot be read ({reason}): the program is traced again", markup=False)
    return None


def _write(path: Path, exported: export.Exported) -> None:
    payload = bytes(exported.serialize())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as part:
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
    except OSError as error:
        # A home that is full or read-only is no reason not to train.
        console.print(
            f"{path.parent}: a trace cannot be kept there ({error.strerror}); name a folder that can be "
            f"written by {VARIABLE}, or leave it empty",
            markup=False,
        )


class Program:
    """A pure function compiled for arguments of some shapes; its trace is read from the folder if it is there.

    Args:
        function: pure and traceable; a closure only over what `identity` tells.
        arguments: pytrees of arrays.
        result: any pytree with the structure of what it returns.
        identity: what decides the trace besides the arguments' shapes and flowseg's source: two functions of one
            identity must be the same.
        donate: how many of the first arguments are donated.
        in_shardings: where each argument lies.
        out_sharding: where all of the result lies.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        result: Any,
        *,
        identity: str,
        donate: int = 0,
        in_shardings: Sequence[Sharding],
        out_sharding: Sharding,
    ):
        self.lowered = 0
        """How often the trace was made a program: once, or something recompiles."""
        self._result = jax.tree.structure(result)
        flattened = [jax.tree.flatten(argument) for argument in arguments]
        leaves = [leaf for found, _ in flattened for leaf in found]

        def flat(*values: jax.Array) -> list[jax.Array]:
            rest = list(values)
            parts = []
            for found, structure in flattened:
                parts.append(jax.tree.unflatten(structure, rest[: len(found)]))
                del rest[: len(found)]
            return jax.tree.leaves(function(*parts))

        how: dict[str, Any] = {
            "donate_argnums": tuple(range(sum(len(found) for found, _ in flattened[:donate]))),
            "in_shardings": [s for s, (f, _) in zip(in_shardings, flattened, strict=True) for _ in f],
            "out_shardings": out_sharding,
        }
        shapes = [(x.shape, str(x.dtype), getattr(x, "weak_type", False)) for x in leaves]
        structures = [str(structure) for _, structure in flattened]
        about = (identity, shapes, structures, str(self._result), str(how), len(jax.devices()), _settings(), SOFTWARE)
        folder = os.environ.get(VARIABLE)
        path = None
        if folder and _software() == SOFTWARE:
            path = Path(folder).expanduser() / f"{hashlib.sha256(repr(about).encode()).hexdigest()}.stablehlo"
        exported = _read(path) if path else None
        if exported is None:
            exported = export.export(jax.jit(flat, **how))(*leaves)
            if path:
                _write(path, exported)
        kept = exported

        def counted(*values: jax.Array) -> list[jax.Array]:
            self.lowered += 1
            return kept.call(*values)

        self._call = jax.jit(counted, **how)

    def __call__(self, *arguments: Any) -> Any:
        return jax.tree.unflatten(self._result, self._call(*jax.tree.leaves(arguments)))

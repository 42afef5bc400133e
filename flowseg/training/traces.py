"""Traces of compiled functions that are kept between starts.

JAX's compilation cache saves a second start the compilation but not the tracing, which for the training step is about
five seconds of Python. `jax.export` turns a trace into a file. The program is compiled from that file's content,
whether it was just written or read back, so both give the same numbers. Used on CPUs only: other devices' kernels are
custom calls, each of which an export would have to allow.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
from jax import export
from jax.sharding import Sharding

from flowseg import software
from flowseg.cache import expanded
from flowseg.files import replaced_file
from flowseg.progress import console

VARIABLE = "FLOWSEG_TRACES"
"""Names the folder of the kept traces (flowseg.commands.startup sets it); if empty or absent, none are kept."""
_DIGEST_BYTES = 32


def _settings() -> list[str]:
    """Returns the settings of JAX and Flax."""
    return [*sorted(f"{k}={v!r}" for k, v in jax.config.values.items() if "cache" not in k), repr(flax.config)]


def _read(path: Path) -> export.Exported | None:
    """Returns the stored trace, or None if it is missing or damaged (a damaged one is reported)."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror
    else:
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        # JAX checks little of what it deserialises: a changed byte may give another program, or a crash.
        if hashlib.sha256(payload).digest() == digest:
            return export.deserialize(bytearray(payload))
        reason = "damaged"
    console.print(f"{path} cannot be read ({reason}): the program is traced again")
    return None


def _write(path: Path, exported: export.Exported) -> None:
    payload = bytes(exported.serialize())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as part:
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
    except OSError as error:
        # Training goes on where the home folder is full or read-only.
        console.print(
            f"{path.parent}: a trace cannot be kept there ({error.strerror}); name a folder that can be "
            f"written by {VARIABLE}, or leave it empty",
        )


class KeptTrace:
    """A compiled function whose trace is read from the folder, if it is there, at the first call.

    All calls have arguments of the same structure and shapes.

    Args:
        function: pure and traceable; a closure only over what `identity` tells.
        identity: what decides the trace besides the arguments' shapes and flowseg's source: two functions of one
            identity must be the same.
        result: a pytree with the structure of what the function returns for some arguments.
        donate: how many of the first arguments are donated.
        in_shardings: the sharding of each argument.
        out_sharding: the sharding of the whole result.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        identity: str,
        result: Callable[..., Any],
        donate: int = 0,
        in_shardings: Sequence[Sharding],
        out_sharding: Sharding,
    ):
        self.lowered = 0
        """At most 1; more means the program was recompiled."""
        self._function, self._identity, self._result_of = function, identity, result
        self._donate, self._in_shardings, self._out_sharding = donate, in_shardings, out_sharding
        self._call: jax.stages.Wrapped | None = None

    def __call__(self, *arguments: Any) -> Any:
        found = self._jitted(arguments)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(self._result, found)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """Returns the function lowered for some arguments, as the `lower` of a jitted function does."""
        return self._jitted(arguments).lower(*jax.tree.leaves(arguments))

    def _jitted(self, arguments: Sequence[Any]) -> jax.stages.Wrapped:
        if self._call is None:
            self._result = jax.tree.structure(self._result_of(*arguments))
            self._call = self._compiled(arguments)
        return self._call

    def _compiled(self, arguments: Sequence[Any]) -> jax.stages.Wrapped:
        """Returns the jitted function of the arguments' leaves; an export keeps no pytrees."""
        flattened = [jax.tree.flatten(argument) for argument in arguments]
        leaves = [leaf for found, _ in flattened for leaf in found]

        def flat(*values: jax.Array) -> list[jax.Array]:
            rest = list(values)
            parts = []
            for found, structure in flattened:
                parts.append(jax.tree.unflatten(structure, rest[: len(found)]))
                del rest[: len(found)]
            return jax.tree.leaves(self._function(*parts))

        how: dict[str, Any] = {
            "donate_argnums": tuple(range(sum(len(found) for found, _ in flattened[: self._donate]))),
            "in_shardings": [s for s, (f, _) in zip(self._in_shardings, flattened, strict=True) for _ in f],
            "out_shardings": self._out_sharding,
        }
        path = self._file(leaves, [str(structure) for _, structure in flattened], how)
        exported = _read(path) if path else None
        if exported is None:
            exported = export.export(jax.jit(flat, **how))(*leaves)
            if path:
                _write(path, exported)
        kept = exported

        def counted(*values: jax.Array) -> list[jax.Array]:
            self.lowered += 1
            return kept.call(*values)

        return jax.jit(counted, **how)

    def _file(self, leaves: Sequence[Any], structures: Sequence[str], how: dict[str, Any]) -> Path | None:
        """Returns the file of this trace; None if no folder is named or the sources have changed since the import."""
        folder = os.environ.get(VARIABLE)
        if not folder or software.digest() != software.LOADED:
            return None
        shapes = [(x.shape, str(x.dtype), getattr(x, "weak_type", False)) for x in leaves]
        devices = len(jax.devices())
        about = (
            self._identity,
            shapes,
            structures,
            str(self._result),
            str(how),
            devices,
            _settings(),
            software.LOADED,
        )
        return expanded(folder, VARIABLE) / f"{hashlib.sha256(repr(about).encode()).hexdigest()}.stablehlo"

"""A training state as a dictionary of named arrays, which is how checkpoints store it, and digests."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from flowseg.errors import UserError

Flat = dict[str, np.ndarray]


def flatten(tree: Any) -> Flat:
    """Returns copies of a tree's arrays by their path in it, such as `opt/0/mu`."""
    # np.array copies: the step donates these buffers while Orbax still writes.
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def unflatten(flat: Flat, like: Any, where: str) -> Any:
    """Returns the tree `like` with the arrays of `flat`; both must have the same names, shapes and dtypes."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    expected = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, (_, leaf) in zip(names, paths, strict=True)}
    check_names({name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in flat.items()}, expected, where)
    return jax.tree_util.tree_unflatten(structure, [flat[name] for name in names])


def check_names(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Raises a UserError that names the first entry that is not as expected."""
    for name, what in expected.items():
        if found.get(name) != what:
            raise UserError(
                f"{where}: holds {found.get(name, 'nothing')} for {name}, expected {what}: "
                "it belongs to another network; use the config it was saved with"
            )
    surplus = sorted(set(found) - set(expected))
    if surplus:
        raise UserError(f"{where}: holds {surplus[0]}, which this network does not have; use its own config")


def digest(flat: Flat) -> str:
    """Returns a hash of the names, dtypes, shapes and values."""
    made = hashlib.blake2b(digest_size=16)
    for name in sorted(flat):
        made.update(f"{name}{flat[name].dtype}{flat[name].shape}".encode())
        made.update(np.ascontiguousarray(flat[name]).tobytes())
    return made.hexdigest()


def description_digest(description: dict[str, Any]) -> str:
    """Returns the digest that belongs to a description, which may hold it as `digest`; all of it is JSON."""
    text = json.dumps({name: value for name, value in description.items() if name != "digest"})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

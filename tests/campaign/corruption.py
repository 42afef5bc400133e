"""Corruption: files of a run, an exported model, a store or the cache are damaged, and then used."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.campaign.acts import ACTS, differing
from tests.campaign.case import Case

Rng = np.random.Generator


def flip_a_bit(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def change_bytes(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content)))
    length = int(rng.integers(1, 65))
    content[start : start + length] = rng.bytes(len(content[start : start + length]))
    path.write_bytes(content)


def zero_a_block(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content))) // 512 * 512
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def cut(path: Path, rng: Rng) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content)))])


def append(path: Path, rng: Rng) -> None:
    with path.open("ab") as file:
        file.write(rng.bytes(int(rng.integers(1, 65))))


def empty(path: Path, rng: Rng) -> None:
    path.write_bytes(b"")


def delete(path: Path, rng: Rng) -> None:
    path.unlink()


Damage = Callable[[Path, Rng], None]
DAMAGES: list[Damage] = [flip_a_bit, flip_a_bit, change_bytes, zero_a_block, cut, append, empty, delete]
ON_RUN = ("retrain", "eval", "predict", "report", "compare", "analyze film", "export")
USES: dict[str, tuple[str, ...]] = {
    "run": ON_RUN,
    "cut": ("resume",),
    "exported": ("predict exported",),
    "store": ("embed info",),
    "shard1": ("embed merge",),
    "cache": ("train", "embed", "eval", "predict"),
}
"""What is damaged, and the acts that use it."""
UNPROTECTED = ("metrics.jsonl", "starts.jsonl")
"""Text for people and plots, one line for each event, without a digest: a changed number in it is not noticed."""


def _order(path: Path) -> tuple[str, int]:
    """Returns what files are ordered by: the same in every campaign, though TensorStore names files at random."""
    return re.sub("[0-9a-f]{8,}", "", str(path)), path.stat().st_size


def case(at: Case) -> None:
    """The result is right, or said to be another, or there is none and one line says why."""
    target = at.choose([*["run"] * 5, *["cut"] * 3, "exported", "store", "shard1", "cache"])
    name = at.choose(USES[target])
    act = ACTS[name]
    environment = {}
    at.bench.lay_out(at.folder, tuple({*act.changes, target} & set(at.bench.names)))
    if target == "cache":
        shutil.copytree(at.bench.cache, at.folder / "cache", ignore=shutil.ignore_patterns("xla"))
        environment = {"FLOWSEG_CACHE": str(at.folder / "cache"), "FLOWSEG_TRACES": str(at.folder / "cache/traces")}
    place = at.folder / target
    files = sorted((p for p in place.rglob("*") if p.is_file()), key=_order) if place.is_dir() else [place]
    path = at.choose(files)
    damage = at.choose(DAMAGES if path.stat().st_size else [append, delete])
    damage(path, at.rng)
    where = path.relative_to(at.folder)
    at.tried(f"{damage.__name__.replace('_', ' ')}: {where}, then {name}")
    outcome = at.run(act.words, environment=environment)
    if outcome.status:
        if ("checkpoints" in where.parts and name == "resume") or target == "cache":
            at.find("lost", "refused, though another checkpoint, or no cache, would do", outcome)
        return
    expected = at.bench.expected(name)
    found = act.product(at.folder)
    if path.name in UNPROTECTED:
        found, expected = ({k: v for k, v in product.items() if k != "log"} for product in (found, expected))
    if (different := differing(found, expected)) and not outcome.warned:
        at.find("wrong", f"{different}, without a word", outcome)

"""What flowseg does in the campaign: commands in a case's folder, and what each must have written in the end."""

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign.outcome import apart

Product = dict[str, str]
"""Digests of what a command wrote, by name; equal if and only if it wrote the same."""
_OWN = ("seconds", "images_per_s", "run")
"""What differs between two equal runs: times, and the name of the folder."""
TRAIN = ("train", "tiny.py", "--preset", "full")


@dataclass(frozen=True)
class Act:
    """A command on the bench's files, which lie in its working folder under the bench's names."""

    words: tuple[str, ...]
    product: Callable[[Path], Product] = lambda folder: {}
    """What is compared with an undisturbed run of the command, of the working folder."""
    changes: tuple[str, ...] = ()
    """The names of the bench's folders that it writes into; a case has copies of them."""
    made: tuple[str, ...] = ()
    """The files and folders that it makes."""
    grows: bool = False
    """Whether what it makes is there before it is complete."""


def differing(found: Product, expected: Product) -> str:
    """Returns which parts of a product are not as expected; an empty string if all are."""
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return f"{', '.join(names[:5])} {'differ' if len(names) > 1 else 'differs'}" if names else ""


def trained(folder: Path) -> Product:
    """Returns digests of a run: its newest training state, its best checkpoint, its log and its scores."""
    return {**json.loads(apart(lambda: json.dumps(_checkpoints(folder)))), "log": _log(folder), **_scores(folder)}


def both(first: Product, second: Product) -> Product:
    """Returns the digests of two runs."""
    return {f"{number} {name}": digest for number, run in enumerate((first, second)) for name, digest in run.items()}


def _checkpoints(run: Path) -> Product:
    from flowseg.runs.checkpoints import Checkpoints

    found = {}
    with closing(Checkpoints(run, read_only=True)) as checkpoints:
        for kind in ("latest", "best"):
            steps = checkpoints.steps(kind)
            if not steps:
                found[kind] = "none"
            elif (problem := checkpoints.problem(kind, steps[-1])) is not None:
                found[kind] = problem
            else:
                meta = checkpoints.meta(kind, steps[-1])
                # `window` holds times of steps whose line of the log is still to come.
                found[kind] = f"step {steps[-1]}, best {meta['record']['best_step']}, arrays {meta['digests']}"
    return found


def _log(run: Path) -> str:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return _digest("\n".join(json.dumps(_timeless(line)) for line in lines).encode())


def _scores(run: Path) -> Product:
    return {f"eval/{name}": digest for name, digest in tree(run / "eval" / "test").items()}


def tree(folder: Path, *names: str) -> Product:
    """Returns digests of all files below a folder, or of some, by their place; times in JSON do not count."""
    found = {}
    for path in sorted(folder.rglob("*")) if not names else [folder / name for name in names]:
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".json":
                content = json.dumps(_timeless(json.loads(content))).encode()
            found[path.relative_to(folder).as_posix()] = _digest(content)
    return found


def _timeless(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in _OWN}


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _made(*names: str) -> Callable[[Path], Product]:
    """Returns a product that asks only whether files are there and not empty."""
    return lambda folder: {name: str((folder / name).stat().st_size > 0) for name in names if (folder / name).exists()}


ACTS: dict[str, Act] = {
    "train": Act(
        (*TRAIN, "--out", "new", "--resume", "auto"), lambda f: trained(f / "new"), made=("new",), grows=True
    ),
    "experiment": Act(
        ("experiment", "--configs", "tiny.py", "--seeds", "0", "1", "--preset", "full", "--out", "lab"),
        lambda f: both(trained(f / "lab/campaign/seed-0"), trained(f / "lab/campaign/seed-1")),
        made=("lab",),
        grows=True,
    ),
    "resume": Act((*TRAIN, "--resume", "cut"), lambda f: trained(f / "cut"), ("cut",)),
    "retrain": Act((*TRAIN, "--resume", "run"), lambda f: trained(f / "run"), ("run",)),
    "eval": Act(("eval", "run"), lambda f: tree(f / "run/eval/test"), ("run",)),
    "predict": Act(("predict", "run", "images", "--out", "masks"), lambda f: tree(f / "masks"), (), ("masks",)),
    "predict exported": Act(
        ("predict", "exported", "images", "--out", "masks"), lambda f: tree(f / "masks"), (), ("masks",)
    ),
    "report": Act(("report", "run"), _made("run/report/report.html"), ("run",)),
    "compare": Act(
        ("compare", "run", "other", "--out", "comparison"), _made("comparison/report.html"), (), ("comparison",)
    ),
    "analyze film": Act(("analyze", "film", "run"), _made("run/analysis/film-test/report.html"), ("run",)),
    "export": Act(
        ("export", "run", "model", "--to", "safetensors"),
        lambda f: tree(f / "model", "model.safetensors", "threshold.json", "config.json"),
        (),
        ("model",),
    ),
    "embed": Act(("embed", "data", "--out", "vectors"), lambda f: tree(f, "vectors"), (), ("vectors",)),
    "embed merge": Act(
        ("embed", "merge", "shard1", "shard2", "--out", "merged"), lambda f: tree(f, "merged"), (), ("merged",)
    ),
    "embed info": Act(("embed", "info", "store", "--data", "data")),
    "data import": Act(
        ("data", "import", "dca1", "dca1.zip", "imported"), lambda f: tree(f / "imported"), (), ("imported",)
    ),
    "data split": Act(
        ("data", "split", "data/train/image", "data/train/label", "divided", "--val", "0.3", "--test", "0.3"),
        lambda f: tree(f / "divided"),
        (),
        ("divided",),
    ),
    "data check": Act(("data", "check", "large", "--out", "check.html"), _made("check.html"), (), ("check.html",)),
    "phantoms": Act(
        ("phantoms", "drawn", "--size", "48", "--train", "2", "--val", "1", "--test", "1"),
        lambda f: tree(f / "drawn"),
        (),
        ("drawn",),
    ),
    "params": Act(("params", "tiny.py", "--json")),
    "doctor": Act(("doctor", "tiny.py", "--preset", "full")),
}

"""What all cases share: a small data set, trained runs, and what the commands make of them undisturbed."""

import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.campaign.acts import ACTS, TRAIN, Act, Product, both, trained
from tests.campaign.outcome import HANG, Command, Outcome
from tests.datasets.downloads import dca1
from tests.made_data import angiogram, make_data, save

SHAPE = (48, 56)
"""Height and width of the images, in pixels."""
LARGE = (96, 112)
"""Images that are large enough for the recipes, which `flowseg data check` asks for."""
CONFIG = """from flowseg.config import (
    Config, DataConfig, EvalConfig, FilmConfig, FlowConfig, ModelConfig, OptimConfig, TrainConfig
)

config = Config(
    name="campaign",
    devices=1,
    model=ModelConfig(
        dim=8, multipliers=(1,), heads=1, head_dim=8, full_attention_levels=(0,),
        film=FilmConfig(stages=(0,), condition_width=8, hidden_width=8),
    ),
    flow=FlowConfig(consistency=0.0),
    data=DataConfig(root="data", crop=16, max_side=48),
    optim=OptimConfig(lr=1e-3, accumulate=2, ema_decay=0.9, plateau_patience=1),
    train=TrainConfig(batch=4, epochs=3, epoch_steps=4, validate_every=1, checkpoint_every=3, log_every=2),
    eval=EvalConfig(sampler="euler", steps=1, window_batch=8, overlap=0.0, threshold="tuned"),
)
"""
"""12 steps with 6 saves and 3 validations. A start traces the network, so it has one level only."""
CUT_AT = 6
"""The step at which the interrupted run was killed, or a little later."""


class Bench:
    """A folder with everything that the acts name.

    data, large       data sets of small and of larger images
    images            images without labels
    tiny.py           the config
    run, other, cut   runs: finished, with another seed, and killed on the way
    exported          the run as an exported model
    store, shard1, shard2
    dca1.zip          a download of a public data set
    """

    def __init__(self, root: Path, cache: Path, expected: Mapping[str, Product], seconds: Mapping[str, float]):
        self.root, self.cache, self.seconds = root, cache, seconds
        self.samples = root.parent / "samples"
        """The files that the readers' cases begin with (tests/campaign/inputs.py)."""
        self._expected = expected

    @property
    def names(self) -> list[str]:
        """What is in it."""
        return sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))

    def lay_out(self, folder: Path, changed: tuple[str, ...] = ()) -> None:
        """Puts everything into a case's folder: copies of what is changed there, links to the rest."""
        for name in self.names:
            if name in changed:
                source = self.root / name
                shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
            else:
                (folder / name).symlink_to(self.root / name)

    def expected(self, act: str) -> Product:
        """Returns what an act makes if nothing disturbs it."""
        return self._expected[act]


def make_bench(root: Path, cache: Path, tell: Callable[[str], None]) -> Bench:
    """Makes a bench in an empty folder, and runs every act once without a disturbance.

    Raises:
        RuntimeError: a command does not do what it should even then.
    """
    make_data(root / "data", SHAPE, {"train": 4, "val": 2, "test": 2})
    make_data(root / "large", LARGE, {"train": 2, "val": 1, "test": 1})
    for seed in (100, 101):
        save(root / "images" / f"{seed}.png", angiogram(seed, SHAPE)[0])
    (root / "tiny.py").write_text(CONFIG)
    dca1(root / "dca1")
    with zipfile.ZipFile(root / "dca1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "dca1").rglob("*.pgm")):
            archive.write(path, path.relative_to(root / "dca1").as_posix())
    shutil.rmtree(root / "dca1")
    tell("training the run that the others are compared with")
    must(root, *TRAIN, "--out", "run")  # compiles the programs
    started = time.monotonic()
    other, cut = (Command((*TRAIN, *words), root) for words in (("--seed", "1", "--out", "other"), ("--out", "cut")))
    while cut.running and not (root / "cut" / "checkpoints" / "latest" / str(CUT_AT)).exists():
        time.sleep(0.002)
    cut.send(signal.SIGKILL)
    if cut.finish().status != -signal.SIGKILL or other.finish().status:
        raise RuntimeError("a training that should be cut off was too fast, or another has failed")
    seconds = dict.fromkeys(("train", "resume", "retrain"), time.monotonic() - started)
    for words in (
        ("export", "run", "exported", "--to", "safetensors"),
        ("embed", "data", "--out", "store"),
        ("embed", "data", "--out", "shard1", "--shard", "1/2"),
        ("embed", "data", "--out", "shard2", "--shard", "2/2"),
    ):
        must(root, *words)
    whole = trained(root / "run")
    expected = dict.fromkeys(("train", "resume", "retrain"), whole)
    expected["experiment"] = both(whole, trained(root / "other"))
    seconds["experiment"] = 3 * seconds["train"]
    bench = Bench(root, cache, expected, seconds)
    tell("running every command once without a disturbance")
    for name, act in ACTS.items():
        if name not in expected:
            expected[name], seconds[name] = _undisturbed(bench, act, root.parent / "undisturbed")
    return bench


def must(folder: Path, *words: str) -> Outcome:
    """Runs a command that nothing disturbs."""
    outcome = Command(words, folder).finish(5 * HANG)
    if outcome.status:
        raise RuntimeError(outcome.shown)
    return outcome


def _undisturbed(bench: Bench, act: Act, folder: Path) -> tuple[Product, float]:
    """Returns what an act makes, and how long it takes."""
    folder.mkdir()
    try:
        bench.lay_out(folder, act.changes)
        started = time.monotonic()
        must(folder, *act.words)
        return act.product(folder), time.monotonic() - started
    finally:
        shutil.rmtree(folder)

"""Shared by the tests of the commands: the configs, the outcome of a call, a trained run, and files to write."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from flowseg.config import Config, DataConfig, EvalConfig, Family, FilmConfig, FlowConfig, ModelConfig
from flowseg.embeddings.source import IMAGE_STATS, describe_images
from flowseg.embeddings.store import Encoder, write_store
from flowseg.models.network import init_params
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import create_run
from flowseg.training.state import init_state

REPO = Path(__file__).parents[2]
BASELINE, FILM = REPO / "configs" / "baseline.py", REPO / "configs" / "vlm_film.py"
# Options that make a config small enough for the tiny data set.
SMALL = ("--preset", "full", "--data.crop", "32", "--train.batch", "4")


def small(*more: object) -> tuple[object, ...]:
    """Returns the options `more`, and those of SMALL that are not among them."""
    pairs = zip(SMALL[::2], SMALL[1::2], strict=True)
    return (*(part for pair in pairs if pair[0] not in more for part in pair), *more)


# Nothing is tuned, unless a test asks for it.
SETTINGS = EvalConfig(sampler="euler", steps=1, window_batch=8, min_component=0)


@dataclass
class Outcome:
    """The exit status and output of a command."""

    status: int
    out: str
    err: str


Flowseg = Callable[..., Outcome]


def first(data: Path, kind: str, split: str = "train") -> Path:
    """Returns the first image or label of a split."""
    return min((data / split / kind).iterdir())


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def wide_store(path: Path, data: Path, width: int) -> Path:
    """Writes a store of zero vectors of another width for the images of a data set."""
    files = sorted(data.glob("*/image/*"))
    hashes, _ = describe_images(files)
    keys = [f"{f.parent.parent.name}/{f.stem}" for f in files]
    write_store(path, Encoder("narrow", {}, width), keys, hashes, np.zeros((len(keys), width), np.float32))
    return path


def trained_run(
    folder: Path,
    root: Path,
    family: Family = "binary",
    flip: float = 0.5,
    fold: str | None = None,
    seed: int = 0,
    **settings: object,
) -> Path:
    """Makes a run of a narrow FiLM network of one level with random parameters; its output depends on the embedding.

    Args:
        folder: the run's folder.
        root: its data set.
        family: its flow.
        flip: how often it was shown flipped images.
        fold: the fold that it was not trained on.
        seed: of its parameters.
        settings: fields of its EvalConfig that differ from SETTINGS.
    """
    film = FilmConfig(stages=(0,), condition_width=8, hidden_width=8)
    config = Config(
        name="tiny",
        seed=seed,
        devices=1,
        model=ModelConfig(dim=8, multipliers=(1,), heads=1, head_dim=8, full_attention_levels=(0,), film=film),
        flow=FlowConfig(family),
        data=DataConfig(root=str(root), crop=16, max_side=48, flip=flip, fold=fold),
        eval=EvalConfig(**{**asdict(SETTINGS), **settings}),
    )
    run = create_run(folder, config, IMAGE_STATS)
    params = init_params(config)
    rng = np.random.default_rng(0)
    for head in params["film"]["heads"].values():
        head["dense2"] = {k: rng.normal(0, 1, v.shape).astype(np.float32) for k, v in head["dense2"].items()}
    checkpoints = Checkpoints(run.path)
    checkpoints.save("best", init_state(config, params, 12), config, {"best_dice": 0.5, "data": "its digest"})
    checkpoints.close()
    return run.path

"""The model card of an export (README.md): what the model is, what it was trained on and how well, and its limits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowseg import __version__
from flowseg.data.folders import SPLITS
from flowseg.data.folds import FOLD, split_pairs
from flowseg.errors import UserError
from flowseg.evaluation.metric_table import IMAGE_METRICS, Metric
from flowseg.files import parse_json
from flowseg.models.network import count
from flowseg.progress import duration
from flowseg.runs.folder import Run
from flowseg.runs.log import read_metrics
from flowseg.runs.trained import Trained
from flowseg.sampling.mask import MaskRule


@dataclass(frozen=True)
class Scores:
    """What `flowseg eval` found on one split."""

    split: str
    images: int
    data: str
    """Name of the data set's folder."""
    sampler: dict[str, Any]
    rule: MaskRule
    rows: dict[str, tuple[str, str, str, str]]
    """Name of each metric, mean, 95 % interval, and which values are better, by the metric's key."""


def model_card(trained: Trained, template: str, **values: Any) -> str:
    """Returns the card by a template of flowseg/interop/templates, which may name `values` as well.

    Raises:
        UserError: scores of the run that cannot be read.
    """
    environment = Environment(
        loader=PackageLoader("flowseg.interop"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    run = trained.run
    return environment.get_template(template).render(
        version=__version__,
        run=run,
        config=run.config,
        step=trained.step,
        best_dice=trained.best_dice,
        digest=trained.data_digest,
        parameters=count(trained.params),
        images=_images(trained),
        cost=_cost(run),
        scores=[found for split in (*SPLITS, FOLD) if (found := _scores(run, split, trained.step)) is not None],
        elsewhere=_elsewhere(run, trained.step),
        **values,
    )


def code(text: object) -> str:
    """Returns a text as Markdown code, in which no character of it has another meaning."""
    return f"`{str(text).replace('`', chr(39))}`"


def _images(trained: Trained) -> str:
    """Returns how many images the run's data set has in each split, or that this is not known."""
    root = trained.run.config.data.root
    if root is None:
        drawn = trained.run.exported is None and trained.data_digest is not None
        return "phantoms (angiograms drawn by flowseg)" if drawn else "not known"
    try:
        train, val, test = (len(split_pairs(Path(root), split, trained.run.config.data.fold)) for split in SPLITS)
    except UserError:
        return "not known: the data set was not there at the export"
    return f"{train} for training, {val} for validation, {test} for the test, counted at the export"


def _cost(run: Run) -> str | None:
    """Returns how long the training steps took, by the run's log; None if it has none."""
    lines = [line for line in read_metrics(run.path) if line["kind"] == "train" and line["images_per_s"]]
    seconds = sum(line["steps"] * run.config.train.batch / line["images_per_s"] for line in lines)
    return duration(seconds) if lines else None


def _elsewhere(run: Run, step: int) -> list[Scores]:
    """Returns the scores of a checkpoint on other data sets that the run keeps (flowseg.evaluation.place)."""
    folders = sorted(path.name for path in (run.path / "eval").glob("*-of-*"))
    return [found for name in folders if (found := _scores(run, name, step)) is not None]


def _scores(run: Run, folder: str, step: int) -> Scores | None:
    """Returns the scores in a folder of the run's `eval`; None if there are none of this checkpoint."""
    file = run.path / "eval" / folder / "metrics.json"
    if not file.is_file():
        return None
    try:
        content = parse_json(file.read_text())
        if content["step"] != step:
            return None
        found = content["model"]
        rows = {row.key: _row(row, found[row.key]) for row in IMAGE_METRICS if row.key in found}
        rule = MaskRule(content["threshold"], content.get("min_component", 0))  # older versions removed nothing
        return Scores(content["split"], content["images"], Path(content["data"]).name, content["sampler"], rule, rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{file}: cannot be read ({said}); score the run again with: flowseg eval {run.path}"
        ) from None


def _row(row: Metric, interval: dict[str, float | None]) -> tuple[str, str, str, str]:
    mean, low, high = (_number(interval[end], row) for end in ("mean", "low", "high"))
    return row.en, mean, "-" if low == high == "-" else f"{low} to {high}", row.better or ""


def _number(value: float | None, row: Metric) -> str:
    return "-" if value is None else f"{value:.{row.unit.decimals}f}"

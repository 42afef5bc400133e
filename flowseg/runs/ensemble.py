"""Several runs of one config used as one: their probabilities are averaged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median_low
from typing import Any

from flowseg.config import Config, EvalConfig
from flowseg.config_values import differences
from flowseg.errors import UserError, first_of
from flowseg.files import parse_json
from flowseg.progress import warn
from flowseg.runs.folder import DONE_FILE, Run, is_run, open_run
from flowseg.runs.names import tell_if_hidden
from flowseg.runs.trained import Trained
from flowseg.sampling.mask import MaskRule

_TEST = Path("eval") / "test" / "metrics.json"


def open_runs(path: Path) -> list[Run]:
    """Returns the run of a folder or, of a folder of runs such as `flowseg experiment` makes, all of them by name.

    Raises:
        UserError: there is none, or they differ in more than their seed and fold.
    """
    found = (
        [] if is_run(path) or not path.is_dir() else [open_run(one) for one in sorted(path.iterdir()) if is_run(one)]
    )
    if not found:
        return [open_run(path)]
    tell_if_hidden(path)
    first = found[0]
    for other in found[1:]:
        differing = differences(set_up(first.config), set_up(other.config))
        if differing or first.encoder != other.encoder:
            what = differing[0] if differing else f"embeddings: {first.encoder} != {other.encoder}"
            raise UserError(
                f"{path}: its runs are not of one config ({first.path.name} and {other.path.name}: {what}); give "
                "one of them, or a folder whose runs differ in seed and fold only"
            )
    return found


def set_up(config: Config) -> Config:
    """Returns the config without its seed, and with the first fold in place of its own."""
    fold = config.data.fold and f"1/{config.data.fold.split('/')[1]}"
    return replace(config, seed=0, data=replace(config.data, fold=fold))


def open_together(
    runs: Sequence[Run], settings: EvalConfig | None = None, embeddings: str | None = None
) -> list[Trained]:
    """Returns runs opened to sample as `settings` says, or as their configs say; `embeddings`: another store.

    Those of several whose training has not ended are named.
    """
    members = [Trained.open(run, settings, embeddings=embeddings) for run in runs]
    # An imported run, which has no Dice, was trained elsewhere.
    unfinished = [one.run.path.name for one in members if not one.run.finished and one.best_dice is not None]
    if unfinished and len(members) > 1:
        warn(
            f"{runs[0].path.parent}: {first_of(unfinished)}: not finished, so the best checkpoint so far counts; let "
            "the training go on with --resume first, or move the run out of this folder"
        )
    return members


def common_rule(members: Sequence[Trained]) -> MaskRule:
    """Returns the mask rule of runs that are used as one: the mean threshold, and the median minimum size.

    It is not tuned anew: in a cross-validation, each image for validation was used to train some of them.
    """
    rules = [member.rule for member in members]
    return MaskRule(fmean(rule.threshold for rule in rules), median_low(rule.min_component for rule in rules))


def identified(members: Sequence[Trained]) -> dict[str, Any]:
    """Returns what says in a result of which run it is, or of which runs in one folder."""
    if len(members) == 1:
        return {"run": str(members[0].run.path), "step": members[0].step}
    named = [{"run": member.run.path.name, "step": member.step, "val_dice": member.best_dice} for member in members]
    return {"run": str(members[0].run.path.parent), "step": None, "members": named}


def scored_together(folder: Path) -> bool:
    """Returns whether the runs that a folder holds have been scored as one on the test images, as they are now.

    A run that was added, removed, trained anew, or replaced by another makes these scores out of date.
    """
    runs = [one for one in sorted(folder.iterdir()) if is_run(one)]
    now = [{"run": run.name, **_own_scores(run, ("step", "val_dice"))} for run in runs]
    if _own_scores(folder, ("members",)) != {"members": now}:
        return False
    scored = (folder / _TEST).stat().st_mtime_ns
    return all((run / DONE_FILE).is_file() and (run / DONE_FILE).stat().st_mtime_ns < scored for run in runs)


def _own_scores(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Returns fields of the test scores in a folder; nothing if they are missing or damaged."""
    try:
        about = parse_json((folder / _TEST).read_text(encoding="utf-8"))
        return {name: about[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

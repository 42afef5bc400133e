"""The commands on a config: `flowseg train` trains it and scores the result, `flowseg params` counts parameters."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from flowseg.commands.launch import Together, joined
from flowseg.commands.parsing import default_is, load_config, value_of, with_config, with_field_names
from flowseg.config import Config, TrackerName

Preset = Literal["full", "cpu", "auto"]
T = TypeVar("T", bound="WithPreset")


@dataclass(frozen=True)
class OnConfig:
    """Options of the commands on a config; its fields are options too."""

    config_file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONFIG")]
    """A config that comes with flowseg, for example vlm_film, or a Python file that defines one, which is executed. It
    must be the first argument."""
    config: Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class WithPreset(OnConfig):
    """Options of the commands that run a config."""

    preset: Preset = "auto"
    """full: the config as it is; cpu: its reduced recipe; auto: the reduced recipe if JAX finds no accelerator."""


@dataclass(frozen=True)
class Train(Together, WithPreset):
    """Train a config, score it on the test split, and write a report on it."""

    resume: Annotated[str | None, default_is("a new run")] = None
    """A run's folder to continue, or auto: the run in --out, else the newest interrupted run of this config."""
    out: Annotated[Path | None, default_is("runs/NAME-DATE-TIME")] = None
    """Folder of the run."""
    profile: bool = False
    """Write a trace of five steps by JAX's profiler into the run's folder `profile`, for TensorBoard or Perfetto."""
    track: Annotated[tuple[TrackerName, ...], default_is("neither")] = ()
    """Show the measurements in MLflow or Weights & Biases too, not only in TensorBoard (docs/tracking.md)."""


def configured(cls: type[T], args: list[str], command: str) -> tuple[T, bool]:
    """Returns a command's options, and whether its preset has reduced the config; the precision is settled too."""
    from flowseg.commands import presets
    from flowseg.commands.accelerator import has_accelerator
    from flowseg.training.drivers import with_precision

    args = with_field_names(args)
    wanted = value_of(args, "--preset", cls.preset)
    reduce = wanted in ("cpu", "auto") and (wanted == "cpu" or not has_accelerator())

    def adapt(config: Config) -> Config:
        root = value_of(args, "--data.root", config.data.root or "") or None
        return presets.reduced_recipe(config, root) if reduce else config

    parsed = with_config(cls, args, command, adapt)
    return replace(parsed, config=with_precision(parsed.config)), reduce


def train(args: list[str]) -> None:
    # JAX's runtime has to be started before the config is known, which depends on the devices.
    with joined(args):
        _train(args)


def _train(args: list[str]) -> None:
    from flowseg import hosts
    from flowseg.commands import presets
    from flowseg.progress import console
    from flowseg.training.experiment import run_experiment

    parsed, reduced = configured(Train, args, "train")
    if reduced:
        console.rule("REDUCED RECIPE")
        console.print(presets.banner(load_config(parsed.config_file), parsed.config, parsed.preset))
        console.rule()
    run = run_experiment(
        parsed.config, resume=parsed.resume, out=parsed.out, profile=parsed.profile, track=parsed.track
    )
    if not hosts.is_first():
        return
    from flowseg.reports.run_page import report_run  # only now: it would delay the start of the training

    report_run(run)


@dataclass(frozen=True)
class Params(OnConfig):
    """Count the parameters of a config's network."""

    json: bool = False
    """Print the totals as JSON instead of a table."""


def params(args: list[str]) -> None:
    from clu import parameter_overview

    from flowseg.models.network import abstract_params, parameter_counts

    parsed = with_config(Params, args, "params", lambda config: config)
    tree = abstract_params(parsed.config)
    counts = parameter_counts(tree)
    if parsed.json:
        print(json.dumps(counts))
    else:
        print(parameter_overview.get_parameter_overview(tree, include_stats=False))
        print("  ".join(f"{name}: {value:,}" for name, value in counts.items()))

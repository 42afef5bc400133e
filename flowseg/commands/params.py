"""`flowseg params`: counts the parameters of a config's network."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from flowseg.commands.parsing import with_config
from flowseg.config import Config


@dataclass(frozen=True)
class Params:
    """Count the parameters of a config's network."""

    config_file: tyro.conf.Positional[Path]
    """A file that defines `config`, for example configs/vlm_film.py."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    json: bool = False
    """Print the totals as JSON instead of a table."""


def params(args: list[str]) -> None:
    """Runs `flowseg params`."""
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

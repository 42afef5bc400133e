"""Set-ups side by side: parameter counts, and the settings in which they differ."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from flowseg.config_values import flat
from flowseg.reports.compare.scores import Scores
from flowseg.reports.compare.sources import Group
from flowseg.sampling.mask import FIXED

MASK = "mask."
"""Begins the names of what made the masks of an evaluation, as opposed to the setting that asked for it."""

_SHARED = ("name", "data.", "optim.", "train.batch")
"""The fields of the config that count for another program's network as well."""


def parameters(group: Group) -> dict[str, int] | None:
    """Numbers of parameters of a group's network: total, base, conditioner, film_heads; None for a CSV."""
    if group.config is None:
        return None
    if group.network is not None:
        count = group.network.parameters
        return {"total": count, "base": count, "conditioner": 0, "film_heads": 0}
    # Imported here: JAX takes seconds, and logs alone need none of it.
    from flowseg.models.network import abstract_params, parameter_counts

    return parameter_counts(abstract_params(group.config))


def differing_settings(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Settings that are not the same in all groups, as the field and its value by group; a CSV has none.

    The seed is left out. The encoder of the embeddings counts as a setting if it is known. Settings of flowseg's
    network are not compared with another program's network, which has none of them.
    """
    known = [group for group in groups if group.config is not None]
    others = {group.name for group in known if group.network is not None}
    return _differing({group.name: [settings(group)] for group in known}, others)


def differing_evaluation(scores: dict[str, dict[int, Scores]]) -> list[dict[str, Any]]:
    """Settings of sampling, the mask rule and the data, if they are not the same in all runs' evaluations.

    A group's value is the list of its runs' different values where there are several. Another program's network is
    not sampled from, so its evaluation has only the mask rule and the data.
    """
    every = {name: list(group.values()) for name, group in scores.items()}
    return _differing(
        {name: [_evaluation(one.about) for one in group] for name, group in every.items()},
        [name for name, group in every.items() if all("sampler" not in one.about for one in group)],
    )


def _evaluation(about: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json says of how an evaluation was made; older versions had no threshold and removed nothing."""
    sampler = {"min_component": 0} | flat(about["sampler"]) if "sampler" in about else {}
    rule = {"threshold": about.get("threshold", FIXED), "min_component": about.get("min_component", 0)}
    return sampler | {MASK + name: value for name, value in rule.items()} | {"data": about.get("data")}


def _differing(settings: dict[str, list[dict[str, Any]]], partial: Collection[str] = ()) -> list[dict[str, Any]]:
    """Fields of more than one value, from the settings of each group's runs.

    One that a run lacks is None there; if its group is `partial`, it does not count.
    """
    found = []
    for field in dict.fromkeys(field for runs in settings.values() for run in runs for field in run):
        values = {name: _distinct(run.get(field) for run in runs) for name, runs in settings.items()}
        counted = [
            value
            for name, runs in settings.items()
            if name not in partial or any(field in run for run in runs)
            for value in values[name]
        ]
        if len(_distinct(counted)) > 1:
            shown = {name: of_runs[0] if len(of_runs) == 1 else of_runs for name, of_runs in values.items()}
            found.append({"field": field, "values": shown})
    return found


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The different values, in the order in which they come."""
    return list({repr(value): value for value in values}.values())


def settings(group: Group) -> dict[str, Any]:
    """The config of a group's runs, without the seed, by dotted names; another program's network has its own."""
    run = group.logs[0].run
    assert run is not None
    # Lists for tuples, as in the evaluations' JSON.
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in flat(run.config).items()}
    del found["seed"]
    if run.encoder:
        found |= {"embeddings.encoder": str(run.encoder), "embeddings.settings": run.encoder.settings}
    if run.network:
        found = {field: value for field, value in found.items() if field.startswith(_SHARED)}
        found |= {"network": run.network.name, **flat(run.network.settings, "network.")}
    return found

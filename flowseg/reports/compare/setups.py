"""Set-ups side by side: parameter counts, and the settings in which they differ."""

from collections.abc import Collection, Sequence
from typing import Any

from flowseg.config import flat
from flowseg.reports.compare.scores import Scores
from flowseg.reports.compare.sources import Group

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
    return _differing({group.name: settings(group) for group in known}, others)


def differing_evaluation(scores: dict[str, Scores]) -> list[dict[str, Any]]:
    """Settings of sampling, and the data, if they are not the same in all groups' evaluations.

    Another program's network is not sampled from, so its evaluation has only the data.
    """
    older = {"min_component": 0}
    return _differing(
        {
            name: (older | flat(s.about["sampler"]) if "sampler" in s.about else {}) | {"data": s.about.get("data")}
            for name, s in scores.items()
        },
        [name for name, s in scores.items() if "sampler" not in s.about],
    )


def _differing(settings: dict[str, dict[str, Any]], partial: Collection[str] = ()) -> list[dict[str, Any]]:
    """Fields of more than one value. One that a group lacks is None there; if `partial`, it does not count."""
    fields = dict.fromkeys(field for values in settings.values() for field in values)
    return [
        {"field": field, "values": {name: values.get(field) for name, values in settings.items()}}
        for field in fields
        if len({repr(v.get(field)) for name, v in settings.items() if field in v or name not in partial}) > 1
    ]


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

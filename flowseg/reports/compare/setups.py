"""Set-ups side by side: parameter counts, and the settings in which they differ."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from flowseg.reports.compare.scores import Scores
from flowseg.reports.compare.sources import Group


def parameters(group: Group) -> dict[str, int] | None:
    """Numbers of parameters of a group's network: total, base, conditioner, film_heads; None for a CSV."""
    if group.config is None:
        return None
    # Imported here: JAX takes seconds, and logs alone need none of it.
    from flowseg.models.network import abstract_params, parameter_counts

    return parameter_counts(abstract_params(group.config))


def differing_settings(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Settings that are not the same in all groups, as the field and its value by group; a CSV has none.

    The seed is left out. The encoder of the embeddings counts as a setting if it is known.
    """
    return _differing({group.name: _settings(group) for group in groups if group.config is not None})


def differing_evaluation(scores: dict[str, Scores]) -> list[dict[str, Any]]:
    """Settings of sampling, and the data, if they are not the same in all groups' evaluations."""
    return _differing(
        {name: {**_flat(s.about.get("sampler", {})), "data": s.about.get("data")} for name, s in scores.items()}
    )


def _differing(settings: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    fields = dict.fromkeys(field for values in settings.values() for field in values)
    return [
        {"field": field, "values": {name: values.get(field) for name, values in settings.items()}}
        for field in fields
        if len({repr(values.get(field)) for values in settings.values()}) > 1
    ]


def _settings(group: Group) -> dict[str, Any]:
    run = group.logs[0].run
    assert run is not None
    settings = _flat(dataclasses.asdict(run.config))
    del settings["seed"]
    if run.encoder:
        settings |= {"embeddings.encoder": str(run.encoder), "embeddings.settings": run.encoder.settings}
    return settings


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a tree by their dotted names, with lists for tuples as in JSON."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat

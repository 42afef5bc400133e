"""The tables and cards of a data set's page, each from the summary (flowseg.reports.data_check_summary)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from flowseg.data.folders import SPLITS, split_of
from flowseg.errors import counted
from flowseg.reports.tables import Cell, Column, Table, number, percent, table

Summary = dict[str, Any]

_MOST_VALUES = 3  # of sizes and depths that are named in a cell


def headline(summary: Summary) -> str:
    """How many findings of each kind there are, in a sentence."""
    counts = summary["counts"]
    errors, warnings, notes = (counted(counts[name], name) for name in ("error", "warning", "note"))
    if counts["error"]:
        return f"Training would refuse this data: {errors}, {warnings}, {notes}."
    return f"Training would accept this data: {warnings}, {notes}."


def splits(summary: Summary) -> Table:
    """What is in each split."""

    def span(split: dict[str, Any]) -> str:
        vessel = split["vessel"]
        return "–" if vessel is None else f"{percent(vessel['low'])} to {percent(vessel['high'])}"

    return table(
        summary["splits"],
        ("split", lambda split: split["split"]),
        ("images", lambda split: str(split["images"])),
        (Column("width x height", "short"), lambda split: _with_counts(split["sizes"])),
        (Column("stored as", "short"), lambda split: _with_counts(split["depths"])),
        ("vessel pixels", lambda split: percent((split["vessel"] or {}).get("mean"))),
        ("lowest to highest", span),
        ("vessels darker", lambda split: str(split["darker"])),
        ("brighter", lambda split: str(split["brighter"])),
    )


def recipes(summary: Summary) -> dict[str, str]:
    """What the recipes would do to the training images, in words."""
    found = {}
    for recipe in summary["recipes"]:
        scaled = "Images keep their size."
        if recipe["max_side"] is not None:
            kept = number(summary["label_dice"], 3)
            scaled = (
                f"Images are scaled down to a longer side of {recipe['max_side']} pixels, at which labels keep a Dice "
                f"of {kept}."
            )
        crop = f"{recipe['crop']}x{recipe['crop']}"
        about = f"{scaled} Crops are {crop} pixels; the shortest side of a training image is {recipe['shortest']}."
        found[f"{recipe['name'].capitalize()} recipe"] = about
    return found


def similar(summary: Summary, anchors: Mapping[str, str]) -> Table:
    """The pairs of images that are nearly the same."""

    def image(end: str, pair: dict[str, Any]) -> Cell:
        return Cell(pair[end], link=anchors.get(pair[end], ""))

    return table(
        summary["similar"],
        (Column("image", "short"), lambda pair: image("a", pair)),
        (Column("and image", "short"), lambda pair: image("b", pair)),
        ("similarity", lambda pair: number(pair["similarity"], 2)),
        title=f"All pairs ({len(summary['similar'])})",
        folded=True,
    )


def cards(summary: Summary, chosen: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What is written under the chosen images, by split."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for finding in summary["findings"]:
        # What many images share is no mark of one.
        if 4 * len(finding["images"]) <= len(summary["images"]):
            for key in finding["images"]:
                kinds[key].append(finding["kind"])
    images = {image["key"]: image for image in summary["images"]}
    found: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for key in chosen:
        image = images[key]
        about = f"{image['size']}, {percent(image['vessel'])} vessel"
        found[split_of(key)].append({"key": key, "about": about, "kinds": kinds[key]})
    return {split: shown for split, shown in found.items() if shown}


def choice(summary: Summary, chosen: Sequence[str], seed: int) -> str:
    """Which images are shown, in a sentence."""
    total = len(summary["images"])
    if len(chosen) == total:
        return f"All images that can be read ({total})."
    return f"{len(chosen)} of {total} images: those with findings first, the others drawn by seed {seed}."


def _with_counts(counts: Mapping[str, int]) -> str:
    """The most frequent of some values, each with its number unless it is the only one."""
    if len(counts) < 2:
        return "".join(counts) or "–"
    named = [f"{value} ({count})" for value, count in list(counts.items())[:_MOST_VALUES]]
    return ", ".join(named) + (f" and {len(counts) - _MOST_VALUES} more" if len(counts) > _MOST_VALUES else "")

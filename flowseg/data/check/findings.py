"""What is odd about a data set: each finding is one line that says what, where, and what to do."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from flowseg.data.check.similar import Similar, same_content
from flowseg.data.check.survey import Record, Survey
from flowseg.data.folders import SPLITS, split_of
from flowseg.data.folds import ABOUT_FILE
from flowseg.data.image_files import UPRIGHT
from flowseg.errors import counted, first_of

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: training would refuse the data. warning: results may be wrong. note: good to know."""

IMPLAUSIBLE = 0.4
"""Share of vessel pixels. Vessels take 2 to 20 % of an image, a round field of view about 70 %."""
UNUSUAL = 3.0
"""A label's share of vessel is unusual if it is this many times the set's median, or the median is this many times
the share."""
CLEAR = 0.3
"""Contrast of a label, in standard deviations, from which its vessels are called brighter or darker."""
SURE = 0.5
"""A displaced label is said to fit elsewhere if it agrees with the image there by this share of the set's median."""


@dataclass(frozen=True)
class Finding:
    """One line of the check."""

    severity: Severity
    kind: str
    """The rule that found it, in a few words."""
    message: str
    images: Sequence[str] = ()
    """All images that it concerns; the message names the first of them."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe asks of the size of training images."""

    name: str
    crop: int
    """Side of a training crop, pixels."""
    max_side: int | None
    """Images are scaled down to this longer side, pixels; None: they are not."""

    def shorter_side(self, size: tuple[int, int]) -> int:
        """Returns the shorter side of an image of this height and width, in pixels, as the recipe trains on it."""
        scale = 1.0 if self.max_side is None else min(self.max_side / max(size), 1.0)
        return max(round(min(size) * scale), 1)


def find_all(survey: Survey, similar: Sequence[Similar], recipes: Sequence[Recipe]) -> list[Finding]:
    """Returns everything that is odd about a data set, the most severe first.

    Args:
        survey: the data set as read.
        similar: its pairs of images that are nearly the same (flowseg.data.check.similar.similar_pairs).
        recipes: the recipes that training images may be too small for.
    """
    records = survey.records
    found = [
        *(Finding("error", "file", str(problem)) for problem in survey.problems),
        *_too_small(survey.of("train"), recipes),
        *filter(None, [shared_between_splits({record.key: record.content for record in records})]),
        *_patients(survey),
        *_similar(similar),
        *_coverage(survey),
        *_outside(records),
        *_places(records),
        *_polarity(records),
        *_repeated(records),
        *_storage(survey),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def shared_between_splits(contents: Mapping[str, str]) -> Finding | None:
    """Returns a warning if images of different splits are the same, from each image's content hash by name."""
    groups = [group for group in same_content(contents) if len(set(map(split_of, group))) > 1]
    if not groups:
        return None
    one = groups[0][0]
    other = next(key for key in groups[0] if split_of(key) != split_of(one))
    count = counted(len(groups), "image")
    message = (
        f"the same image in two splits ({count}): {one} is {other}; scores on it say little, so keep it in one split"
    )
    return Finding("warning", "same image in two splits", message, [*chain.from_iterable(groups)])


def implausible_coverage(split: str, share: float, folder: Path) -> Finding | None:
    """Returns a warning if the labels of a split have too many vessel pixels, from their mean share of vessel."""
    if share <= IMPLAUSIBLE:
        return None
    message = (
        f"{share:.0%} of the pixels of the labels of {split} are vessel ({folder}): are they fields of view, or "
        "vessels in black?"
    )
    return Finding("warning", "implausible coverage", message)


def _on(severity: Severity, kind: str, keys: Sequence[str], what: str, remedy: str) -> Iterator[Finding]:
    """Yields a finding on some images, of which it names the first; none if there are none."""
    if keys:
        yield Finding(severity, kind, f"{what} ({len(keys)}): {first_of(keys)}; {remedy}", keys)


def _too_small(train: Sequence[Record], recipes: Sequence[Recipe]) -> Iterator[Finding]:
    """Training images that recipes refuse, since they are not half as large as a crop, or mirror up to a crop."""

    def below(crop: float, recipe: Recipe) -> list[str]:
        return [record.key for record in train if recipe.shorter_side(record.size) < crop]

    hopeless = set.intersection(*(set(below(recipe.crop / 2, recipe)) for recipe in recipes)) if recipes else set()
    remedy = "remove them, or choose a smaller --data.crop"
    what = "training images less than half as large as a crop of any recipe"
    yield from _on("error", "too small", sorted(hopeless), what, remedy)
    for recipe in recipes:
        refused = set(below(recipe.crop / 2, recipe))
        what = f"training images that the {recipe.name} recipe refuses, with its crop of {recipe.crop} pixels"
        yield from _on("warning", "too small", sorted(refused - hopeless), what, remedy)
        mirrored = [key for key in below(recipe.crop, recipe) if key not in refused]
        what = f"training images smaller than the {recipe.name} recipe's crop of {recipe.crop} pixels"
        yield from _on("note", "smaller than a crop", mirrored, what, "they are mirrored up to it")


def _patients(survey: Survey) -> Iterator[Finding]:
    """Patients whose images are in two splits, and images whose patient is not known any more, by dataset.json."""
    images: dict[str, list[str]] = defaultdict(list)
    for record in survey.records:
        if record.key in survey.patients:
            images[survey.patients[record.key]].append(record.key)
    divided = [keys for keys in images.values() if len(set(map(split_of, keys))) > 1]
    if divided:
        first = [next(key for key in keys if split_of(key) != split_of(keys[0])) for keys in divided]
        named = first_of([f"{keys[0]} and {other}" for keys, other in zip(divided, first, strict=True)])
        message = f"one patient in two splits, by {ABOUT_FILE} ({counted(len(divided), 'patient')}): {named}; "
        remedy = "scores on it say little, so keep the patient in one split"
        yield Finding("warning", "one patient in two splits", message + remedy, [*chain.from_iterable(divided)])
    what = f"images whose patient is not known, where {ABOUT_FILE} names images that are not there"
    remedy = "if they were moved or renamed, correct its groups"
    yield from _on("warning", "patient not known", survey.lost, what, remedy)


def _similar(similar: Sequence[Similar]) -> Iterator[Finding]:
    """Images that are nearly the same, across splits and within."""
    across, within = ([pair for pair in similar if pair.across == wanted] for wanted in (True, False))
    kinds: tuple[tuple[Severity, str, list[Similar], str], ...] = (
        ("warning", "similar images in two splits", across, "if they show one patient, keep them in one split"),
        ("note", "similar images in one split", within, "they count as one image, or little more"),
    )
    for severity, kind, pairs, remedy in kinds:
        if pairs:
            count = counted(len(pairs), "pair")
            named = first_of([f"{pair.a} and {pair.b}" for pair in pairs])
            images = list(dict.fromkeys(key for pair in pairs for key in (pair.a, pair.b)))
            yield Finding(severity, kind, f"{kind} ({count}): {named}; {remedy}", images)


def _coverage(survey: Survey) -> Iterator[Finding]:
    """Labels with none, all, or an unusual share of their pixels vessel."""
    for split in SPLITS:
        records = survey.of(split)
        if records:
            mean = float(np.mean([record.vessel for record in records]))
            yield from filter(None, [implausible_coverage(split, mean, records[0].pair.label.parent)])
    shares = {record.key: record.vessel for record in survey.records}
    empty = [key for key, share in shares.items() if share == 0]
    yield from _on("warning", "empty label", empty, "labels without vessel", "draw them, or remove the images")
    full = [key for key, share in shares.items() if share == 1]
    yield from _on("warning", "full label", full, "labels that are vessel everywhere", "draw them anew")
    drawn = {key: share for key, share in shares.items() if 0 < share < 1}
    median = float(np.median(list(drawn.values()))) if drawn else 0.0
    for name, odd in (
        ("much", [key for key, share in drawn.items() if share > median * UNUSUAL]),
        ("little", [key for key, share in drawn.items() if share < median / UNUSUAL]),
    ):
        what = f"labels with unusually {name} vessel, where the set's median is {median:.1%} of the pixels"
        yield from _on("note", f"unusually {name} vessel", odd, what, "look at them")


def _outside(records: Sequence[Record]) -> Iterator[Finding]:
    """Labels with vessels outside the field of view; the worst first."""
    shares = sorted([(record.outside, record.key) for record in records if record.outside > 0], reverse=True)
    if shares:
        named = first_of([f"{key} ({share:.2%} of its vessel pixels)" for share, key in shares])
        what = f"labels with vessels outside the field of view, which do not count ({len(shares)})"
        remedy = "check that it is their image's, and white inside"
        message = f"{what}: {named}; {remedy}"
        yield Finding("warning", "vessels outside the field of view", message, [key for _, key in shares])


def _places(records: Sequence[Record]) -> Iterator[Finding]:
    """Labels that lie beside their vessels, or on the wrong image."""
    fits = {record.key: record.fit for record in records if record.fit is not None}
    usual = float(np.median([fit.agreement for fit in fits.values()])) if fits else 0.0
    displaced = {key: fit for key, fit in fits.items() if fit.displaced}
    moved = [key for key, fit in displaced.items() if fit.agreement >= SURE * usual]
    if moved:
        named = first_of(["{} by ({:+.0f}, {:+.0f})".format(key, *displaced[key].move) for key in moved])
        message = f"labels that fit if moved to the right and down ({len(moved)}): {named} pixels; align them"
        yield Finding("warning", "displaced label", message, moved)
    strange = [key for key in displaced if key not in moved]
    remedy = "check that they belong to it, and are not flipped or far too wide"
    yield from _on("warning", "label does not fit", strange, "labels that do not fit their image", remedy)


def _polarity(records: Sequence[Record]) -> Iterator[Finding]:
    """Labels whose vessels are brighter where those of most are darker, or the reverse."""
    placed = {record.key: record.fit for record in records if record.fit is not None and not record.fit.displaced}
    brighter = [key for key, fit in placed.items() if fit.contrast >= CLEAR]
    darker = [key for key, fit in placed.items() if fit.contrast <= -CLEAR]
    groups = sorted([(brighter, "brighter"), (darker, "darker")], key=lambda group: len(group[0]))
    (odd, how), (_, most) = groups
    what = f"vessels {how} than their surroundings, where the other labels' are {most}"
    yield from _on("warning", "other polarity", odd, what, "look at them; inverting the images makes them alike")


def _repeated(records: Sequence[Record]) -> Iterator[Finding]:
    """Images that are several times in one split or have several labels, and labels that several images share."""
    labels = {record.key: record.label_content for record in records}
    images = {record.key: record.content for record in records}
    groups = same_content(images)
    twice = [group for group in groups if len(set(map(split_of, group))) < len(group)]
    what, remedy = "the same image more than once in a split", "keep it once"
    yield from _on("note", "same image in one split", [*chain.from_iterable(twice)], what, remedy)
    several = [group for group in groups if len({labels[key] for key in group}) > 1]
    what, remedy = "the same image with different labels", "keep the better label"
    yield from _on("warning", "same image, other label", [*chain.from_iterable(several)], what, remedy)
    drawn = {record.key: record.label_content for record in records if 0 < record.vessel < 1}
    shared = [group for group in same_content(drawn) if len({images[key] for key in group}) > 1]
    what, remedy = "different images with the same label", "check which of them it belongs to"
    yield from _on("warning", "same label, other image", [*chain.from_iterable(shared)], what, remedy)


def _storage(survey: Survey) -> Iterator[Finding]:
    """How images are stored, and which folders are not read."""
    turned = [record.key for record in survey.records if record.orientation != UPRIGHT]
    what, remedy = "images with an EXIF orientation, which is not applied", "check that their labels are not turned"
    yield from _on("warning", "EXIF orientation", turned, what, remedy)
    depths = Counter(record.depth for record in survey.records)
    colour = [record.key for record in survey.records if record.depth == "colour"]
    remedy = "the network sees their luminance, or the channel of data.channel"
    yield from _on("note", "colour", colour, "colour images", remedy)
    if len(depths) > 1:
        found = ", ".join(f"{count} {depth}" for depth, count in depths.most_common())
        message = f"images are stored in different ways: {found}; each is scaled by its own smallest and largest value"
        yield Finding("note", "several depths", message)
    if survey.ignored:
        message = f"folders that are not read: {first_of(survey.ignored)}; only {', '.join(SPLITS)} are"
        yield Finding("note", "other folders", message)

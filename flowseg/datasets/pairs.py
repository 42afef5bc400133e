"""Images and labels of the user's own, in two folders, whose names follow from each other."""

import re
from collections.abc import Callable, Sequence

from flowseg.datasets.cases import Case, FileLabel, Found, check_pairs, unique
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError, first_of


def pair_files(
    images: Sequence[SourceFile],
    labels: Sequence[SourceFile],
    image_pattern: str,
    label_pattern: str,
    group: str | None,
) -> Found:
    """Returns the images with their labels.

    Args:
        images: the files of the image folder.
        labels: the files of the label folder. If it is the same folder, what fits the labels' pattern is a label.
        image_pattern: how images are called: {} stands for what an image and its label share, * for anything.
        label_pattern: the same for labels.
        group: a regular expression that finds the patient in what stands for {}: its first group, or else all of it.

    Raises:
        UserError: a pattern is wrong, or an image or label is alone.
    """
    label_name, image_name = (
        _expression("--labels-pattern", label_pattern),
        _expression("--images-pattern", image_pattern),
    )
    taken = unique((match["key"], file) for file in labels if (match := label_name.fullmatch(file.name)))
    label_paths = {file.path for file in taken.values()}
    own = [file for file in images if file.path not in label_paths]
    found = unique((match["key"], file) for file in own if (match := image_name.fullmatch(file.name)))
    if not found:
        raise UserError(f"no images fit --images-pattern {image_pattern}; give patterns that tell images from labels")
    check_pairs(found, taken)
    used = label_paths | {file.path for file in found.values()}
    left = sorted({file.path.name for file in (*images, *labels) if file.path not in used})
    notes = [f"files that fit neither pattern are left out ({len(left)}): {first_of(left)}"] if left else []
    patient = _patient(group)
    cases = [Case(key, image, FileLabel((taken[key],)), group=patient(key)) for key, image in found.items()]
    return Found(cases, notes)


def _expression(option: str, pattern: str) -> re.Pattern[str]:
    """Returns the regular expression that a pattern of names stands for."""
    if pattern.count("{}") != 1:
        raise UserError(f"{option} {pattern}: must have {{}} once, in place of what an image and its label share")
    parts = re.split(r"(\{\}|\*)", pattern)
    meaning = {"{}": "(?P<key>.+)", "*": ".*"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _patient(group: str | None) -> Callable[[str], str]:
    """Returns the function from a name to its group of images; without an expression each image is alone."""
    if group is None:
        return lambda key: key
    try:
        expression = re.compile(group)
    except re.error as error:
        raise UserError(f"--group {group}: is no regular expression ({error})") from None

    def find(key: str) -> str:
        match = expression.search(key)
        found = match and match[min(1, expression.groups)]
        if not found:
            raise UserError(f"--group {group}: finds nothing in the name {key}; correct it")
        return found

    return find

"""Drawing the splits that a data set does not have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from flowseg.datasets.cases import Case
from flowseg.errors import UserError, counted


def draw_splits(cases: Sequence[Case], shares: Mapping[str, float], seed: int) -> list[Case]:
    """Returns the cases with a split each: those without one are distributed over train, val and test.

    Whole groups are drawn until a split has its share of the images, so it may get a few more.

    Args:
        cases: images of training, or without a split, are drawn from; the others keep theirs.
        shares: for val and test, if they are to be drawn: the share of the images to draw from; 0 draws none.
        seed: of the drawing.

    Raises:
        UserError: there are too few groups.
    """
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.split in (None, "train"):
            groups[case.group].append(case)
    if not groups:
        raise UserError("the download holds no images for training; give all of it")
    wanted = {split: share for split, share in shares.items() if share > 0}
    if len(groups) <= len(wanted):
        raise UserError(
            f"{counted(len(groups), 'group')} of images (patients or sequences): "
            f"too few to draw {' and '.join(wanted)} from"
        )
    names = sorted(groups)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    total = sum(map(len, groups.values()))
    drawn: dict[str, str] = {}
    for number, (split, share) in enumerate(sorted(wanted.items())):
        count = 0
        # One group at least is left for each split that follows, training among them.
        while count < max(1, round(share * total)) and len(order) > len(wanted) - number:
            group = order.pop()
            drawn[group] = split
            count += len(groups[group])
    return [
        replace(case, split=drawn.get(case.group, "train")) if case.split in (None, "train") else case
        for case in cases
    ]

"""Which images of a data set are the same, pixel for pixel, and which are nearly the same."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowseg.data.folders import split_of

ALIKE = 0.4
"""Similarity from which two images are called nearly the same (docs/data_check.md: how it was chosen)."""
_IMAGE_SIDE, _LABEL_SIDE = 48, 32  # of the thumbnails, pixels
_IMAGE_WEIGHT = 0.8  # the rest is the label's
_BORDER = 0.12  # share of each side that is cut off an image, where the frames of X-ray images are
_BLUR = 3.0  # standard deviation of what counts as an image's shading, pixels of its thumbnail
_ROWS = 512

Signature = Float32[np.ndarray, " values"]


@dataclass(frozen=True)
class Similar:
    """Two different images that are nearly the same."""

    a: str
    b: str
    similarity: float
    """0.8 times the correlation of the images' thumbnails plus 0.2 times that of the labels'."""

    @property
    def across(self) -> bool:
        """Whether the images are in different splits."""
        return split_of(self.a) != split_of(self.b)


def signature(image: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Signature:
    """Returns a vector whose product with that of another image is their similarity (`Similar.similarity`).

    Both thumbnails have mean 0 and norm 1 before they are weighted. The image's has no shading and equal contrast
    everywhere, so neither brightness, contrast nor size matter, and no frame.
    """
    fine = _without_shading(_small(image, _IMAGE_SIDE))
    border = round(_BORDER * _IMAGE_SIDE)
    tree = cv2.GaussianBlur(_small(mask.astype(np.float32), _LABEL_SIDE), (0, 0), 1.0)
    weights = np.sqrt([_IMAGE_WEIGHT, 1 - _IMAGE_WEIGHT])
    parts = (_unit(fine[border:-border, border:-border]), _unit(tree))
    return np.concatenate([weight * part for weight, part in zip(weights, parts, strict=True)]).astype(np.float32)


def same_content(contents: Mapping[str, str]) -> list[list[str]]:
    """Returns the groups of two or more names whose content hashes are equal, in the order of their first names."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, content in contents.items():
        groups[content].append(name)
    return [group for group in groups.values() if len(group) > 1]


def similar_pairs(
    signatures: Mapping[str, Signature],
    contents: Mapping[str, str],
    advance: Callable[[int], None] = lambda count: None,
) -> list[Similar]:
    """Returns all pairs of different images that are nearly the same: those of two splits first, then by similarity.

    Every image is compared with every other, in blocks of rows: memory grows with the number of images, and time with
    its square.

    Args:
        signatures: of each image, by its name.
        contents: the content hash of each image by its name; equal images are no pair.
        advance: is told after each block how many images have been compared with all others.
    """
    if not signatures:
        return []
    names, rows = list(signatures), np.stack(list(signatures.values()))
    found = []
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        similarities = block @ rows[start:].T
        for i, j in np.argwhere(np.triu(similarities, 1) >= ALIKE):
            a, b = names[start + i], names[start + j]
            if contents[a] != contents[b]:
                found.append(Similar(a, b, float(similarities[i, j])))
        advance(len(block))
    return sorted(found, key=lambda pair: (not pair.across, -pair.similarity))


def _small(values: Float32[np.ndarray, "h w"], side: int) -> Float32[np.ndarray, "s s"]:
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA))


def _without_shading(small: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """Returns a thumbnail minus its local mean, over its local standard deviation, clipped at 1.5 of them."""

    def local(values: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
        return cv2.GaussianBlur(values, (0, 0), _BLUR, borderType=cv2.BORDER_REFLECT)

    fine = small - local(small)
    # What is added keeps noise in even areas from being blown up; images span -1 to 1.
    return np.clip(fine / (np.sqrt(local(fine * fine)) + 0.02), -1.5, 1.5)


def _unit(values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, " n"]:
    """Returns values with mean 0 and norm 1, or zeros if they are all the same."""
    centred = (values - values.mean()).ravel()
    norm = np.linalg.norm(centred)
    return centred / norm if norm > 1e-6 else np.zeros_like(centred)

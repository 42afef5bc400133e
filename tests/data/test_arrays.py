"""Images given as arrays: they have the grey values, types and hashes of files with the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.data.arrays import grey_values
from flowseg.data.image_files import content_hash, decode

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 23)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (256, 300, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 2**16, (40, 23)).astype(np.uint16)
REAL = RNG.normal(0, 1e3, (40, 23)).astype(np.float32)


@pytest.mark.parametrize(("image", "suffix"), [(BYTES, "png"), (COLOUR, "png"), (DEEP, "png"), (REAL, "tif")])
def test_an_array_is_the_file_of_its_pixels(image: np.ndarray, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"file.{suffix}"
    Image.fromarray(image).save(file)
    given, read = grey_values(image, "image"), decode(file)
    np.testing.assert_array_equal(given, read)
    assert content_hash(given) == content_hash(read)


@pytest.mark.parametrize("grey", [BYTES, DEEP, REAL], ids=["uint8", "uint16", "float32"])
def test_grey_stored_as_rgb_is_grey(grey: np.ndarray) -> None:
    given = grey_values(np.repeat(grey[..., None], 3, axis=2), "image")
    np.testing.assert_array_equal(given, grey)
    assert given.dtype == grey.dtype


def test_the_type_follows_from_the_values() -> None:
    """Byte order, strides and width do not matter; whole numbers stay whole where they fit 16 bits.

    Those of an 8-bit image are that image in any type but uint16, in which files of 16 bits come.
    """
    for same in (BYTES.astype(np.int64), BYTES.astype(np.uint32), BYTES.astype(np.int16)):
        assert content_hash(grey_values(same, "image")) == content_hash(BYTES)
        assert content_hash(grey_values(same[..., None].repeat(3, 2), "image")) == content_hash(BYTES)
    for deep in ("<u2", ">u2"):
        assert content_hash(grey_values(BYTES.astype(deep), "image")) == content_hash(BYTES.astype(np.uint16))
    for same in (DEEP.astype(">u2"), DEEP.astype(np.int64), np.asfortranarray(DEEP)):
        assert content_hash(grey_values(same, "image")) == content_hash(DEEP)
    for same in (REAL.astype(np.float64), REAL.astype(">f4")):
        assert content_hash(grey_values(same, "image")) == content_hash(REAL)
    assert grey_values(DEEP.astype(np.int32) - 1000, "image").dtype == np.float32


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ([[0, 1]], "image: is no NumPy array but list; the model's `read` reads image files"),
        (Image.fromarray(BYTES), "image: is no NumPy array but Image"),
        (BYTES > 9, "image: has the dtype bool; give uint8"),
        (REAL.astype(complex), "image: has the dtype complex128"),
        (
            np.zeros((2, 3, 4, 1)),
            "image: has the shape (2, 3, 4, 1); give a grey image (h, w) or RGB (h, w, 3)",
        ),
        (np.zeros((40, 23, 4)), "image: has the shape (40, 23, 4)"),
        (np.zeros((3, 40, 23)), "image: has the shape (3, 40, 23)"),
        (np.zeros((0, 5)), "image: has the shape (0, 5)"),
        (np.zeros(5), "image: has the shape (5,)"),
        (np.where(REAL > 0, REAL, np.nan), "image: has values that are not finite numbers"),
        (REAL.astype(np.float64) * 1e300, "image: has values that are not finite numbers in float32"),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray, reason: str) -> None:
    assert refusal(lambda: grey_values(image, "image")).startswith(reason)

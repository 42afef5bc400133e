"""Phantoms whose mask only the embedding tells."""

from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from flowseg.config import DataConfig
from flowseg.data.dataset import load_splits
from flowseg.data.image_files import read_image
from flowseg.embeddings.choice import STORE_NAME, write_choice_store
from flowseg.embeddings.store import EmbeddingStore
from flowseg.phantoms.choice import draw_choice, write_choice_phantoms

SIZE = 96


def add_store(folder: Path, keys: list[str], hashes: list[str], bright: list[bool]) -> None:
    write_choice_store(folder / STORE_NAME, keys, hashes, bright, seed=0)


def test_both_trees_are_equally_visible_whichever_is_asked_for() -> None:
    # The tree to segment is darker than its surroundings, or brighter by about as much.
    contrasts: dict[bool, list[float]] = {False: [], True: []}
    for index in range(40):
        image, label, bright = draw_choice(0, index, SIZE)
        inside = label > 0
        contrasts[bright].append(float(image[inside].mean()) - float(np.median(image[~inside])))
    dark, bright = np.mean(contrasts[False]), np.mean(contrasts[True])
    assert min(len(part) for part in contrasts.values()) > 10
    assert dark < -5 < 5 < bright
    assert 0.6 < -dark / bright < 1.7


def test_a_drawing_is_a_function_of_seed_and_index() -> None:
    first, again, other = (draw_choice(seed, 3, SIZE) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[2] == again[2]
    assert (first[0] != other[0]).any()


def test_the_store_tells_and_the_data_set_loads(tmp_path: Path) -> None:
    root, counts = tmp_path / "data", {"train": 12, "val": 4, "test": 8}
    write_choice_phantoms(root, finish=add_store, size=SIZE, counts=counts)
    splits = load_splits(root, DataConfig(root=str(root), crop=64), list(counts))
    assert {split: len(data) for split, data in splits.items()} == counts
    opened = EmbeddingStore(root / STORE_NAME)
    vectors = np.concatenate(
        [opened.vectors([p.key for p in d.pairs], d.contents, str(root)) for d in splits.values()]
    )
    asked = np.array([draw_choice(0, index, SIZE)[2] for index in range(24)])
    # The first principal direction separates the images by the tree to segment.
    axis = np.linalg.svd(vectors, full_matrices=False)[2][0]
    told = vectors @ axis > 0
    assert (told == asked).all() or (told != asked).all()
    # Apart from that direction the vectors are independent noise.
    left = vectors - np.outer(vectors @ axis, axis)
    cosines = np.corrcoef(left)[np.triu_indices(24, 1)]
    assert abs(cosines).max() < 0.7
    assert read_image(splits["train"].pairs[0].image)[1] in splits["train"].contents
    message = refusal(lambda: write_choice_phantoms(root, finish=add_store, size=SIZE, counts=counts))
    assert "exists already" in message


def test_nothing_half_written(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_choice_phantoms(tmp_path / "data", finish=full, size=SIZE, counts={"train": 2})
    assert not list(tmp_path.iterdir())

"""The description of a store: spread, similarity and coverage of known vectors."""

from pathlib import Path

import numpy as np
import pytest
from encoders import Counting, run, write_images

from flowseg.embeddings import info
from flowseg.embeddings.images import find_images
from flowseg.embeddings.info import compare_pairs, measure_coverage, measure_spread
from flowseg.embeddings.store import EmbeddingStore, Encoder, write_store


def _store(path: Path, vectors: np.ndarray, same_picture: bool = False) -> EmbeddingStore:
    count = len(vectors)
    hashes = [f"{0 if same_picture else i:032x}" for i in range(count)]
    keys = [f"n{i}" for i in range(count)]
    write_store(path, Encoder("x", {}, vectors.shape[1]), keys, hashes, vectors)
    return EmbeddingStore(path)


def _around(mean: float, deviation: float, count: int = 50, width: int = 40) -> np.ndarray:
    return (mean + deviation * np.random.default_rng(0).standard_normal((count, width))).astype(np.float32)


def test_norms_and_spread_by_their_definition(tmp_path: Path) -> None:
    vectors = _around(2.0, 0.5)
    spread = measure_spread(_store(tmp_path / "store", vectors))
    norms = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(spread.norms, (norms.min(), np.median(norms), norms.max()), rtol=1e-6)
    mean = vectors.mean(axis=0, dtype=np.float64)
    expected = np.square(vectors - mean).sum(axis=1).mean() / np.square(mean).sum()
    assert spread.spread == pytest.approx(expected, rel=1e-9)
    assert not spread.useless and not spread.identical


@pytest.mark.parametrize(("deviation", "useless"), [(0.1, False), (0.04, False), (0.02, True), (1e-4, True)])
def test_vectors_that_hardly_differ_are_called_useless(tmp_path: Path, deviation: float, useless: bool) -> None:
    spread = measure_spread(_store(tmp_path / "store", _around(1.0, deviation)))
    assert spread.spread == pytest.approx(deviation**2, rel=0.1)  # the limit, 1e-3, is a deviation of 3.2 %
    assert spread.useless is useless and not spread.identical


def test_tiny_differences_are_not_lost_to_rounding(tmp_path: Path) -> None:
    vectors = np.full((3, 5), 1000.0, np.float32)
    vectors[1, 0] = np.nextafter(np.float32(1000), np.float32(2000))
    spread = measure_spread(_store(tmp_path / "store", vectors))
    assert spread.useless and not spread.identical and 0 < spread.spread < 1e-12


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_identical_vectors_are_called_useless(tmp_path: Path, value: float) -> None:
    spread = measure_spread(_store(tmp_path / "store", np.full((4, 3), value, np.float32)))
    assert spread.identical and spread.useless and spread.spread == 0


def test_a_single_vector_says_nothing_of_differences(tmp_path: Path) -> None:
    assert not measure_spread(_store(tmp_path / "store", np.ones((1, 3), np.float32))).useless


def test_vectors_around_zero_are_not_useless(tmp_path: Path) -> None:
    spread = measure_spread(_store(tmp_path / "store", np.array([[1, 0], [-1, 0]], np.float32)))
    assert spread.spread == np.inf and not spread.useless


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path / "store", _around(1.0, 0.3))
    whole = measure_spread(store)
    blocks = EmbeddingStore.blocks
    monkeypatch.setattr(EmbeddingStore, "blocks", lambda self: blocks(self, rows=7))
    parts = measure_spread(store)
    assert parts.spread == pytest.approx(whole.spread, rel=1e-12) and parts.norms == whole.norms


def test_every_pair_counts_once_in_the_histogram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "_ROWS", 7)
    vectors = _around(0.5, 1.0)
    pairs = compare_pairs(_store(tmp_path / "store", vectors))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = (unit @ unit.T)[np.triu_indices(50, 1)]
    assert pairs.histogram.sum() == 50 * 49 // 2
    np.testing.assert_array_equal(pairs.histogram, np.histogram(expected, info.COSINE_EDGES)[0])
    assert pairs.compared == pairs.of == 50


def test_nearly_equal_vectors_of_different_images_are_named(tmp_path: Path) -> None:
    vectors = _around(0.0, 1.0)
    vectors[31] = 3 * vectors[4] + 1e-3
    pairs = compare_pairs(_store(tmp_path / "store", vectors))
    assert pairs.duplicates == 1
    ((one, other, cosine),) = pairs.named
    assert (one, other) == ("n4", "n31") and cosine > 0.9999


def test_a_picture_twice_is_not_a_near_duplicate(tmp_path: Path) -> None:
    pairs = compare_pairs(_store(tmp_path / "store", np.ones((3, 4), np.float32), same_picture=True))
    assert pairs.duplicates == 0 and pairs.histogram.sum() == 0


def test_many_near_duplicates_are_counted_and_the_first_named(tmp_path: Path) -> None:
    pairs = compare_pairs(_store(tmp_path / "store", np.ones((30, 4), np.float32)))
    assert pairs.duplicates == 30 * 29 // 2 and len(pairs.named) == 10
    assert len({(one, other) for one, other, _ in pairs.named}) == 10


def test_zero_vectors_have_no_direction(tmp_path: Path) -> None:
    pairs = compare_pairs(_store(tmp_path / "store", np.zeros((3, 4), np.float32)))
    assert pairs.duplicates == 0 and pairs.histogram.sum() == 3


def test_of_many_images_a_fixed_sample_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MOST_COMPARED", 20)
    store = _store(tmp_path / "store", _around(0.0, 1.0))
    pairs = compare_pairs(store)
    assert (pairs.compared, pairs.of) == (20, 50) and pairs.histogram.sum() == 20 * 19 // 2
    np.testing.assert_array_equal(compare_pairs(store).histogram, pairs.histogram)
    assert (compare_pairs(store, seed=1).histogram != pairs.histogram).any()


def test_coverage_is_by_content_and_per_split(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number, split in enumerate(("train", "val")):
        write_images(root / split / "image", 3, seed=number)
        write_images(root / split / "label", 3, seed=number)
    run(root, Counting(), tmp_path / "store")
    (root / "val" / "image" / "a01.png").write_bytes((root / "train" / "image" / "a00.png").read_bytes())
    write_images(root / "test" / "image", 2, seed=7)
    write_images(root / "test" / "label", 2, seed=7)
    for kind in ("image", "label"):
        (root / "train" / kind / "a02.png").rename(root / "train" / kind / "renamed.png")
    coverage = measure_coverage(EmbeddingStore(tmp_path / "store"), find_images(root))
    assert [(part.split, part.held, part.total, part.missing) for part in coverage] == [
        ("train", 3, 3, []),
        ("val", 3, 3, []),
        ("test", 0, 2, ["test/a00", "test/a01"]),
    ]

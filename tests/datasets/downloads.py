"""Small downloads in the layout of each public data set, drawn by code, with what an import must make of them."""

import gzip
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from flowseg.data.folders import SPLITS
from flowseg.datasets.build import Drawing, import_set

HEIGHT, WIDTH = 20, 24
DRAW = Drawing(shares={}, seed=0, vessel=None)
"""The splits that a data set does not have are drawn as by default."""


@dataclass(frozen=True)
class Drawn:
    """An image of a download."""

    stem: str
    image: Path
    mask: np.ndarray
    split: str | None = None
    """As published; None: it may be in any."""
    fov: np.ndarray | None = None


def noise(number: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, *channels)).astype(np.uint8)


def mask_of(number: int) -> np.ndarray:
    return np.random.default_rng(1000 + number).random((HEIGHT, WIDTH)) > 0.8


def disc() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(y - HEIGHT / 2, x - WIDTH / 2) < 9


def put(path: Path, pixels: np.ndarray) -> Path:
    """Writes an image; a mask as 0 and 255, or as one bit where its format has that in the real set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels).save(path)
    return path


def pack(archive: Path, folder: Path) -> Path:
    """Replaces a folder by a zip archive of what is in it."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder).as_posix())
            if path.is_file():
                path.unlink()
    return archive


def drive(root: Path) -> list[Drawn]:
    drawn = []
    for part, split, numbers in (("training", "train", range(21, 31)), ("test", "test", range(1, 4))):
        for n in numbers:
            stem, mask = f"{n:02d}_{part}", mask_of(n)
            image = put(root / part / "images" / f"{stem}.tif", noise(n, 3))
            put(root / part / "1st_manual" / f"{n:02d}_manual1.gif", mask)
            put(root / part / "2nd_manual" / f"{n:02d}_manual2.gif", ~mask)
            put(root / part / "mask" / f"{stem}_mask.gif", disc())
            drawn.append(Drawn(stem, image, mask, None if split == "train" else split, disc()))
    return drawn


def chase_db1(root: Path) -> list[Drawn]:
    drawn = []
    for n in range(1, 9):
        for eye in "LR":
            stem, mask = f"Image_{n:02d}{eye}", mask_of(n + 50 * (eye == "R"))
            image = put(root / f"{stem}.jpg", noise(n, 3))
            Image.fromarray(mask).save(root / f"{stem}_1stHO.png")  # one bit per pixel
            Image.fromarray(~mask).save(root / f"{stem}_2ndHO.png")
            drawn.append(Drawn(stem, image, mask))
    return drawn


def stare(root: Path) -> list[Drawn]:
    drawn = []
    for n in (1, 2, 3, 44, 77, 81):
        stem, mask = f"im{n:04d}", mask_of(n)
        for folder, name, pixels in (
            ("stare-images", stem, noise(n, 3)),
            ("labels-ah", f"{stem}.ah", mask),
            ("labels-vk", f"{stem}.vk", ~mask),
        ):
            path = put(root / folder / f"{name}.ppm", pixels)
            (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.rename(root.parent / path.name)  # only the packed file is in the download
        drawn.append(Drawn(stem, root.parent / f"{stem}.ppm", mask))
    return drawn


def hrf(root: Path) -> list[Drawn]:
    drawn = []
    for n in range(1, 4):
        for kind in ("h", "dr", "g"):
            stem, mask = f"{n:02d}_{kind}", mask_of(n + len(kind))
            image = put(root / "images" / f"{stem}.{'JPG' if kind == 'dr' else 'jpg'}", noise(n, 3))
            put(root / "manual1" / f"{stem}.tif", mask)
            put(root / "mask" / f"{stem}_mask.tif", np.stack([disc()] * 3, axis=-1))
            drawn.append(Drawn(stem, image, mask, fov=disc()))
    return drawn


def fives(root: Path) -> list[Drawn]:
    drawn = []
    top = root / "FIVES A Fundus Image Dataset for AI-based Vessel Segmentation"
    for part, names in (("train", ("1_A", "2_D", "3_G", "4_N")), ("test", ("1_A", "2_N"))):
        for n, name in enumerate(names):
            mask = mask_of(n + 10 * (part == "test"))
            image = put(top / part / "Original" / f"{name}.png", noise(n, 3))
            put(top / part / "Ground truth" / f"{name}.png", np.stack([mask] * 3, axis=-1))
            drawn.append(Drawn(name, image, mask, "test" if part == "test" else None))
    (top / "train" / "Original" / "Thumbs.db").write_bytes(b"not an image")
    return drawn


CATEGORIES = [{"id": 1, "name": "1"}, {"id": 5, "name": "9a"}, {"id": 26, "name": "stenosis"}]


def rectangle(left: int, top: int, right: int, bottom: int) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def arcade(root: Path) -> list[Drawn]:
    """Each image has two segments that touch, and a stenosis that reaches beyond them."""
    drawn = []
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        folder = root / "arcade" / "syntax" / part
        coco: dict[str, list[dict[str, object]]] = {"images": [], "categories": CATEGORIES, "annotations": []}
        for n in range(1, count + 1):
            image = put(folder / "images" / f"{n}.png", noise(n))
            coco["images"].append({"id": 100 + n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT})
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[n : n + 3, 2:13] = True
            for category, shape in (
                (1, rectangle(2, n, 8, n + 2)),
                (5, rectangle(8, n, 12, n + 2)),
                (26, rectangle(3, n, 4, n + 9)),
            ):
                coco["annotations"].append(
                    {
                        "id": len(coco["annotations"]),
                        "image_id": 100 + n,
                        "category_id": category,
                        "segmentation": [shape],
                    }
                )
            drawn.append(Drawn(f"{n}", image, mask, part))
        (folder / "annotations").mkdir()
        (folder / "annotations" / f"{part}.json").write_text(json.dumps(coco))
    return drawn


def dca1(root: Path) -> list[Drawn]:
    drawn = []
    for n in (1, 2, 3, 4, 101, 134):
        mask = mask_of(n)
        image = put(root / "Database_134_Angiograms" / f"{n}.pgm", noise(n))
        values = " ".join(map(str, (mask * 255).ravel()))
        (image.parent / f"{n}_gt.pgm").write_text(f"P2\n{WIDTH} {HEIGHT}\n255\n{values}\n")
        drawn.append(Drawn(str(n), image, mask, "test" if n > 100 else None))
    return drawn


def xcad(root: Path) -> list[Drawn]:
    drawn = []
    for n in range(12240, 12246):
        for frame in (33, 34):
            stem, mask = f"{n}_{frame}", mask_of(n + frame)
            image = put(root / "XCAD" / "test" / "images" / f"{stem}.png", noise(n))
            put(root / "XCAD" / "test" / "masks" / f"{stem}.png", mask)
            drawn.append(Drawn(stem, image, mask))
    put(root / "XCAD" / "train" / "trainB" / "1.png", noise(0))
    return drawn


def octa500(root: Path, numbers: dict[int, str]) -> list[Drawn]:
    drawn = []
    for n in (*range(10001, 10003), 10181, 10201, *range(10301, 10303), 10441, 10451):
        large, fine = mask_of(n), mask_of(n + 1)
        field = "3mm_part3/OCTA_3mm" if n > 10300 else "6mm_part8/OCTA_6mm"
        image = put(root / f"OCTA_{field}" / "Projection Maps" / "OCTA(ILM_OPL)" / f"{n}.bmp", noise(n))
        put(image.parents[1] / "OCT(FULL)" / image.name, noise(n + 1))
        put(root / "Label" / "GT_LargeVessel" / image.name, large)
        put(root / "Label" / "GT_Capillary" / image.name, fine)
        put(root / "Label" / "GT_FAZ" / image.name, ~large)
        if n in numbers:
            drawn.append(Drawn(str(n), image, large, numbers[n]))
    return drawn


def octa500_3mm(root: Path) -> list[Drawn]:
    return octa500(root, {10301: "train", 10302: "train", 10441: "val", 10451: "test"})


def octa500_6mm(root: Path) -> list[Drawn]:
    return octa500(root, {10001: "train", 10002: "train", 10181: "val", 10201: "test"})


def rossa(root: Path, parts: tuple[str, ...] = ("train_manual", "train_sam", "val", "test")) -> list[Drawn]:
    drawn = []
    for part, number in (("train_manual", 1), ("train_sam", 301), ("val", 101), ("test", 201)):
        for n in (number, number + 1):
            mask = mask_of(n)
            image = put(root / "dataset" / "ROSSA" / part / "image" / f"{n}.png", noise(n))
            put(root / "dataset" / "ROSSA" / part / "label" / f"{n}.png", mask)
            if part in parts:
                drawn.append(Drawn(str(n), image, mask, part.removesuffix("_manual").removesuffix("_sam")))
    return drawn


def rossa_manual(root: Path) -> list[Drawn]:
    return rossa(root, ("train_manual", "val", "test"))


DOWNLOADS: dict[str, Callable[[Path], list[Drawn]]] = {
    "drive": drive,
    "chase-db1": chase_db1,
    "stare": stare,
    "hrf": hrf,
    "fives": fives,
    "arcade": arcade,
    "dca1": dca1,
    "xcad": xcad,
    "octa500-3mm": octa500_3mm,
    "octa500-6mm": octa500_6mm,
    "rossa": rossa,
    "rossa-manual": rossa_manual,
}


def imported(name: str, source: Path, out: Path, drawing: Drawing = DRAW, **more: object) -> dict[str, set[str]]:
    """Imports a download, and returns the stems in each split."""
    import_set(name, source, out, drawing, **more)  # type: ignore[arg-type]
    return stems(out)


def stems(out: Path) -> dict[str, set[str]]:
    """Returns the stems of the images in each split of a data set."""
    return {split: {path.stem for path in (out / split / "image").iterdir()} for split in SPLITS}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)

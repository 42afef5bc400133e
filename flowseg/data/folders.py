"""Data sets on disk: which image and label files belong together.

    ROOT/{train,val,test}/{image,label}/STEM.png
    ROOT/{train,val,test}/fov/STEM.png

The folders may also be called `images`, and `labels`, `mask` or `masks`. `fov` is optional: each image's field of
view. Files are of the KINDS of image_files.py, of any size, in grey or RGB. Whatever does not fit raises a
`UserError` that names the file.
"""

from dataclasses import dataclass
from pathlib import Path

from flowseg.data.image_files import KINDS, SUFFIXES, no_file
from flowseg.errors import UserError
from flowseg.files import is_text

SPLITS = ("train", "val", "test")
_IMAGE_FOLDERS = ("image", "images")
_LABEL_FOLDERS = ("label", "labels", "mask", "masks")
FOV_FOLDER = "fov"
_MANUAL_FOLDERS = ("1st_manual", "2nd_manual", "manual", "manual1", "labels-ah", "labels-vk")
"""Where retinal data sets keep their labels. Their `mask` is the field of view."""


@dataclass(frozen=True)
class Pair:
    """One image and its label on disk."""

    key: str
    """split/stem: the image's name in stores and tables."""
    image: Path
    label: Path
    fov: Path | None = None
    """Its field of view; either all images of a split have one, or none."""


def split_of(key: str) -> str:
    """Returns the split in an image's name, or an empty string for an image of a plain folder."""
    split, slash, _ = key.partition("/")
    return split if slash else ""


def _subfolder(split_folder: Path, names: tuple[str, ...]) -> Path:
    """Returns the one subfolder that has one of the names."""
    found = [split_folder / name for name in names if (split_folder / name).is_dir()]
    if not found:
        raise UserError(f"{split_folder}: has no folder {' or '.join(names)}; expected {split_folder / names[0]}")
    if len(found) > 1:
        raise UserError(f"{split_folder}: has both {found[0].name} and {found[1].name}; keep one of them")
    manual = [name for name in _MANUAL_FOLDERS if (split_folder / name).is_dir()]
    if found[0].name in ("mask", "masks") and manual:
        raise UserError(
            f"{found[0]}: is not taken as the labels beside {manual[0]}, since it may be the field of view; rename "
            f"{manual[0]} to {names[0]}, and {found[0].name} to {FOV_FOLDER} if it is one or take it away"
        )
    return found[0]


def check_name(path: Path) -> None:
    """Raises a UserError if the name of a file is not UTF-8, as tables and reports need it."""
    if not is_text(path.name):
        raise _not_text(path)


def _not_text(path: Path) -> UserError:
    return UserError(f"{path.parent}: the file name {path.name!r} is not UTF-8; rename the file")


def list_images(folder: Path) -> dict[str, Path]:
    """Returns the image files of a folder by stem, sorted by name; hidden and other files are ignored.

    Raises:
        UserError: two files have the same stem, a name is not UTF-8, or what has an image's name is no file.
    """
    files, problems = _by_stem(folder)
    if problems:
        raise problems[0]
    return files


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[UserError]]:
    """Returns the image files of a folder by stem, and what is wrong with their names."""
    files: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir() or path.suffix.lower() not in SUFFIXES:
            continue
        if not path.is_file():
            problems.append(no_file(path))
            continue
        if path.stem in files:
            problems.append(UserError(f"{path}: {files[path.stem].name} has the same stem; rename or remove one"))
        if not is_text(path.name):
            problems.append(_not_text(path))
        files.setdefault(path.stem, path)
    return files, problems


def find_pairs(root: Path, split: str) -> list[Pair]:
    """Returns the image-label pairs of a split, sorted by name; each image needs a label, and each label an image.

    If the split has a folder of fields of view, the same holds for them.

    Raises:
        UserError: the first problem of `match_files`.
    """
    pairs, problems = match_files(root, split)
    if problems:
        raise problems[0]
    return pairs


def match_files(root: Path, split: str) -> tuple[list[Pair], list[UserError]]:
    """Returns the image-label pairs of a split, sorted by name, and everything that is wrong with its folders."""
    if not root.is_dir():
        return [], [UserError(f"{root}: no such folder; give one that holds {', '.join(SPLITS)}")]
    split_folder = root / split
    if not split_folder.is_dir():
        layout = f"{{{','.join(SPLITS)}}}/{{image,label}}/STEM.png"
        return [], [UserError(f"{split_folder}: no such folder; expected {root}/{layout}")]
    try:
        image_folder, label_folder = _subfolder(split_folder, _IMAGE_FOLDERS), _subfolder(split_folder, _LABEL_FOLDERS)
    except UserError as error:
        return [], [error]
    (images, problems), (labels, more) = _by_stem(image_folder), _by_stem(label_folder)
    problems += more
    if not images:
        problems.append(UserError(f"{image_folder}: is empty; put images ({', '.join(KINDS)}) into it"))
        return [], problems
    for stem, path in images.items():
        if stem not in labels:
            problems.append(UserError(f"{path}: has no label {label_folder / stem}.*; add it or remove the image"))
    for stem, path in labels.items():
        if stem not in images:
            problems.append(UserError(f"{path}: has no image {image_folder / stem}.*; add it or remove the label"))
    whole = [stem for stem in images if stem in labels]
    fov_folder = split_folder / FOV_FOLDER
    if not fov_folder.is_dir():
        return [Pair(f"{split}/{stem}", images[stem], labels[stem]) for stem in whole], problems
    fovs, more = _by_stem(fov_folder)
    problems += more
    for stem, path in images.items():
        if stem not in fovs:
            problems.append(missing_fov(path, fov_folder / stem))
    for stem, path in fovs.items():
        if stem not in images:
            remedy = "add it or remove the field of view"
            problems.append(UserError(f"{path}: has no image {image_folder / stem}.*; {remedy}"))
    found = [Pair(f"{split}/{stem}", images[stem], labels[stem], fovs[stem]) for stem in whole if stem in fovs]
    return found, problems


def missing_fov(image: Path, expected: Path) -> UserError:
    """The error for an image without a field of view, where others have one; `expected` has no suffix."""
    return UserError(f"{image}: has no field of view {expected}.*; add it (either all images have one, or none)")

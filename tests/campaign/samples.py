"""Files of every kind that flowseg reads, as they should be: what the fuzzer begins with."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.campaign.bench import SHAPE
from tests.campaign.outcome import apart
from tests.datasets.downloads import arcade, dca1, drive, pack, stare
from tests.dicom_files import rescale, write_dicom
from tests.made_data import angiogram


def images(folder: Path) -> None:
    """Grey and colour images in every format that is read."""
    grey, label = angiogram(7, SHAPE)
    deep = grey.astype(np.uint16) * 257
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    made = {name: Image.fromarray(pixels) for name, pixels in (("grey", grey), ("deep", deep), ("colour", colour))}
    made["float"] = Image.fromarray(grey.astype(np.float32) / 7)
    made["palette"] = made["colour"].quantize(16)
    made["one bit"] = Image.fromarray(label > 0)
    made["alpha"] = made["colour"].convert("RGBA")
    made["grey alpha"] = made["grey"].convert("LA")
    wanted: dict[str, dict[str, dict[str, Any]]] = {
        ".png": {key: {} for key in ("grey", "deep", "colour", "palette", "one bit", "alpha", "grey alpha")},
        ".jpg": {"grey": {}, "colour": {"quality": 80, "progressive": True}},
        ".tif": {
            **{key: {} for key in ("grey", "deep", "float", "one bit")},
            "colour": {"compression": "tiff_lzw"},
            "palette": {"compression": "tiff_adobe_deflate"},
        },
        ".pgm": {"grey": {}, "deep": {}},
        ".ppm": {"colour": {}},
        ".bmp": {key: {} for key in ("grey", "colour", "palette", "one bit")},
        ".gif": {"grey": {}},
    }
    for suffix, kinds in wanted.items():
        for kind, settings in kinds.items():
            made[kind].save(folder / f"{kind.replace(' ', '_')}{suffix}", **settings)
    exif = Image.Exif()
    exif[274] = 6
    made["grey"].save(folder / "turned.jpg", exif=exif)
    (folder / "plain.pgm").write_text(f"P2\n{SHAPE[1]} {SHAPE[0]}\n255\n{' '.join(map(str, grey.ravel()))}\n")
    # Content of formats that Pillow knows and flowseg does not read, under names that it does.
    for kind in ("WEBP", "TGA", "PCX", "SGI", "ICO", "EPS", "DDS", "JPEG2000", "AVIF"):
        try:
            made["colour"].save(folder / f"foreign_{kind}.png", kind)
        except (OSError, KeyError):
            continue  # this Pillow does not write it


def labels(folder: Path) -> None:
    """Labels of 0 and 255, of one bit, and of a palette."""
    mask = Image.fromarray(angiogram(7, SHAPE)[1])
    for suffix in ("png", "tif", "bmp", "gif", "pgm"):
        mask.save(folder / f"label.{suffix}")
    mask.convert("1").save(folder / "bit.png")
    mask.convert("1").save(folder / "bit.tif", compression="group4")
    mask.convert("P").save(folder / "palette.png")


def dicoms(folder: Path) -> None:
    """DICOM files of one and of several frames."""
    grey = angiogram(7, SHAPE)[0]
    write_dicom(folder / "a.dcm", grey)
    write_dicom(folder / "deep.dcm", grey.astype(np.uint16) * 16, bits=12)
    write_dicom(folder / "signed.dcm", grey.astype(np.int16) - 100, RescaleSlope=2, RescaleIntercept=-5)
    write_dicom(folder / "inverted.dcm", grey, PhotometricInterpretation="MONOCHROME1")
    frames = np.stack([grey, grey[::-1], grey[:, ::-1]])
    write_dicom(folder / "frames", frames, PerFrameFunctionalGroupsSequence=[rescale(s, 0) for s in (1, -2, 3)])


def downloads(folder: Path) -> None:
    """Archives of public data sets; the name of a file begins with that of its set."""
    for name, draw in (("dca1", dca1), ("arcade", arcade), ("drive", drive), ("stare", stare)):
        draw(folder / "set" / name)
        if name == "dca1":
            with tarfile.open(folder / "dca1.tar", "w") as archive:
                archive.add(folder / "set" / name, "")
        pack(folder / f"{name}.zip", folder / "set" / name)
    shutil.rmtree(folder / "set")


def checkpoints(folder: Path) -> None:
    """A checkpoint of the original project; needs PyTorch, and JAX runs in a process apart."""
    apart(lambda: _write_ckpt(folder / "original.ckpt"))


def _write_ckpt(path: Path) -> str:
    import torch

    from flowseg.config import Config, DataConfig, ModelConfig
    from flowseg.interop.export_torch import export_torch
    from flowseg.models.network import init_params

    model = ModelConfig(dim=8, multipliers=(1, 1, 1, 1), heads=4, head_dim=32, full_attention_levels=(2, 3))
    config = Config(model=model, data=DataConfig(crop=32))
    arrays = export_torch(init_params(config), config)
    content = {
        "state_dict": {name: torch.from_numpy(array) for name, array in arrays.items()},
        "hyper_parameters": {"image_size": 32, "attn_resolutions": [8, 4]},
        "epoch": 3,
    }
    torch.save(content, path)
    return ""


def logs(folder: Path) -> None:
    """Training logs that another tool wrote."""
    lines = ["epoch,train_loss,val_dice", *(f"{e},{1 / e:.4f},{1 - 1 / (e + 1):.4f}" for e in range(1, 9))]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    (folder / "gaps.csv").write_text("\ufeff" + "\r\n".join([*lines[:4], "4,,", "5,0.2,nan", *lines[6:]]))

"""DICOM files made for the tests."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    generate_uid,
)


def empty(path: Path, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """A DICOM file without pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    little = UID(syntax).is_little_endian
    dataset = FileDataset(str(path), {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=little)
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    return dataset


def dataset_of(path: Path, pixels: np.ndarray, bits: int | None = None, **elements: Any) -> FileDataset:
    """A grey DICOM file in memory: (h, w) or (frames, h, w) whole numbers, of which `bits` bits are stored."""
    dataset = empty(path)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.add_new("PixelData", "OW" if dataset.BitsAllocated > 8 else "OB", pixels.tobytes())
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def write_dicom(path: Path, pixels: np.ndarray, bits: int | None = None, **elements: Any) -> Path:
    """Writes such a file."""
    dataset_of(path, pixels, bits, **elements).save_as(path, enforce_file_format=True)
    return path


def rescale(slope: float, intercept: float) -> Dataset:
    """A rescale as functional groups hold it."""
    item, group = Dataset(), Dataset()
    item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, intercept, "US"
    group.PixelValueTransformationSequence = [item]
    return group

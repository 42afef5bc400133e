"""Image files: which are read, what is refused, and how pixels become images, labels and fields of view."""

import ctypes
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Num, Shaped, UInt8
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, _imaging

from flowseg.config import Channel
from flowseg.errors import UserError

KINDS = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "tif": "TIFF",
    "tiff": "TIFF",
    "pgm": "PPM",
    "ppm": "PPM",
    "bmp": "BMP",
    "gif": "GIF",
}
"""What counts as an image: the suffix of its name, and Pillow's name of its format."""
SUFFIXES = tuple(f".{kind}" for kind in KINDS)
FORMATS = tuple(dict.fromkeys(KINDS.values()))
"""What Pillow may decode. It goes by a file's content, not by its name, and for some formats it starts other programs:
an EPS file called a.png would be run by Ghostscript."""
MAX_PIXELS = 2**26
"""8192 x 8192, the largest image that is read: eight times that of the supported data sets (HRF). A file of 20 KB can
claim any size, and the memory that it takes is 5 to 10 bytes a pixel."""
PIXELS_VARIABLE = "FLOWSEG_MAX_PIXELS"
"""Names the environment variable that allows more pixels, or fewer."""
# Pillow warns from 89 million pixels on, and refuses twice as many; open_image refuses earlier, and says what to do.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# What it warns about in damaged files either does not matter here or is an error below, which is one line.
warnings.filterwarnings("ignore", module=r"PIL\.")
# libtiff, by which Pillow reads compressed TIFF files, prints what is wrong before Pillow raises its error.
with suppress(OSError, AttributeError):  # Pillow may have been built without it, or with its names hidden
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes for grey values of more than 8 bits."""
_GREY = ("1", "L", "LA")
CHANNELS = ("red", "green", "blue")
"""The channels of an RGB image, in their order."""
UPRIGHT = 1
"""The EXIF orientation of an image that is stored as it is to be seen."""
_TWO_VALUES = "threshold it and save it without lossy compression"


def no_file(path: Path) -> UserError:
    """The error for an image that is no file: reading a FIFO or a device might never end."""
    what = "no such file (a link to what is not there)" if not path.exists() else "a FIFO, a device or a socket"
    return UserError(f"{path}: is {what}; an image is a file: replace or remove it")


def check_pixels(path: Path, height: int, width: int) -> None:
    """Raises a UserError if an image has more pixels than MAX_PIXELS, or than $FLOWSEG_MAX_PIXELS."""
    allowed = max_pixels()
    if height * width > allowed:
        raise _too_large(path, f"{width}x{height} pixels", allowed)


def max_pixels() -> int:
    """Returns the most pixels that an image may have.

    Raises:
        UserError: $FLOWSEG_MAX_PIXELS is not a whole number above 0.
    """
    given = os.environ.get(PIXELS_VARIABLE)
    if not given:
        return MAX_PIXELS
    if not given.isdecimal() or int(given) == 0:
        raise UserError(f"{PIXELS_VARIABLE} = {given}: is not a whole number above 0; correct it")
    return int(given)


def _too_large(path: Path, size: str, allowed: int) -> UserError:
    remedy = f"scale it down or cut it, or allow more by the environment variable {PIXELS_VARIABLE}"
    return UserError(f"{path}: has {size}, more than {allowed:,}, which may take more memory than there is; {remedy}")


@contextmanager
def open_image(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """Yields an image file that has one frame.

    Args:
        path: the file.
        content: its bytes, if it is not on disk by itself but in an archive.

    Raises:
        UserError: the file is missing, damaged, not a file, of another format than FORMATS, too large, or has several
            frames.
    """
    if content is None and path.exists() and not path.is_file():
        raise no_file(path)
    allowed = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and allowed > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = allowed
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as file:
            check_pixels(path, file.height, file.width)
            frames = getattr(file, "n_frames", 1)
            if frames > 1:
                raise UserError(f"{path}: holds {frames} frames; save the frame you want as a separate image")
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: cannot be read as an image (it is none of {known}); replace or remove it") from None
    except Image.DecompressionBombError:
        raise _too_large(path, f"over {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels", allowed) from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds; each means an unreadable file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image ({reason}); replace or remove it") from None


@dataclass(frozen=True, eq=False)
class Stored:
    """An image file's pixels as they are stored."""

    pixels: Shaped[np.ndarray, "h w *channels"]
    """[h, w] uint8, uint16 or float32 if it is grey, [h, w, 3] uint8 (RGB) if it has colours."""
    orientation: int
    """Its EXIF orientation, which is not applied; UPRIGHT if it has none."""
    mode: str
    """Pillow's name of the kind of its pixels."""

    @cached_property
    def luminance(self) -> Num[np.ndarray, "h w"]:
        """Its grey values; of a colour image the luminance (ITU-R 601)."""
        return self.pixels if self.pixels.ndim == 2 else np.asarray(Image.fromarray(self.pixels).convert("L"))

    def channel(self, channel: Channel) -> Num[np.ndarray, "h w"]:
        """Returns a channel of a colour image; of a grey image, and for the luminance, the array `luminance`."""
        if channel == "luminance" or self.pixels.ndim == 2:
            return self.luminance
        return self.pixels[..., CHANNELS.index(channel)]


def read_stored(path: Path, content: bytes | None = None) -> Stored:
    """Returns what an image file holds; `content` is that of `open_image`.

    Raises:
        UserError: as `open_image`; transparent pixels, values that are not finite, colour of 16 bits, a TIFF file that
            is not upright, or one of floating-point numbers of which 0 is white.
    """
    with open_image(path, content) as file:
        highest = _highest(file)
        _check_depth(file, path)
        turned = _orientation(file, path)  # may decode the pixels; then Pillow no longer tells how they are stored
        file.load()
        if file.mode in (*DEEP_GREY, "F"):
            values = _black_as_zero(np.asarray(file), file, path)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise UserError(f"{path}: has pixels that are not finite numbers; replace them")
            return Stored(plain_type(_unstretched(values, highest, 65535)), turned, file.mode)
        _check_opaque(file, path)
        pixels = np.asarray(file.convert("L" if file.mode in _GREY else "RGB"))
        if file.mode == "P" and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
        return Stored(_unstretched(pixels, highest, 255), turned, file.mode)


def _orientation(file: ImageFile.ImageFile, path: Path) -> int:
    """Returns the EXIF orientation of an image file; UPRIGHT if its tag means nothing.

    Raises:
        UserError: a TIFF file is not upright; Pillow would rotate it while reading, and uncompressed ones wrongly.
    """
    found = int(file.getexif().get(ExifTags.Base.Orientation, UPRIGHT))
    if not 2 <= found <= 8:
        return UPRIGHT
    if file.format == "TIFF":
        raise UserError(f"{path}: has the orientation tag {found}; save it upright, without the tag")
    return found


def _black_as_zero(values: Num[np.ndarray, "h w"], file: ImageFile.ImageFile, path: Path) -> Num[np.ndarray, "h w"]:
    """Returns the values of an image of more than 8 bits, inverted if it is a TIFF file in which 0 is white.

    Pillow inverts those of up to 8 bits itself.
    """
    if not (
        isinstance(file, TiffImagePlugin.TiffImageFile)
        and file.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    ):
        return values
    if values.dtype.kind != "u":
        what = "has floating-point numbers of which 0 is white (photometric interpretation 0)"
        raise UserError(f"{path}: {what}; save it with black as the lowest value")
    return np.iinfo(values.dtype).max - values


def _highest(file: ImageFile.ImageFile) -> int:
    """Returns the highest value that a PPM file says it has, or 0 for other files."""
    if not file.tile:  # a file that is cut off after its header; decoding says so
        return 0
    arguments = file.tile[0][3]
    scaled = file.format == "PPM" and file.tile[0][0] in ("ppm", "ppm_plain") and file.mode != "1"
    return int(arguments[-1]) if scaled and isinstance(arguments, tuple) else 0


def _unstretched(array: Num[np.ndarray, "*shape"], highest: int, full: int) -> Num[np.ndarray, "*shape"]:
    """Returns values as stored; Pillow stretches those of PPM files from 0..highest to 0..full."""
    return np.rint(array * (highest / full)).astype(array.dtype) if 0 < highest < full else array


def _check_opaque(file: Image.Image, path: Path) -> None:
    """Raises a UserError if an image has transparent pixels."""
    if file.has_transparency_data and np.asarray(file.convert("RGBA"))[..., 3].min() < 255:
        raise UserError(f"{path}: has transparent pixels; save it without transparency")


def _check_depth(file: ImageFile.ImageFile, path: Path) -> None:
    """Raises a UserError if a colour image has more than 8 bits per channel: Pillow would drop the rest."""
    if file.mode not in ("RGB", "RGBA"):
        return
    arguments = [tile[3] for tile in file.tile]
    deep_ppm = file.format == "PPM" and any(isinstance(a, tuple) and int(a[-1]) > 255 for a in arguments)
    if deep_ppm or any(";16" in str(a) for a in arguments):
        raise UserError(f"{path}: has 16 bits per colour channel, which cannot be kept; save it with 8, or as grey")


def decode(path: Path, content: bytes | None = None) -> Num[np.ndarray, "h w"]:
    """Returns the grey values of a file that `read_stored` reads: of a colour image the luminance (ITU-R 601)."""
    return read_stored(path, content).luminance


def plain_type(grey: Num[np.ndarray, "h w"]) -> Num[np.ndarray, "h w"]:
    """Returns uint8 values unchanged, other whole numbers as uint16 if they fit, and everything else as float32.

    The type then depends only on the pixels, not on the file: Pillow reads 16-bit PGM as 32 bits, for example.
    """
    if grey.dtype == np.uint8:
        return grey
    fits = grey.dtype.kind in "iu" and grey.min() >= 0 and grey.max() < 2**16
    return grey.astype(np.uint16 if fits else np.float32)


def content_hash(grey: Num[np.ndarray, "h w"]) -> str:
    """Returns a hash of type, shape and pixels, which does not depend on the file's name or format."""
    digest = hashlib.blake2b(f"{grey.dtype.str}{grey.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(grey).tobytes())
    return digest.hexdigest()


def read_image(path: Path, channel: Channel = "luminance") -> tuple[Float32[np.ndarray, "h w"], str]:
    """Returns an image, scaled to [-1, 1] by its own smallest and largest value, and its content hash.

    `channel` says what of a colour image; its hash is that of the luminance, by which embeddings are found.
    """
    stored = read_stored(path)
    return scaled(stored.channel(channel), channel_name(str(path), channel)), content_hash(stored.luminance)


def channel_name(name: str, channel: Channel) -> str:
    """Returns how messages call a channel of an image."""
    return name if channel == "luminance" else f"{name} ({channel} channel)"


def scaled(grey: Num[np.ndarray, "h w"], name: str, remedy: str = "remove it") -> Float32[np.ndarray, "h w"]:
    """Returns grey values scaled to [-1, 1] by their smallest and largest value.

    Raises:
        UserError: all values are the same, not finite, or too far apart or too close for float32; `name` and `remedy`
            say which image it is and what to do.
    """
    with np.errstate(all="ignore"):
        values = grey.astype(np.float32)
        low, high = values.min(), values.max()
        if low == high and np.isfinite(low):
            raise UserError(f"{name}: every pixel has the value {low:g}; an image needs contrast: {remedy}")
        scaled_values = (values - low) * np.float32(2 / (high - low)) - 1
    if not np.isfinite(scaled_values).all():
        what = f"its values, from {low:g} to {high:g}, cannot be scaled to [-1, 1] in float32"
        raise UserError(f"{name}: {what}; rescale it, or {remedy}")
    return scaled_values


def read_label(path: Path) -> Bool[np.ndarray, "h w"]:
    """Returns the mask of a label: 0 is background, and the one other value is vessel."""
    return two_valued(decode(path), path, _TWO_VALUES)


def read_fov(path: Path) -> Bool[np.ndarray, "h w"]:
    """Returns a field of view: 0 is outside, and the one other value is inside."""
    fov = two_valued(decode(path), path, _TWO_VALUES, "a field of view")
    if not fov.any():
        raise UserError(f"{path}: is black everywhere; a field of view is white inside")
    return fov


def two_valued(
    grey: Num[np.ndarray, "h w"], path: Path, remedy: str, what: str = "a label"
) -> Bool[np.ndarray, "h w"]:
    """Returns where an image with the value 0 and one other is not 0.

    Raises:
        UserError: there are other values; `path`, `what` and `remedy` say which image it is and what to do.
    """
    values = np.unique(grey)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(f"{v:g}" for v in values[:5].astype(float)) + (", ..." if len(values) > 5 else "")
        raise UserError(
            f"{path}: {what} holds the value 0 and one other, but this one has {len(values)} values ({shown}); "
            f"{remedy}"
        )
    return grey > 0


def check_size(path: Path, mask: Bool[np.ndarray, "mh mw"], size: tuple[int, ...], what: str) -> None:
    """Raises a UserError if a mask is not as large as its image; `what` says what it is."""
    if mask.shape != size:
        (mh, mw), (h, w) = mask.shape, size
        turned = " (an EXIF orientation is not applied)" if (mh, mw) == (w, h) else ""
        raise UserError(f"{path}: is {mw}x{mh} but its image is {w}x{h}{turned}; {what} has its image's size")


def as_uint8(image: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Returns an image in [-1, 1] as 8-bit grey values, for pictures and classical filters."""
    return np.round((image + 1) * 127.5).astype(np.uint8)

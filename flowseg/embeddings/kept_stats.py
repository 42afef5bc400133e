"""Image-stats vectors that are kept between starts, one file per image: `image-stats/SOFTWARE/CONTENT HASH`.

A vector takes about 60 ms of processor time, so those of a few hundred images are most of the time that preparing them
takes. The folder's name changes with the code and the libraries that compute the numbers: what is read is bit for bit
what would be computed.
"""

import hashlib
import inspect
import platform
from functools import cache
from importlib.metadata import version

import numpy as np
from jaxtyping import Float32

from flowseg.cache import cache_folder
from flowseg.data import image_files
from flowseg.embeddings import image_stats
from flowseg.errors import first_of
from flowseg.files import replaced_file
from flowseg.progress import console

_DIGEST_BYTES = 32
_LIBRARIES = ("numpy", "opencv-python-headless")


@cache
def _software() -> str:
    """Returns a digest of what decides the numbers besides the image."""
    digest = hashlib.sha256()
    for module in (image_stats, image_files):
        digest.update(inspect.getsource(module).encode())
    digest.update(repr([platform.machine(), *((name, version(name)) for name in _LIBRARIES)]).encode())
    return digest.hexdigest()[:16]


class KeptStats:
    """The kept vectors, by content hash; `report` says what was wrong with them."""

    def __init__(self) -> None:
        self._folder = cache_folder() / "image-stats" / _software()
        self._damaged: list[str] = []
        self._unwritable: str | None = None

    def find(self, content: str) -> Float32[np.ndarray, " 2048"] | None:
        """Returns the vector of an image; None if it is missing or damaged."""
        try:
            read = (self._folder / content).read_bytes()
        except OSError:
            return None
        payload = read[_DIGEST_BYTES:]
        if hashlib.sha256(content.encode() + payload).digest() != read[:_DIGEST_BYTES]:
            self._damaged.append(content)
            return None
        return np.frombuffer(payload, "<f4").astype(np.float32)

    def keep(self, content: str, vector: Float32[np.ndarray, " 2048"]) -> None:
        """Writes the vector of an image, whole or not at all; without a folder to write to, nothing."""
        payload = vector.astype("<f4").tobytes()
        try:
            with replaced_file(self._folder / content) as part:
                part.write_bytes(hashlib.sha256(content.encode() + payload).digest() + payload)
        except OSError as error:
            self._unwritable = error.strerror or str(error)

    def report(self) -> None:
        """Prints a note for damaged vectors, and one if none can be written."""
        if self._damaged:
            note = f"{self._folder}: {len(self._damaged)} damaged ({first_of(self._damaged)}); computed again"
            console.print(f"NOTE: {note}")
        if self._unwritable is not None:
            note = f"image-stats vectors cannot be kept there ({self._unwritable}), and are computed at each start"
            console.print(f"NOTE: {self._folder}: {note}")

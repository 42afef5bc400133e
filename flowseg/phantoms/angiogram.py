"""Synthetic X-ray coronary angiograms: the default data set, drawn on first use.

The drawing follows the physics of an angiogram. Everything between X-ray tube and detector adds to a field of
log-attenuation: tissue, bones, catheter, and vessels filled with contrast agent. The beam reaches the detector as
exp(-attenuation), is blurred, gets photon noise, and is stored in 8 bits. Only vessels are labelled.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from flowseg.errors import UserError
from flowseg.files import replaced_folder
from flowseg.phantoms.tree import REFERENCE_SIZE, Tree, Tube, add_tube, grow_tree, spline, wander
from flowseg.progress import task

PHANTOM_VERSION = 1  # part of the cache folder's name; raise it when the drawing changes
COUNTS = {"train": 155, "val": 20, "test": 46}

HARDENING = 0.55  # a vessel's attenuation saturates at this value, because the beam hardens
CATHETER_HOLLOW = 0.55  # share of the catheter's radius that is empty
PHOTONS = (220.0, 1400.0)  # per pixel, in a 512 x 512 image without attenuation
OCTAVES = (3, 5, 9, 17, 33)  # grid points per side of each octave of the tissue's texture
DISTRACTOR_BLUR = (1.2, 3.2)  # reference pixels
SHIFT_BITS = 4  # fractional bits of the strokes' coordinates

# How likely each thing is in an image.
P_SUBTRACTED = 0.15  # digital subtraction, which removes most of the background
P_COLLIMATOR = 0.45
P_CATHETER = 0.65
P_DIAPHRAGM = 0.45
P_SPINE = 0.35
P_RIBS = 0.55
P_GUIDEWIRE = 0.15
P_CLIPS = 0.10
P_STERNAL = 0.08

Field: TypeAlias = Float32[np.ndarray, "S S"]
Mask: TypeAlias = UInt8[np.ndarray, "S S"]


def _grid(size: int) -> tuple[Field, Field]:
    """Returns x and y of the pixel centres, in units of the image's side."""
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _sigmoid(distance: Field, softness: float) -> Field:
    return (0.5 + 0.5 * np.tanh(distance / (2 * softness))).astype(np.float32)


def _blur(field: Field, sigma: float) -> Field:
    """Returns the field after a Gaussian blur; `sigma` is in reference pixels."""
    scaled = sigma * field.shape[0] / REFERENCE_SIZE
    return field if scaled < 0.2 else np.asarray(cv2.GaussianBlur(field, (0, 0), scaled), np.float32)


def _texture(rng: np.random.Generator, size: int, decay: float) -> Field:
    """Returns random clouds: octaves of smooth noise, each `decay` times as strong as the one before."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for points in OCTAVES:
        octave = rng.standard_normal((points, points)).astype(np.float32)
        total += weight * cv2.resize(octave, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= decay
    return total


def _streaks(rng: np.random.Generator, size: int) -> Field:
    """Returns random clouds stretched along one oblique direction, as lung markings are."""
    long, fine = int(rng.integers(5, 10)), int(rng.integers(28, 56))
    side = round(1.5 * size)  # large enough to cover the image after a rotation
    cloud = rng.standard_normal((fine, long)).astype(np.float32)
    cloud = np.asarray(cv2.resize(cloud, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(-60, 60)), 1.0)
    turn[:, 2] -= (side - size) / 2
    return np.asarray(cv2.warpAffine(cloud, turn, (size, size)), np.float32)


def _strokes(size: int, lines: list[tuple[np.ndarray, int, float]], blur: float) -> Field:
    """Returns anti-aliased strokes, each given as (points in reference pixels, width in image pixels, strength)."""
    canvas = np.zeros((size, size), np.uint8)
    for points, width, strength in lines:
        fixed = np.round(points * (size / REFERENCE_SIZE) * (1 << SHIFT_BITS)).astype(np.int32)
        cv2.polylines(canvas, [fixed], False, round(255 * strength), width, cv2.LINE_AA, SHIFT_BITS)
    return _blur(canvas.astype(np.float32) / 255, blur)


def anatomy(rng: np.random.Generator, size: int) -> Field:
    """Returns the log-attenuation of heart, lungs, diaphragm, spine and ribs, without vessels."""
    x, y = _grid(size)
    field = 0.08 * _texture(rng, size, 0.55)
    field += rng.uniform(0.012, 0.035) * _streaks(rng, size) + rng.uniform(0.006, 0.02) * _streaks(rng, size)
    # The heart's silhouette; the lung around it absorbs less.
    centre, axes = rng.uniform(0.3, 0.6, 2), rng.uniform(0.45, 0.85, 2)
    radial = 1 - np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
    radial += 0.08 * _texture(rng, size, 0.5)  # makes the ellipse irregular
    field += rng.uniform(0.05, 0.45) * _sigmoid(radial, rng.uniform(0.02, 0.10))
    if rng.random() < P_DIAPHRAGM:
        width, top = rng.uniform(0.35, 0.8), rng.uniform(0.6, 0.92)
        across = (x - rng.uniform(0.0, 1.0)) / width
        dome = y - top - 0.5 * width * across**2
        field += rng.uniform(0.15, 0.65) * _sigmoid(dome, rng.uniform(0.004, 0.014))
    if rng.random() < P_SPINE:
        lean, half = rng.normal(0, 0.12), rng.uniform(0.08, 0.14)
        beside = x - rng.uniform(0.1, 0.95) - lean * (y - 0.5)
        period, phase = rng.uniform(0.2, 0.3), rng.uniform(0, 1)
        waist = np.cos(2 * np.pi * (y / period + phase))  # vertebrae are widest at their end plates
        column = _sigmoid(half + 0.012 * waist - np.abs(beside), rng.uniform(0.006, 0.02))
        plates = np.exp(-(((waist - 1) / 0.15) ** 2)) - 0.25
        field += column * (rng.uniform(0.12, 0.3) + rng.uniform(0.02, 0.06) * plates)
    if rng.random() < P_RIBS:
        field += _ribs(rng, x, y)
    # Uneven exposure: a gradient, and a fall-off towards the border.
    field += rng.normal(0, 0.12) * (x - 0.5) + rng.normal(0, 0.12) * (y - 0.5)
    field += rng.uniform(0.0, 0.5) * ((x - rng.uniform(0.4, 0.6)) ** 2 + (y - rng.uniform(0.4, 0.6)) ** 2)
    return field.astype(np.float32)


def _ribs(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Returns roughly parallel arcs: wide soft bands with a slightly denser rim of cortical bone."""
    total = np.zeros_like(x)
    slope, sag, gap = rng.normal(0, 0.35), rng.uniform(-0.5, 0.5), rng.uniform(0.17, 0.3)
    strength, softness = rng.uniform(0.03, 0.09), rng.uniform(0.005, 0.012)
    course = y - slope * (x - 0.5) - sag * (x - 0.5) ** 2
    offset = rng.uniform(-0.3, 0.0)
    while offset < 1.3:
        half = rng.uniform(0.025, 0.045)
        depth = half - np.abs(course - offset - 0.02 * rng.normal() * (x - 0.5))
        rim = np.exp(-((depth / 0.007) ** 2))
        total += strength * (_sigmoid(depth, softness) + rng.uniform(0.1, 0.5) * rim)
        offset += gap * rng.uniform(0.85, 1.15)
    return total


def _clutter(rng: np.random.Generator, size: int) -> Field:
    """Returns the log-attenuation of things that look like vessels: lung markings, wires and clips."""
    pixel = size / REFERENCE_SIZE
    field = np.zeros((size, size), np.float32)
    for widths, amount in (((2, 5), 0.13), ((5, 13), 0.14)):  # fine and coarse markings
        lines = []
        for _ in range(int(rng.integers(6, 24))):
            length, turn = rng.uniform(50, 260), rng.normal(0, 0.7)
            start, heading = rng.uniform(0, REFERENCE_SIZE, 2), rng.uniform(0, 2 * np.pi)
            curve = wander(rng, start, heading, length, turn, 0.3, 40)
            lines.append((curve, max(1, round(rng.uniform(*widths) * pixel)), float(rng.uniform(0.3, 1))))
        field += rng.uniform(0.5, 1.2) * amount * _strokes(size, lines, rng.uniform(*DISTRACTOR_BLUR))
    fine = max(1, round(2 * pixel))
    if rng.random() < P_CLIPS:
        clips = []
        for _ in range(int(rng.integers(2, 7))):
            start = rng.uniform(0.1, 0.9, 2) * REFERENCE_SIZE
            clip = wander(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(7, 15), 0.3, 0.0, 9)
            clips.append((clip, fine + 1, 1.0))
        field += rng.uniform(0.4, 0.9) * _strokes(size, clips, 0.6)
    if rng.random() < P_STERNAL:
        loops, column = [], rng.uniform(0.15, 0.85) * REFERENCE_SIZE
        around = np.linspace(0, 2 * np.pi, 60)
        for row in np.arange(rng.uniform(20, 90), REFERENCE_SIZE, rng.uniform(110, 170)):
            centre = np.array([column, row]) + rng.normal(0, 8, 2)
            loop = np.stack([rng.uniform(14, 26) * np.cos(around), rng.uniform(7, 16) * np.sin(around)], axis=1)
            loops.append((centre + loop, fine, 1.0))
        field += rng.uniform(0.35, 0.8) * _strokes(size, loops, 0.6)
    return field


def _instruments(rng: np.random.Generator, size: int, tree: Tree, amount: float) -> Field:
    """Returns the log-attenuation of catheter and guidewire.

    `amount` is the log-attenuation per reference pixel of a vessel full of contrast agent.
    """
    way = np.zeros((size, size), np.float32)
    if rng.random() < P_CATHETER:
        # Enters through the upper border and bends into the ostium.
        tip, out = tree.ostium, -tree.direction
        entry = np.array([np.clip(tip[0] + rng.normal(0, 150), 10, 500), -30.0])
        bow = 0.5 * (tip + entry) + out * rng.uniform(15, 70) + rng.normal(0, 15, 2)
        line = spline(np.stack([tip + 4 * tree.direction, tip + 14 * out, bow, entry]))
        radius = np.full(len(line), rng.uniform(3.2, 4.8))
        level = rng.uniform(0.7, 1.4)
        add_tube(Tube(line, radius, np.full(len(line), level)), way, hollow=CATHETER_HOLLOW)
    if rng.random() < P_GUIDEWIRE:
        start = np.array([rng.uniform(0, REFERENCE_SIZE), -10.0])
        heading, length = rng.uniform(1.0, 2.1), rng.uniform(200, 520)
        line = wander(rng, start, heading, length, rng.normal(0, 0.9), 0.15, 90)
        add_tube(Tube(line, np.full(len(line), 1.1), np.full(len(line), rng.uniform(1.5, 3.0))), way)
    return np.float32(amount) * way


def _collimator(rng: np.random.Generator, size: int) -> Field:
    """Returns 1 inside the circular opening of the collimator and 0 outside, with a narrow penumbra."""
    x, y = _grid(size)
    centre = 0.5 + rng.normal(0, 0.06, 2)
    distance = rng.uniform(0.53, 0.68) - np.hypot(x - centre[0], y - centre[1])
    return _sigmoid(distance.astype(np.float32), 0.0015)


def expose(rng: np.random.Generator, attenuation: Field) -> Field:
    """Returns the detected intensity of a beam: with scatter, blur, photon noise and correlated noise."""
    size = attenuation.shape[0]
    pixel = size / REFERENCE_SIZE
    beam = np.exp(-attenuation)
    scatter = rng.uniform(0.05, 0.2)  # a veil that reduces contrast
    thumb = cv2.resize(beam, (32, 32), interpolation=cv2.INTER_AREA)
    veil = cv2.resize(cv2.GaussianBlur(thumb, (0, 0), 4), (size, size), interpolation=cv2.INTER_CUBIC)
    beam = (1 - scatter) * _blur(beam, rng.uniform(0.6, 1.1)) + scatter * veil
    photons = rng.uniform(*PHOTONS) / pixel  # larger pixels collect more photons
    counts = (rng.poisson(np.maximum(beam, 1e-3) * photons) / photons).astype(np.float32)
    counts = _blur(counts, rng.uniform(0.4, 0.9))
    grain = _blur(rng.standard_normal((size, size)).astype(np.float32), 1.6)
    grain *= rng.uniform(0.006, 0.02) / max(float(grain.std()), 1e-6)
    return counts + grain * np.sqrt(np.maximum(beam, 0))


def project(tree: Tree, size: int) -> tuple[Field, Mask]:
    """Returns the length of the X-rays' path through a tree's vessels (see `add_tube`), and the tree's label."""
    way, label = np.zeros((size, size), np.float32), np.zeros((size, size), np.uint8)
    for tube in tree.tubes:
        add_tube(tube, way, label)
    return way, label


def draw_phantom(seed: int, index: int, size: int = REFERENCE_SIZE) -> tuple[Mask, Mask]:
    """Returns one angiogram and its label (0 and 255), both `size` x `size`.

    A pure function of its arguments. Another size shows the same scene with different noise.
    """
    streams = np.random.SeedSequence([seed, index]).spawn(3)
    tree_rng, scene_rng, noise_rng = (np.random.default_rng(stream) for stream in streams)
    tree = grow_tree(tree_rng)
    way, label = project(tree, size)

    rng = scene_rng
    subtracted = rng.random() < P_SUBTRACTED
    amount = rng.uniform(0.042, 0.095)  # log-attenuation per reference pixel of a vessel full of contrast agent
    behind = anatomy(rng, size)
    clutter = _clutter(rng, size)
    instruments = _instruments(rng, size, tree, amount)
    collimator = _collimator(rng, size) if rng.random() < P_COLLIMATOR else None
    if subtracted:
        behind, clutter, instruments = 0.25 * behind, 0.5 * clutter, 0.6 * instruments
    vessels = HARDENING * -np.expm1(-amount / HARDENING * way)
    beam = expose(noise_rng, behind + clutter + instruments + vessels - np.float32(np.median(behind)))

    level, gain = rng.uniform(115, 165), rng.uniform(0.85, 1.1)
    shown = level * np.maximum(beam, 1e-3) ** gain
    if collimator is not None:
        shutter = rng.uniform(3, 20)
        shown = shutter + collimator * (shown - shutter)
        label[collimator < 0.5] = 0
    return np.clip(np.round(shown), 0, 255).astype(np.uint8), label


def write_drawn(
    root: Path,
    counts: Mapping[str, int],
    draw: Callable[[int], tuple[Mask, Mask]],
    finish: Callable[[Path, list[str]], None] = lambda folder, keys: None,
    *,
    replace: bool = False,
) -> None:
    """Writes a drawn data set, ROOT/{split}/{image,label}/NNNN.png, and shows the progress.

    The images are written to a folder beside ROOT that is renamed at the end, so ROOT is complete or absent. If
    another process writes the same ROOT first, its files stay. `draw` returns image and label of a number and is
    called from several threads; numbers run on over the splits, so no two images are the same. `finish` is called
    before the renaming, with the folder and the images' names (split/NNNN); it may add files. With `replace`, a ROOT
    that exists is replaced.

    Raises:
        UserError: ROOT exists, without `replace`.
        OSError: ROOT cannot be written.
    """
    if root.exists() and not replace:
        raise UserError(f"{root}: exists already; choose another folder, or remove it")
    splits = [split for split, count in counts.items() for _ in range(count)]
    keys = [f"{split}/{index:04d}" for index, split in enumerate(splits)]

    def write(folder: Path, key: str, index: int) -> None:
        split, name = key.split("/")
        for kind, pixels in zip(("image", "label"), draw(index), strict=True):
            Image.fromarray(pixels).save(folder / split / kind / f"{name}.png")

    with replaced_folder(root, keep=not replace) as part, task("phantoms", len(keys)) as advance:
        for split in counts:
            for kind in ("image", "label"):
                (part / split / kind).mkdir(parents=True)
        # Threads, not processes: NumPy, SciPy and OpenCV release the interpreter lock, programs that use JAX must not
        # fork, and spawned workers would import the caller's main module again.
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for _ in pool.map(partial(write, part), keys, range(len(keys))):
                advance()
        finally:
            pool.shutdown(cancel_futures=True)  # waits, so that nothing is written after the folder is removed
        finish(part, keys)


def write_phantoms(
    root: Path,
    *,
    seed: int = 0,
    size: int = REFERENCE_SIZE,
    counts: Mapping[str, int] = COUNTS,
    finish: Callable[[Path, list[str]], None] = lambda folder, keys: None,
    replace: bool = False,
) -> None:
    """Writes the phantoms as a data set; see `write_drawn`."""
    write_drawn(root, counts, lambda index: draw_phantom(seed, index, size), finish, replace=replace)

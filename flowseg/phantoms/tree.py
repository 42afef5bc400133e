"""Geometry of the phantom angiograms: coronary-like vessel trees, and the path of the X-rays through them.

All lengths are in reference pixels, the pixels of a 512 x 512 image; `add_tube` scales them to the size of the image.
Points are (x, y), and y points downwards.
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy.random import Generator
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

REFERENCE_SIZE = 512
STEP = 0.5  # spacing of the samples of a centre line; distances are taken to the nearest sample
RADIUS_MIN = 1.2
PIXEL_RADIUS_MIN = 0.7  # thinner tubes would fall between the pixel centres of small images
DEPTH_MAX = 2  # a trunk has depth 0, its branches 1, their branches 2
MURRAY_EQUAL = 0.5 ** (1 / 3)  # relative radius of two equal daughters by Murray's law, r^3 = a^3 + b^3

Point: TypeAlias = Float64[np.ndarray, "xy=2"]
Points: TypeAlias = Float64[np.ndarray, "N 2"]
Along: TypeAlias = Float64[np.ndarray, " N"]

# Courses of the trunks, in units of the image's side. The second trunk of a tree starts on the first.
RIGHT_C = (((0.66, 0.10), (0.44, 0.10), (0.25, 0.24), (0.20, 0.47), (0.27, 0.68), (0.46, 0.79), (0.70, 0.82)),)
RIGHT_L = (((0.40, 0.07), (0.25, 0.15), (0.22, 0.34), (0.27, 0.55), (0.25, 0.74), (0.44, 0.80), (0.66, 0.87)),)
LEFT_CAUDAL = (
    ((0.03, 0.13), (0.17, 0.11), (0.36, 0.09), (0.57, 0.17), (0.76, 0.33), (0.86, 0.56), (0.89, 0.86)),
    ((0.17, 0.11), (0.23, 0.25), (0.22, 0.44), (0.20, 0.66), (0.30, 0.84), (0.52, 0.88)),
)
LEFT_CRANIAL = (
    ((0.06, 0.07), (0.20, 0.13), (0.30, 0.30), (0.44, 0.50), (0.57, 0.71), (0.82, 0.86)),
    ((0.20, 0.13), (0.42, 0.09), (0.62, 0.16), (0.80, 0.34), (0.90, 0.54)),
)
LEFT_SPIDER = (
    ((0.08, 0.20), (0.24, 0.19), (0.34, 0.32), (0.33, 0.52), (0.42, 0.70), (0.40, 0.92)),
    ((0.24, 0.19), (0.45, 0.15), (0.66, 0.21), (0.78, 0.40), (0.90, 0.60)),
)
COURSES = (RIGHT_C, RIGHT_L, LEFT_CAUDAL, LEFT_CRANIAL, LEFT_SPIDER)


@dataclass(frozen=True)
class Tube:
    """A vessel or catheter: its centre line, radii, and density of contrast agent (1 is full)."""

    points: Points
    radii: Along
    density: Along


@dataclass(frozen=True)
class Tree:
    """A vessel tree, the point where it starts (the ostium) and the unit vector along which its first trunk leaves."""

    tubes: tuple[Tube, ...]
    ostium: Point
    direction: Point


def smooth_noise(rng: Generator, length: float, wavelength: float, samples: int) -> Along:
    """Returns a smooth random function: a spline through standard normal knots, one per `wavelength`."""
    knots = max(4, int(np.ceil(length / wavelength)) + 1)
    curve = CubicSpline(np.linspace(0.0, 1.0, knots), rng.standard_normal(knots))
    return np.asarray(curve(np.linspace(0.0, 1.0, samples)))


def resample(points: Points) -> Points:
    """Returns the same polyline with points every `STEP`."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0.0, arc[-1], max(4, round(arc[-1] / STEP) + 1))
    return np.stack([np.interp(at, arc, points[:, 0]), np.interp(at, arc, points[:, 1])], axis=1)


def spline(control: Float64[np.ndarray, "K 2"]) -> Points:
    """Returns the smooth curve through the control points, with points every `STEP`."""
    knots = np.concatenate([[0.0], np.cumsum(np.sqrt(np.hypot(*np.diff(control, axis=0).T)))])  # prevents overshoot
    curve = CubicSpline(knots, control)
    return resample(np.asarray(curve(np.linspace(0.0, knots[-1], 64 * len(control)))))


def wander(
    rng: Generator, start: Point, heading: float, length: float, bend: float, wiggle: float, wavelength: float
) -> Points:
    """Returns a curve of `length` from `start`.

    Its direction turns by `bend` from start to end, with random deviations of about `wiggle` (both in radians).
    """
    samples = max(4, round(length / STEP))
    way = np.linspace(0.0, 1.0, samples)
    stray = np.minimum(1, 4 * way) * smooth_noise(rng, length, wavelength, samples)
    angle = heading + bend * way + wiggle * stray
    steps = STEP * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])


def _place(rng: Generator, courses: tuple[tuple[tuple[float, float], ...], ...]) -> list[Points]:
    """Returns the centre lines of a template's trunks, jittered and seen in a random projection."""
    turn = rng.normal(0.0, 0.17)
    stretch = rng.uniform(0.82, 1.12, 2) * np.array([1.0 if rng.random() < 0.8 else -1.0, 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = rng.normal(0.0, 0.04, 2) + 0.5
    lines: list[Points] = []
    for number, course in enumerate(courses):
        control = np.array(course)
        control[1:] += rng.normal(0.0, 0.032, (len(course) - 1, 2))
        control = (((control - 0.5) * stretch) @ rotation.T + shift) * REFERENCE_SIZE
        if number:  # the second trunk starts on the first, which has moved
            distance = np.hypot(*(lines[0] - control[0]).T)
            control[0] = lines[0][int(np.argmin(distance))]
        line = spline(control)
        length = STEP * len(line)
        way = np.linspace(0.0, 1.0, len(line))[:, None]
        wavelength = rng.uniform(30, 60)
        stray = np.stack([smooth_noise(rng, length, wavelength, len(line)) for _ in range(2)], axis=1)
        # Coronary arteries become more tortuous towards the apex.
        extent = np.minimum(1, 8 * way) * (rng.uniform(1.0, 3.5) + rng.uniform(0, 7) * way**2)
        line = resample(line + extent * stray)
        lines.append(line[: round(rng.uniform(0.8, 1.0) * len(line))])
    return lines


class _Grower:
    """Turns centre lines into tapering tubes and grows side branches from them."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.tubes: list[Tube] = []
        self.fade = rng.uniform(900, 4000)  # path after which the contrast agent has fallen to 1/e
        self.spacing = rng.uniform(50, 115)
        self.wiggle = rng.uniform(0.15, 0.65)
        self.side = 1.0 if rng.random() < 0.5 else -1.0

    def grow(self, line: Points, radius: float, path: float, density: float, depth: int) -> None:
        """Adds the vessel along `line` and its branches; `path` is the distance from the ostium to its start."""
        rng = self.rng
        count = len(line)
        length = STEP * count
        ratios = np.ones(count)
        forks: list[tuple[int, float]] = []
        branches = rng.poisson(length / self.spacing) if depth < DEPTH_MAX else 0
        for fork in np.sort((rng.uniform(0.1, 0.93, branches) * count).astype(int)):
            ratio = float(rng.triangular(0.25, 0.4, 0.85))
            ratios[fork:] *= (1 - ratio**3) ** (1 / 3)  # what remains for the vessel itself by Murray's law
            forks.append((int(fork), ratio))
        arc = STEP * np.arange(count)
        taper = radius * np.exp(-arc / rng.uniform(800, 1800))
        taper *= gaussian_filter1d(ratios, 10 / STEP, mode="nearest")
        taper *= 1 + rng.uniform(0.02, 0.07) * smooth_noise(rng, length, 22, count)
        if depth <= 1 and rng.random() < 0.25:  # a stenosis
            middle, width = rng.uniform(0.15, 0.85) * length, rng.uniform(5, 12)
            taper *= 1 - rng.uniform(0.3, 0.6) * np.exp(-0.5 * ((arc - middle) / width) ** 2)
        taper = np.maximum(taper, RADIUS_MIN)
        agent = density * np.exp(-(path + arc) / self.fade)
        agent *= 1 + 0.05 * smooth_noise(rng, length, 40, count)
        if depth:  # inside its parent a branch adds nothing to the path of the X-rays
            agent *= np.clip((arc - 1) / 4, 0.0, 1.0) ** 0.5
        self.tubes.append(Tube(line, taper, np.maximum(agent, 0.1)))
        for fork, ratio in forks:
            self._branch(line, fork, ratio * float(taper[fork]), path + arc[fork], density, depth)
        if depth < DEPTH_MAX and taper[-1] > 1.25 * RADIUS_MIN:  # ends in two equal daughters
            for side in (-1.0, 1.0):
                end = MURRAY_EQUAL * float(taper[-1])
                self._branch(line, count - 1, end, path + length, density, depth, side)

    def _branch(
        self, line: Points, fork: int, radius: float, path: float, density: float, depth: int, side: float = 0.0
    ) -> None:
        """Adds a branch of `line` at sample `fork`; `side` is -1 or 1 at the tip, 0 (a random side) elsewhere."""
        rng = self.rng
        tip = side != 0
        if not tip and radius < 0.75 * RADIUS_MIN:
            return
        if not tip:
            side = self.side if rng.random() < 0.75 else -self.side
        radius = max(radius, RADIUS_MIN)
        back = line[max(0, fork - 8)]
        heading = float(np.arctan2(*(line[min(len(line) - 1, fork + 8)] - back)[::-1]))
        angle = side * (rng.uniform(0.25, 0.6) if tip else rng.uniform(0.5, 1.25))
        length = float(np.clip(radius * rng.uniform(30, 75), 30, 280))
        bend = -angle * rng.uniform(-0.2, 1.1)
        wiggle = self.wiggle * min(1.5, 2.2 / radius)  # thin vessels are more tortuous
        child = wander(rng, line[fork], heading + angle, length, bend, wiggle, rng.uniform(14, 34))
        self.grow(child, radius, path, density * rng.uniform(0.8, 1.0), depth + 1)


def grow_tree(rng: Generator) -> Tree:
    """Returns a random right or left coronary tree."""
    courses = COURSES[int(rng.integers(len(COURSES)))]
    lines = _place(rng, courses)
    grower = _Grower(rng)
    radius = rng.uniform(5.8, 8.2) if len(lines) == 1 else rng.uniform(5.4, 7.8)
    for number, line in enumerate(lines):
        start = float(np.hypot(*(line[0] - lines[0][0])))
        grower.grow(line, radius * (rng.uniform(0.6, 0.9) if number else 1.0), start, 1.0, 0)
    first = lines[0]
    direction = first[20] - first[0]
    return Tree(tuple(grower.tubes), first[0], direction / np.hypot(*direction))


def add_tube(
    tube: Tube,
    thickness: Float32[np.ndarray, "S S"],
    label: UInt8[np.ndarray, "S S"] | None = None,
    *,
    hollow: float = 0.0,
) -> None:
    """Adds the length of the X-rays' path through a round tube to `thickness`, in place.

    The length is in reference pixels, weighted by density; `hollow` is the share of the tube's radius that is empty.
    `label` is set to 255 within the radius.
    """
    size = thickness.shape[0]
    scale = size / REFERENCE_SIZE
    points = (tube.points + 0.5) * scale - 0.5  # pixel centres, as in resampling
    reach = max(float(tube.radii.max()) * scale, PIXEL_RADIUS_MIN)
    low = np.clip(np.floor(points.min(0) - reach - 1), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + reach + 2), 0, size).astype(int)
    if (high <= low).any():
        return
    near = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    path = np.round(points - low).astype(np.int32)
    cv2.polylines(near, [path], False, 255, 2 * int(np.ceil(reach)) + 3)
    rows, columns = np.nonzero(near)
    if not len(rows):
        return
    rows, columns = rows + low[1], columns + low[0]
    distance, nearest = cKDTree(points).query(np.stack([columns, rows], axis=1))
    true_radius = tube.radii[nearest] * scale
    radius = np.maximum(true_radius, PIXEL_RADIUS_MIN)
    way = np.sqrt(np.maximum(radius**2 - distance**2, 0.0))
    way -= np.sqrt(np.maximum((hollow * radius) ** 2 - distance**2, 0.0))
    way *= 2 / scale * (true_radius / radius) ** 2  # a tube that was widened keeps the area of its cross-section
    thickness[rows, columns] += (way * tube.density[nearest]).astype(np.float32)
    if label is not None:
        inside = distance <= radius
        label[rows[inside], columns[inside]] = 255

"""A plain U-Net, MONAI's DynUNet, trained for a number of processor minutes (for plain_unet.py; extra `peers`).

It shares flowseg's reading, scaling and augmentation of images, and nothing of its network or flow.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from flowseg.config import Config, DataConfig, OptimConfig, TrainConfig
from flowseg.data.augment import random_example
from flowseg.data.dataset import Dataset, resample
from flowseg.runs.folder import OtherNetwork
from flowseg.sampling.segment import Segmentation

FILTERS = (16, 32, 64, 112, 144, 144)
"""Channels of the six levels: 2.19 million parameters."""

OVERLAP = 0.5
"""Of neighbouring windows, as a share of their side."""

WARM_UP = 0.02
"""Share of the budget in which the learning rate rises to its peak."""

_MULTIPLE = 32  # of this the network's input has its sides

Map = Float32[np.ndarray, "h w"]
Pairs = Sequence[tuple[Map, Map]]
"""Images and targets, both in [-1, 1]. A target between -1 and 1 is that of a pixel which is vessel in part."""


@dataclass(frozen=True)
class Candidate:
    """What the network is shown, and how fast it learns."""

    max_side: int | None
    """Images with a longer side, in pixels, are scaled down to it (area means, of the label too); None: never."""
    crop: int | None
    """Side of a training crop and of a window of prediction; None: whole images."""
    batch: int
    lr: float
    """The peak learning rate."""
    upright: bool = False
    """Images are rotated by up to 20 degrees, as in flowseg's reduced recipe, instead of flipped and turned."""

    @property
    def name(self) -> str:
        upright = "-upright" if self.upright else ""
        return f"{'crops' if self.crop else 'whole'}-{self.max_side or 'full'}-{self.lr:g}{upright}"

    @property
    def shown(self) -> str:
        """What the network is trained on, in words."""
        scaled = f"scaled to {self.max_side} px" if self.max_side else "at full size"
        moved = "rotated by up to 20 degrees" if self.upright else "flipped and turned"
        return f"{f'{self.crop}x{self.crop} crops of images' if self.crop else 'whole images'} {scaled}, {moved}"

    @property
    def prediction(self) -> str:
        """How an image is segmented, in words."""
        windows = f"windows of {self.crop} px, overlap {OVERLAP:g}, Gaussian weights"
        return windows if self.crop else "the whole image in one pass"


def candidates(longest: int) -> list[Candidate]:
    """Returns the candidates for images whose longest side has so many pixels, without those that make no difference.

    A crop as large as the image is the whole image, and images are never scaled up.
    """
    shapes = [(None, 192, 4), (256, 160, 4), (192, 128, 8), (None, None, 2), (256, None, 4), (192, None, 4)]
    return [
        Candidate(max_side, crop, batch, lr)
        for max_side, crop, batch in shapes
        for lr in (1e-3, 3e-3)
        if (max_side or 0) < longest and (crop or 0) < min(max_side or longest, longest)
    ]


def longest_side(dataset: Dataset) -> int:
    """Returns the longest side of all images, in pixels."""
    return max(max(example.size) for example in dataset)


def run_config(candidate: Candidate, dataset: Dataset, seed: int) -> Config:
    """Returns a candidate's settings, as far as flowseg's config has fields for them, for training on a data set."""
    longest = min(longest_side(dataset), candidate.max_side or 2**31)
    data = DataConfig(
        root=str(dataset.root),
        target="coverage",
        max_side=candidate.max_side,
        crop=candidate.crop or _up(longest),
        vessel_crops=0.5 if candidate.crop else 0.0,
        quarter_turn=0.75,
        rotate=0.0,
        gamma=0.5,
        gamma_range=(0.7, 1.5),
    )
    if candidate.upright:
        data = replace(data, flip=0.0, quarter_turn=0.0, rotate=1.0, rotate_degrees=20.0)
    optim = OptimConfig(lr=candidate.lr, weight_decay=1e-4, schedule="cosine", accumulate=1, ema_decay=0.0)
    return Config("plain_unet", seed, data=data, optim=optim, train=TrainConfig(batch=candidate.batch))


def training_pairs(dataset: Dataset, config: DataConfig) -> Pairs:
    """Returns the images and targets of a split at the working size, mirrored at the edges if a crop is larger."""
    pairs = []
    for i, example in enumerate(dataset):
        target = resample(2 * dataset.truth(i).astype(np.float32) - 1, config.max_side)
        maps = (resample(example.image, config.max_side), target)
        image, target = (_padded(one, config.crop, config.crop) for one in maps)
        pairs.append((image, target))
    return pairs


def make_network() -> nn.Module:
    """Returns a U-Net of one input and one output channel, with random parameters."""
    steps = len(FILTERS) - 1
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        kernel_size=[3] * len(FILTERS),
        strides=[1, *[2] * steps],
        upsample_kernel_size=[2] * steps,
        filters=list(FILTERS),
        norm_name=("INSTANCE", {"affine": True}),
    )


def describe(candidate: Candidate, minutes: float, chosen: str) -> OtherNetwork:
    """Returns what a run says of the network: its name, its size, and what the config has no field for."""
    settings = {
        "candidate": candidate.name,
        "chosen": chosen,
        "trained_on": candidate.shown,
        "loss": "Dice + cross-entropy",
        "processor_minutes": minutes,
        "prediction": candidate.prediction,
        "filters": list(FILTERS),
    }
    return OtherNetwork("plain U-Net (MONAI DynUNet)", sum(p.numel() for p in make_network().parameters()), settings)


def rate(share: float) -> float:
    """Returns the learning rate as a share of its peak, when a share of the budget is used: 0 at the end.

    It rises linearly, then falls as a cosine.
    """
    if share < WARM_UP:
        return (share + 0.01 * WARM_UP) / (1.01 * WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * min((share - WARM_UP) / (1 - WARM_UP), 1)))


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step."""

    network: nn.Module
    step: int
    epoch: float
    """Passes over the training images."""
    minutes: float
    """Processor minutes spent."""
    lr: float
    """The learning rate of the step."""
    loss: float


def train(config: Config, pairs: Pairs, minutes: float) -> Iterator[Progress]:
    """Trains a new network for a number of processor minutes, and yields after each step.

    The processor time of all threads counts, for batches too, but not what the caller does between two steps. It takes
    at least one step.
    """
    torch.manual_seed(config.seed)
    network = make_network()
    loss_of = DiceCELoss(sigmoid=True, batch=True)
    settings = config.optim
    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)
    batches = _batches(config, pairs)
    step, spent = 0, 0.0
    while step == 0 or spent < 60 * minutes:
        started = time.process_time()
        lr = settings.lr * rate(spent / (60 * minutes))
        for group in optimizer.param_groups:
            group["lr"] = lr
        image, label = next(batches)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network(image), label)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        step += 1
        value = float(loss.detach())
        spent += time.process_time() - started
        yield Progress(network, step, step * config.train.batch / len(pairs), spent / 60, lr, value)


def _batches(config: Config, pairs: Pairs) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images in [-1, 1] and labels in [0, 1] for ever; each pass over the images is a new permutation."""
    rng = np.random.default_rng(config.seed)
    order: list[int] = []
    while True:
        while len(order) < config.train.batch:
            order += list(rng.permutation(len(pairs)))
        chosen, order = order[: config.train.batch], order[config.train.batch :]
        made = [random_example(*pairs[i], config.data, rng) for i in chosen]
        image, target = (torch.from_numpy(np.stack(maps)[:, None]) for maps in zip(*made, strict=True))
        yield image, (target + 1) / 2


def segmentations(network: nn.Module, dataset: Dataset, candidate: Candidate) -> Iterator[Segmentation]:
    """Yields the segmentation of each image, in order, at its stored size (bilinear where it was scaled down)."""
    network.eval()
    for example in dataset:
        h, w = example.size
        probability = _probability(network, resample(example.image, candidate.max_side), candidate.crop)
        if probability.shape != (h, w):
            probability = np.clip(cv2.resize(probability, (w, h), interpolation=cv2.INTER_LINEAR), 0, 1)
        yield Segmentation(probability[None])


@torch.inference_mode()
def _probability(network: nn.Module, image: Map, crop: int | None) -> Map:
    """Returns an image's vessel probabilities at its own size."""
    h, w = image.shape
    whole = _padded(image, max(h, crop), max(w, crop)) if crop else _padded(image, _up(h), _up(w))
    top, left = _before(h, whole.shape[0]), _before(w, whole.shape[1])

    def sigmoid(x: Tensor) -> Tensor:
        return torch.sigmoid(network(x))

    x = torch.from_numpy(np.ascontiguousarray(whole)[None, None])
    found = sliding_window_inference(x, crop, 4, sigmoid, OVERLAP, mode="gaussian") if crop else sigmoid(x)
    return np.clip(found[0, 0, top : top + h, left : left + w].numpy(), 0, 1)


def _up(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def _before(side: int, padded: int) -> int:
    """Returns the number of pixels that are added before an axis."""
    return (padded - side) // 2


def _padded(values: Map, height: int, width: int) -> Map:
    """Returns a map of at least this size: mirrored at its edges, in equal parts on both sides."""
    grown = [(side, max(side, least)) for side, least in zip(values.shape, (height, width), strict=True)]
    return np.pad(values, [(_before(a, b), b - a - _before(a, b)) for a, b in grown], mode="symmetric")

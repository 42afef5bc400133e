"""The typed config tree.

Every field says its unit and why its default is what it is. Defaults are the published recipe; `configs/*.py`
hold what differs from it. A tree is checked when it is built: each mistake is a `UserError` of one line.
"""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import typeguard

from flowseg.errors import UserError

FilmPoint = Literal["after_block1", "after_block2"]
TargetKind = Literal["sauna", "mask"]
Sampler = Literal["euler", "heun", "midpoint", "rk4", "dopri5"]
T = TypeVar("T")


def _require(holds: bool, name: str, value: object, remedy: str) -> None:
    if not holds:
        raise UserError(f"{name} = {value!r}: {remedy}")


def _check_types(section: Any, name: str) -> None:
    """Each field has its annotated type (an int is accepted as a float, a bool is not accepted as a number)."""
    prefix = f"{name}." if name else ""
    for f, hint in _fields(type(section)):
        value = getattr(section, f.name)
        try:
            typeguard.check_type(value, hint)
            wrong = isinstance(value, bool) and hint is not bool
        except typeguard.TypeCheckError:
            wrong = True
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{prefix}{f.name} = {value!r}: must be a finite number")
        if wrong:
            expected = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint).replace("typing.", "")
            raise UserError(f"{prefix}{f.name} = {value!r}: expected {expected}")


def _fields(cls: type) -> list[tuple[dataclasses.Field, Any]]:
    hints = typing.get_type_hints(cls)
    return [(f, hints[f.name]) for f in dataclasses.fields(cls)]


@dataclass(frozen=True)
class FilmConfig:
    """Conditioning by an embedding of the whole image."""

    stages: tuple[int, ...] = ()
    """Decoder stages with FiLM, 0 the coarsest, 3 the finest; none: the baseline. Published: 0 1 2 3."""
    point: FilmPoint = "after_block1"
    """Where in a stage the map is modulated; some published runs used after_block2."""
    embedding_width: int = 2048
    """Numbers per embedding; Qwen2.5-VL-3B's vision tokens have 2048."""
    condition_width: int = 256
    """Width of the condition vector (published)."""
    hidden_width: int = 256
    """Hidden width of a head (published)."""
    junction_radius: int = 0
    """Pixels around the junctions of the estimated vessel tree where FiLM is left out; 0: nowhere. Costs a second
    evaluation of the network (flowseg.models.junctions)."""

    def __post_init__(self) -> None:
        _check_types(self, "model.film")
        _require(
            len(set(self.stages)) == len(self.stages) and all(0 <= s <= 3 for s in self.stages),
            "model.film.stages",
            self.stages,
            "choose each of the decoder stages 0 (coarsest) to 3 (finest) at most once",
        )
        _require(self.stages == tuple(sorted(self.stages)), "model.film.stages", self.stages, "give them in order")
        for name in ("embedding_width", "condition_width", "hidden_width"):
            value = getattr(self, name)
            _require(value > 0, f"model.film.{name}", value, "must be at least 1")
        _require(self.junction_radius >= 0, "model.film.junction_radius", self.junction_radius, "must not be negative")


@dataclass(frozen=True)
class ModelConfig:
    """The velocity network."""

    dim: int = 32
    """Channels of the finest level."""
    multipliers: tuple[int, int, int, int] = (1, 2, 3, 4)
    """Output channels of the four levels, in units of dim."""
    heads: int = 4
    """Attention heads."""
    head_dim: int = 32
    """Channels of one head."""
    full_attention_levels: tuple[int, ...] = (2, 3)
    """Levels with softmax attention, 0 the finest; the others have linear attention. Published: the 80x80 and
    40x40 maps of 320x320 crops."""
    film: FilmConfig = field(default_factory=FilmConfig)

    def __post_init__(self) -> None:
        _check_types(self, "model")
        _require(self.dim > 0 and self.dim % 8 == 0, "model.dim", self.dim, "must be a multiple of 8 (GroupNorm)")
        _require(all(m > 0 for m in self.multipliers), "model.multipliers", self.multipliers, "must be positive")
        _require(self.heads > 0, "model.heads", self.heads, "must be at least 1")
        _require(self.head_dim > 0, "model.head_dim", self.head_dim, "must be at least 1")
        _require(
            all(0 <= level <= 3 for level in self.full_attention_levels),
            "model.full_attention_levels",
            self.full_attention_levels,
            "levels are 0 (finest) to 3 (coarsest)",
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels into level 0, 1, 2, 3 and out of level 3."""
        return (self.dim, *(self.dim * m for m in self.multipliers))

    def stage_width(self, stage: int) -> int:
        """Channels that FiLM modulates in decoder stage 0 (coarsest) to 3."""
        return self.widths[len(self.multipliers) - stage]


@dataclass(frozen=True)
class FlowConfig:
    """The probability path from noise to mask."""

    family: Literal["gaussian"] = "gaussian"
    """How noise is carried to the mask: the class `Family` of flowseg/flow/NAME.py."""
    sigma: float = 0.25
    """Width of the path, in units of the target's [-1, 1]; 0 is the straight path."""
    time_power: float = 1.0
    """Training times are r^time_power, r uniform on [0, 1]. 1 (published) is uniform; above 1 more of the training is
    spent near the noise, where the mask has to be found, and less where x_t already shows it."""

    def __post_init__(self) -> None:
        _check_types(self, "flow")
        _require(self.sigma >= 0, "flow.sigma", self.sigma, "must not be negative")
        _require(self.time_power > 0, "flow.time_power", self.time_power, "must be positive")


@dataclass(frozen=True)
class DataConfig:
    """Images, targets and augmentation."""

    root: str | None = None
    """Folder with train, val and test, each with image and label; None: the procedural phantoms."""
    target: TargetKind = "sauna"
    """What the flow ends in: the SAUNA map (published) or 2 mask - 1."""
    crop: int = 320
    """Side of a training crop and of an evaluation window, pixels; a multiple of 8."""
    vessel_crops: float = 0.0
    """Share of crops centred near a vessel pixel; the others are uniform. Published: 0."""
    max_side: int | None = None
    """Images with a longer side are resampled to it before anything else, and scored at their own size; None:
    never (published)."""
    flip: float = 0.5
    """Probability of a flip, for each axis."""
    quarter_turn: float = 0.5
    """Probability of a turn by 90, 180 or 270 degrees."""
    rotate: float = 0.25
    """Probability of a small rotation."""
    rotate_degrees: float = 7.5
    """Largest small rotation, degrees."""
    gamma: float = 0.25
    """Probability of a change of gamma."""
    gamma_range: tuple[float, float] = (0.9, 1.1)
    """Gammas drawn from."""
    cache_gib: float = 4.0
    """A split is held decoded in memory if it fits in this, GiB; otherwise it is read again for each crop."""
    threads: int = 2
    """Threads that prepare batches."""

    def __post_init__(self) -> None:
        _check_types(self, "data")
        _require(self.crop >= 16 and self.crop % 8 == 0, "data.crop", self.crop, "must be a multiple of 8, 16 or more")
        for name in ("vessel_crops", "flip", "quarter_turn", "rotate", "gamma"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"data.{name}", value, "is a probability: 0 to 1")
        _require(self.rotate_degrees >= 0, "data.rotate_degrees", self.rotate_degrees, "must not be negative")
        low, high = self.gamma_range
        _require(0 < low <= high, "data.gamma_range", self.gamma_range, "give two positive numbers, smaller first")
        if self.max_side is not None:
            _require(self.max_side >= self.crop, "data.max_side", self.max_side, "must not be smaller than data.crop")
        _require(self.cache_gib >= 0, "data.cache_gib", self.cache_gib, "must not be negative")
        _require(self.threads >= 1, "data.threads", self.threads, "must be at least 1")


@dataclass(frozen=True)
class EmbeddingConfig:
    """Where the condition comes from (used with FiLM only)."""

    store: str | None = None
    """A store made by `flowseg embed`; None: the image-stats descriptor, computed at the start."""

    def __post_init__(self) -> None:
        _check_types(self, "embeddings")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, clipping, schedule and EMA."""

    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 1e-5
    """Decoupled weight decay."""
    clip_norm: float = 1.0
    """Global gradient norm above which gradients are scaled down."""
    schedule: Literal["constant", "cosine", "plateau"] = "plateau"
    """plateau (published): the rate is halved when validation Dice stalls; cosine: linear warm-up, then to 0."""
    warmup_steps: int = 0
    """Steps of linear warm-up (cosine)."""
    plateau_patience: int = 5
    """Validations without a better Dice before the rate falls."""
    plateau_factor: float = 0.5
    """What the rate is then multiplied by."""
    accumulate: int = 8
    """Batches whose gradients are averaged into one update (published: 8)."""
    ema_decay: float = 0.9999
    """Decay of the averaged parameters that are evaluated; it is held at (1 + n)/(10 + n) after n updates while
    that is smaller, so that the random start is forgotten."""

    def __post_init__(self) -> None:
        _check_types(self, "optim")
        _require(self.lr > 0, "optim.lr", self.lr, "must be positive")
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "must not be negative")
        _require(self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "must be positive")
        _require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "must not be negative")
        _require(self.plateau_patience >= 1, "optim.plateau_patience", self.plateau_patience, "must be at least 1")
        _require(0 < self.plateau_factor < 1, "optim.plateau_factor", self.plateau_factor, "must lie between 0 and 1")
        _require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "must be at least 1")
        _require(0 <= self.ema_decay < 1, "optim.ema_decay", self.ema_decay, "must be at least 0 and below 1")


@dataclass(frozen=True)
class TrainConfig:
    """Length of a run and what is kept of it."""

    batch: int = 6
    """Crops per step, over all devices."""
    microbatch: int | None = None
    """Crops that a device takes at a time within a step: fewer need less memory, the step computes the same. None: all
    on a GPU, one on a CPU."""
    epochs: int = 500
    """Epochs in all."""
    epoch_steps: int | None = None
    """Steps that make an epoch; None: enough to see each training image once."""
    validate_every: int = 15
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_every: int = 500
    """Steps between saves of the latest state, besides those after validations."""
    log_every: int = 10
    """Steps whose mean loss makes one line of metrics.jsonl."""
    max_bad_steps: int = 20
    """Steps in a row with a non-finite loss before the run stops; each is skipped."""

    def __post_init__(self) -> None:
        _check_types(self, "train")
        for name in ("batch", "epochs", "validate_every", "checkpoint_every", "log_every", "max_bad_steps"):
            value = getattr(self, name)
            _require(value >= 1, f"train.{name}", value, "must be at least 1")
        if self.microbatch is not None:
            _require(self.microbatch >= 1, "train.microbatch", self.microbatch, "must be at least 1")
        if self.epoch_steps is not None:
            _require(self.epoch_steps >= 1, "train.epoch_steps", self.epoch_steps, "must be at least 1")


@dataclass(frozen=True)
class EvalConfig:
    """Sampling and scoring, in validation and afterwards."""

    sampler: Sampler = "midpoint"
    """How the flow is integrated; dopri5 is the original's, adaptive. Of those with at most 8 evaluations of the
    network the midpoint rule in 4 steps came nearest to it (docs/performance.md)."""
    steps: int = 4
    """Steps from noise to mask (fixed-step samplers); a step of midpoint or heun takes 2 evaluations, of rk4 4."""
    tolerance: float = 1e-4
    """Relative and absolute tolerance (dopri5)."""
    overlap: float = 0.25
    """Share of a window's side that neighbouring windows share."""
    window_batch: int = 6
    """Windows sampled at once."""
    ensemble: int = 1
    """Samples per image, each from noise of its own; their mean is the prediction, their spread its uncertainty. Costs
    that many times as much. Validation in training draws one."""
    tta: bool = False
    """Test-time augmentation: every sample is the mean over the flips and quarter turns of its windows. Costs 8 times
    as much; validation in training goes without."""
    threshold: Literal["fixed", "tuned"] = "fixed"
    """Probability above which a pixel is vessel: fixed at 0.5, where a sample crosses 0, or tuned on the validation
    split and kept with the run (flowseg.runs.threshold)."""

    def __post_init__(self) -> None:
        _check_types(self, "eval")
        _require(self.ensemble >= 1, "eval.ensemble", self.ensemble, "must be at least 1")
        _require(self.steps >= 1, "eval.steps", self.steps, "must be at least 1")
        _require(0 < self.tolerance < 1, "eval.tolerance", self.tolerance, "must lie between 0 and 1")
        _require(0 <= self.overlap <= 0.75, "eval.overlap", self.overlap, "must lie between 0 and 0.75")
        _require(self.window_batch >= 1, "eval.window_batch", self.window_batch, "must be at least 1")


@dataclass(frozen=True)
class Config:
    """One experiment. A run is a function of this, the data, and the software."""

    name: str = "baseline"
    """Names the run's folder."""
    seed: int = 0
    """Root of all randomness: parameters, order of images, crops, noise."""
    precision: Literal["float32", "bf16"] = "float32"
    """What products are computed in; parameters, norms and the loss are float32 always."""
    parallel: Literal["pmap", "jit"] = "pmap"
    """How the step is spread over devices; both give the same numbers."""
    devices: int | None = None
    """Devices to use; None: all."""
    model: ModelConfig = field(default_factory=ModelConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    data: DataConfig = field(default_factory=DataConfig)
    embeddings: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        _check_types(self, "")
        _require(bool(self.name) and Path(self.name).name == self.name, "name", self.name, "must be a plain file name")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "must lie between 0 and 2147483647")
        if self.devices is not None:
            _require(self.devices >= 1, "devices", self.devices, "must be at least 1")
            check_batch(self.train.batch, self.devices)
        _require(
            self.embeddings.store is None or bool(self.model.film.stages),
            "embeddings.store",
            self.embeddings.store,
            "this config has no FiLM stages to condition; use configs/vlm_film.py or set model.film.stages",
        )


def check_batch(batch: int, devices: int) -> None:
    """Raises a UserError unless `batch` crops can be shared out evenly."""
    _require(
        batch % devices == 0,
        "train.batch",
        batch,
        f"is not divisible by the {devices} devices; choose a multiple of {devices}, or fewer with --devices",
    )


def to_json(config: Config) -> str:
    """The whole tree as JSON, fields in their order."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_dict(cls: type[T], values: object, name: str = "") -> T:
    """A config (section) from plain values, as read from JSON; an unknown field is a UserError."""
    if not isinstance(values, dict):
        raise UserError(f"{name or 'config'} = {values!r}: expected an object with fields")
    known = dict((f.name, hint) for f, hint in _fields(cls))
    prefix = f"{name}." if name else ""
    for key in values:
        if key not in known:
            raise UserError(
                f"unknown config field {prefix}{key} = {values[key]!r}: remove it, or use one of {', '.join(known)}"
            )
    built = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(known[key]):
            value = from_dict(typing.cast(type, known[key]), value, prefix + key)
        built[key] = tuple(value) if isinstance(value, list) else value
    return cls(**built)


def differences(a: Any, b: Any, name: str = "") -> list[str]:
    """Lines 'field: a != b' for every field in which two trees of one type differ."""
    lines = []
    for f in dataclasses.fields(a):
        left, right = getattr(a, f.name), getattr(b, f.name)
        path = f"{name}.{f.name}" if name else f.name
        if dataclasses.is_dataclass(left):
            lines += differences(left, right, path)
        elif left != right:
            lines.append(f"{path}: {left!r} != {right!r}")
    return lines

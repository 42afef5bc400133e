"""The typed config tree.

Every field says what it means and its unit, and where it helps the published value. The defaults are the published
recipe, except where docs/recipe.md says otherwise; a file in `configs/` holds only what differs from them. Every
section is checked when it is built (flowseg.bounds): a mistake is a `UserError` of one line.
"""

import typing
from dataclasses import dataclass, field
from typing import Annotated, Literal

from flowseg import bounds
from flowseg.bounds import Bound, Count, Natural, NotNegative, Positive, Section, at_most, require

FilmPoint = Literal["after_block1", "after_block2"]
TargetKind = Literal["mask", "coverage", "sauna"]
Family = Literal["binary", "gaussian", "supervised"]
Channel = Literal["luminance", "red", "green", "blue"]
Sampler = Literal["euler", "heun", "midpoint", "rk4", "dopri5"]
TrackerName = Literal["mlflow", "wandb"]
"""Where measurements are shown if a training is asked to, besides TensorBoard (flowseg.runs.trackers)."""
Crop = Annotated[int, Bound(lambda n: 16 <= n <= 16384 and n % 8 == 0, "must be a multiple of 8 from 16 to 16384")]
Level = Annotated[int, Bound(lambda level: 0 <= level <= 3, "levels and stages are 0 to 3")]
Fraction = Annotated[float, Bound(lambda x: 0 < x < 1, "must lie between 0 and 1, and be neither")]
Probability = Annotated[float, Bound(lambda p: 0 <= p <= 1, "is a probability: choose a number from 0 to 1")]

SAMPLERS: dict[Family, tuple[Sampler, ...]] = {
    "binary": ("euler", "heun"),
    "gaussian": typing.get_args(Sampler),
    "supervised": ("euler",),
}
"""The samplers of each family. The supervised one draws nothing; its single evaluation is called an Euler step."""


@dataclass(frozen=True)
class FilmConfig(Section, path="model.film"):
    """Conditioning by an embedding of the whole image."""

    stages: Annotated[
        tuple[Level, ...],
        Bound(lambda stages: list(stages) == sorted(set(stages)), "list each stage once, in ascending order"),
    ] = ()
    """Decoder stages with FiLM, from 0 (coarsest) to 3 (finest); without any the network is the baseline. Published:
    0 1 2 3."""
    point: FilmPoint = "after_block1"
    """Where in a stage the feature map is modulated; some published runs used after_block2."""
    embedding_width: bounds.Width = 2048
    """Numbers per embedding; Qwen2.5-VL-3B's vision tokens have 2048."""
    condition_width: bounds.Width = 256
    """Width of the condition vector (published)."""
    hidden_width: bounds.Width = 256
    """Hidden width of a FiLM head (published)."""
    junction_radius: Annotated[Natural, at_most(128, "many times a vessel's width")] = 0
    """FiLM is disabled within this many pixels of the predicted vessel junctions; 0 disables it nowhere. Any other
    value costs a second evaluation of the network (flowseg.models.junctions)."""


@dataclass(frozen=True)
class ModelConfig(Section, path="model"):
    """The network. What its output means depends on the flow: logits of the mask, or a velocity."""

    dim: Annotated[int, Bound(lambda n: 8 <= n <= 1024 and n % 8 == 0, "must be a multiple of 8 from 8 to 1024")] = 32
    """Channels of the finest level; a multiple of 8, the number of groups in GroupNorm. At most 32 times the published
    width."""
    multipliers: Annotated[
        tuple[Annotated[Count, at_most(64, "16 times the largest published one")], ...],
        Bound(lambda levels: 1 <= len(levels) <= 4, "give one number for each of 1 to 4 levels"),
    ] = (1, 2, 3, 4)
    """Output channels of each level, in units of dim. Each level but the last halves the map; four are published."""
    patch: Annotated[Count, at_most(64, "vessels are lost in such patches")] = 1
    """Side, in pixels, of the square patches that the network treats as one position. 1 (published): every pixel is a
    position. With 2 its maps are half as high and wide, and a step costs a quarter."""
    heads: Annotated[Count, at_most(64, "16 times the published number")] = 4
    """Attention heads."""
    head_dim: Annotated[Count, at_most(512, "16 times the published width")] = 32
    """Channels of one attention head."""
    full_attention_levels: tuple[Level, ...] = (2, 3)
    """Levels with softmax attention, from 0 (finest) to 3 (coarsest); the others have linear attention. Published: the
    80x80 and 40x40 maps of 320x320 crops."""
    film: FilmConfig = field(default_factory=FilmConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = len(self.multipliers)
        for name, chosen in (("full_attention_levels", self.full_attention_levels), ("film.stages", self.film.stages)):
            remedy = f"with {levels} multipliers there are levels and stages 0 to {levels - 1}"
            require(all(level < levels for level in chosen), f"model.{name} = {chosen}", remedy)

    @property
    def divisor(self) -> int:
        """What height and width of an image must be divisible by, in pixels."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels into each level, then out of the last."""
        return (self.dim, *(self.dim * m for m in self.multipliers))

    def stage_width(self, stage: int) -> int:
        """Channels that FiLM modulates in a decoder stage, 0 being the coarsest."""
        return self.widths[len(self.multipliers) - stage]


@dataclass(frozen=True)
class FlowConfig(Section, path="flow"):
    """The probability path from noise to mask."""

    family: Family = "binary"
    """How noise is carried to the mask: the class `Family` of flowseg/flow/NAME.py. binary (most likely the published
    one) goes from Bernoulli draws to the mask, gaussian from normal noise to the target map; supervised has no flow:
    the network gives the mask at once."""
    sigma: Annotated[NotNegative, at_most(10, "the mask is lost in such noise")] = 0.25
    """Width of the Gaussian path, in units of the target's [-1, 1]; 0 is the straight path."""
    time_power: Annotated[Positive, at_most(100, "nearly all times would be 0")] = 1.0
    """Training times are r^time_power with r uniform on [0, 1]. 1 (published) is uniform. Larger values sample t
    closer to 0, where the mask has to be found, and less often near 1, where x_t already shows it. The supervised
    family has no times."""
    time_zero: Annotated[float, Bound(lambda x: 0 <= x < 1, "must be at least 0 and below 1")] = 0.0
    """Share of the training times that are exactly 0, where a sampler begins (published: none); the others are as
    above."""
    cldice: bounds.Weight = 0.0
    """Weight of a loss on the centrelines of the predicted mask (soft clDice); 0 (published) leaves it out. With 0.5
    masks fall into fewer pieces, and Dice is a little lower (docs/recipes.md)."""
    consistency: bounds.Weight = 0.1
    """Weight of the binary flow's self-consistency term (published: 0.1), which asks one long step and two half steps
    to agree; 0 leaves it out."""
    consistency_probability: Probability = 0.2
    """Probability per step that the term is computed, on the first two examples of the batch (published: 0.2)."""


@dataclass(frozen=True)
class DataConfig(Section, path="data"):
    """Images, targets and augmentation."""

    root: str | None = None
    """Folder with train, val and test, each with the folders image and label; None means the procedural phantoms. On
    the command line also --data."""
    fold: bounds.FoldName | None = None
    """Which fold of a cross-validation the run is, for example 2/5: of five parts of the images for training and
    validation, the second is left out and scored afterwards (flowseg.data.folds). None trains on the data set's own
    splits. flowseg experiment --folds sets it."""
    channel: Channel = "luminance"
    """What of a colour image the network sees: its luminance (ITU-R 601), or one channel. In photographs of the retina
    vessels have the most contrast in green. Grey images are not affected."""
    target: TargetKind = "mask"
    """What the training asks for, as a map in [-1, 1]. mask: 2 mask - 1 (published with the binary flow). coverage:
    2 c - 1, where c is the share of the pixel's area that is vessel; it differs from mask where images are downsampled
    (max_side). sauna: the SAUNA map (published with the Gaussian flow, which alone takes it); what is learnt from it
    is no probability, so that its calibration cannot be measured."""
    crop: Crop = 320
    """Side of a training crop and of an evaluation window, in pixels; a multiple of 8, at most 16384. Smaller images
    are mirrored up to it; training images less than half as large are refused."""
    crops_per_image: Annotated[Count, at_most(1_000_000, "an epoch would never end")] = 16
    """Crops of each training image in an epoch (published: 16), where train.epoch_steps does not say otherwise."""
    vessel_crops: Probability = 0.5
    """Share of crops centred on a random vessel pixel; the others are centred on a random background pixel. Published:
    0.5. A crop that would reach over the image's border is moved inside."""
    max_side: bounds.Side | None = None
    """Images with a longer side, in pixels, are downsampled to it first, but scored at their own size. None
    (published) never resamples."""
    flip: Probability = 0.5
    """Probability of a flip, for each axis."""
    quarter_turn: Probability = 0.5
    """Probability of a rotation by 90, 180 or 270 degrees."""
    rotate: Probability = 0.25
    """Probability of a small rotation."""
    rotate_degrees: Annotated[NotNegative, at_most(180, "a half turn reaches every angle")] = 7.5
    """Largest small rotation, in degrees."""
    zoom: Probability = 0.0
    """Probability of a change of scale (published: none)."""
    zoom_range: bounds.Range = (0.8, 1.25)
    """Smallest and largest scale factor; above 1 the crop shows a smaller area, enlarged."""
    gamma: Probability = 0.25
    """Probability of a change of gamma."""
    gamma_range: bounds.Range = (0.9, 1.1)
    """Smallest and largest gamma."""
    cache_gib: Annotated[NotNegative, at_most(1_000_000, "more memory than machines have")] = 4.0
    """A split that fits in this many GiB is kept decoded in memory; otherwise images are read again for each crop."""
    threads: Annotated[Count, at_most(256, "more would wait for each other")] = 2
    """Threads that prepare batches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.max_side is None or self.max_side >= self.crop
        require(fits, f"data.max_side = {self.max_side}", f"must not be smaller than data.crop = {self.crop}")


@dataclass(frozen=True)
class EmbeddingConfig(Section, path="embeddings"):
    """Where the image embeddings come from (used with FiLM only)."""

    store: str | None = None
    """A store made by `flowseg embed`; None means the image-stats descriptor, computed at the start of the run. On the
    command line also --embeddings."""


@dataclass(frozen=True)
class OptimConfig(Section, path="optim"):
    """AdamW or Muon, gradient clipping, learning rate schedule and EMA."""

    rule: Literal["adamw", "muon"] = "adamw"
    """adamw (published), or muon: matrices are updated by their orthogonalised momentum, and what is not a matrix by
    AdamW (flowseg.training.muon)."""
    lr: bounds.Rate = 2e-4
    """Peak learning rate of AdamW; with rule muon, of what is not a matrix. It is the one that is logged."""
    muon_lr: bounds.Rate = 5e-3
    """Peak learning rate of Muon. A Muon update has a root mean square of 0.2 times this rate, about that of an AdamW
    update at the same rate."""
    weight_decay: Annotated[NotNegative, at_most(1000, "parameters would be 0 after a step")] = 1e-5
    """Decoupled weight decay; with rule muon, of the matrices only."""
    clip_norm: Annotated[Positive, at_most(1e30, "nothing is clipped at such a norm")] = 1.0
    """Global gradient norm above which gradients are scaled down."""
    schedule: Literal["constant", "cosine", "plateau"] = "plateau"
    """plateau (published) reduces the learning rate when validation Dice stalls; cosine is a linear warm-up, then a
    decay to 0."""
    warmup_steps: Annotated[Natural, at_most(bounds.MOST_STEPS, "steps are counted in 32 bits")] = 0
    """Updates of linear warm-up (cosine); one takes optim.accumulate steps."""
    plateau_patience: Annotated[Count, at_most(bounds.MOST_EPOCHS, "no run has more validations")] = 5
    """Validations without a better Dice before the learning rate is reduced; better is by more than 1e-4."""
    plateau_factor: Fraction = 0.5
    """What the learning rate is then multiplied by."""
    accumulate: Annotated[Count, at_most(1_000_000, "the parameters would hardly ever change")] = 8
    """Batches whose gradients are averaged into one update (published: 8)."""
    ema_decay: Annotated[float, Bound(lambda x: 0 <= x < 1, "must be at least 0 and below 1")] = 0.9999
    """Decay of the averaged parameters, which are the ones evaluated. After n updates the decay is at most
    (1 + n)/(10 + n), so that the random start is forgotten; a decay d has an effect from update 9/(1 - d) on. The
    published runs used stochastic weight averaging over the last fifth of the epochs, at a tenth of the rate."""


@dataclass(frozen=True)
class TrainConfig(Section, path="train"):
    """Length of a run, and what is saved of it."""

    batch: bounds.Batch = 6
    """Crops per step, over all devices."""
    microbatch: bounds.Batch | None = None
    """Crops that a device processes at a time within a step. Fewer need less memory; the result is the same. None
    means as many as fit a GPU's memory, and one on a CPU."""
    epochs: bounds.Epochs = 500
    """Epochs in all."""
    epoch_steps: bounds.Steps | None = None
    """Steps per epoch; None means enough for data.crops_per_image crops of each training image."""
    half_size_share: Annotated[float, Bound(lambda x: 0 <= x < 1, "must be at least 0 and below 1")] = 0.0
    """Share of the steps, the first ones, that train on crops scaled down to half their side by area means (published:
    none). Such a step costs a quarter (progressive resizing, as in Tan and Le 2021). Validation is at full size from
    the start, so Dice stays low until these steps are over. The plateau schedule does not count these validations."""
    validate_every: bounds.Epochs = 15
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_every: bounds.Steps = 500
    """Steps between saves of the latest state, which is also saved after every validation."""
    log_every: bounds.Steps = 10
    """Steps whose mean loss becomes one line of metrics.jsonl."""
    max_bad_steps: bounds.Steps = 20
    """Steps in a row with a non-finite loss or gradient before the run stops; each of them is skipped."""


@dataclass(frozen=True)
class EvalConfig(Section, path="eval"):
    """Sampling and scoring, in validation and afterwards."""

    sampler: Sampler = "euler"
    """How the flow is integrated. The binary flow has euler (published) and heun, the Gaussian one also midpoint, rk4
    and dopri5 (its original's adaptive method)."""
    steps: Annotated[Count, at_most(10_000, "200 times the published number")] = 4
    """Steps from noise to mask (fixed-step samplers; published with the binary flow: 50; docs/experiment.md compares
    them). A step evaluates the network once with euler, twice with midpoint or heun (the binary flow's last heun step
    once), 4 times with rk4."""
    tolerance: Fraction = 1e-4
    """Relative and absolute tolerance (dopri5). All windows of a batch share their steps, so results change with
    window_batch, within the tolerance."""
    overlap: Annotated[float, Bound(lambda x: 0 <= x <= 0.75, "must lie between 0 and 0.75")] = 0.25
    """Overlap of neighbouring windows, as a share of their side."""
    window_batch: bounds.Windows = 6
    """Windows sampled at once."""
    ensemble: Annotated[Count, at_most(10_000, "their mean no longer changes")] = 1
    """Samples per image, each from its own noise; their mean is the prediction and their spread its uncertainty. The
    cost grows with their number. Validation during training draws one."""
    tta: bool = False
    """Test-time augmentation: every sample is the mean over the flips and quarter turns of its windows, at 8 times the
    cost. Validation during training does not use it."""
    threshold: Literal["fixed", "tuned"] = "fixed"
    """Probability above which a pixel is vessel: fixed at 0.5, or tuned on the run's validation images and stored with
    the run (flowseg.runs.tuning)."""
    min_component: Annotated[
        int | Literal["auto"],
        Bound(lambda size: size == "auto" or size >= 0, "must be auto, or at least 0"),
        Bound(lambda size: size == "auto" or size <= 2**26, "must be auto, or at most 67,108,864 (a whole image)"),
    ] = "auto"
    """Connected components of a mask with fewer pixels than this are removed, at the image's stored size; 0 keeps all.
    auto: the size that is best on the run's validation images among those that, as far as these tell, do not lower
    Dice; it is stored with the run.
    Validation during training keeps all of them."""


@dataclass(frozen=True)
class Config(Section):
    """One experiment. A run is determined by this, the data and the software."""

    name: bounds.FileName = "baseline"
    """Name of the run's folder."""
    seed: bounds.Seed = 0
    """Seed of everything random: initial parameters, order of images, crops, noise."""
    precision: Literal["auto", "float32", "bf16"] = "float32"
    """Precision of matrix products and convolutions; parameters, norms, FiLM, the last layer and the loss are float32
    always. auto is bf16 on GPUs that have it (compute capability 8.0 and later), else float32; a run's folder says
    which it was."""
    parallel: Literal["pmap", "jit"] = "pmap"
    """How a step is spread over devices; both give the same numbers."""
    devices: Annotated[Count, at_most(4096, "one process drives no more")] | None = None
    """Number of devices to use; None means all."""
    model: ModelConfig = field(default_factory=ModelConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    data: DataConfig = field(default_factory=DataConfig)
    embeddings: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices is not None:
            check_batch(self.train.batch, self.devices)
        patch, crop, divisor = self.model.patch, self.data.crop, self.model.divisor
        remedy = f"must be a multiple of {divisor} for patches of {patch}"
        require(crop % divisor == 0, f"data.crop = {crop}", remedy)
        require(
            self.train.half_size_share == 0 or crop % (2 * divisor) == 0,
            f"data.crop = {crop}",
            f"must be a multiple of {2 * divisor} for train.half_size_share with patches of {patch}",
        )
        family, sampling = self.flow.family, self.eval
        samplers = SAMPLERS[family]
        require(
            sampling.sampler in samplers,
            f"eval.sampler = {sampling.sampler!r}",
            f"the {family} family has {', '.join(samplers)}",
        )
        require(
            family == "gaussian" or self.data.target != "sauna",
            "data.target = 'sauna'",
            f"the {family} family learns probabilities, which a SAUNA map does not hold; use mask or coverage",
        )
        for name in ("steps", "ensemble"):
            alone = family != "supervised" or getattr(sampling, name) == 1
            remedy = "the supervised family evaluates the network once and draws nothing; set it to 1"
            require(alone, f"eval.{name} = {getattr(sampling, name)}", remedy)
        require(
            self.embeddings.store is None or self.model.film.stages != (),
            f"embeddings.store = {self.embeddings.store!r}",
            "this config has no FiLM stages to condition; use vlm_film or set model.film.stages",
        )


def check_batch(batch: int, devices: int) -> None:
    """Raises a UserError unless `batch` crops can be divided evenly among the devices."""
    remedy = f"choose a multiple of {devices}, or fewer devices with --devices"
    require(batch % devices == 0, f"train.batch = {batch}", f"is not divisible by the {devices} devices; {remedy}")

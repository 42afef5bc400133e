"""The network: MedSegDiffFlow, and its VLM-FiLM variant (docs/network.md).

Two encoders of equal shape, one for the mask and one for the image, are joined at every level by a Fourier
conditioner. A transformer follows in the middle, then a decoder with skips. FiLM scales and shifts the maps of chosen
decoder stages by an embedding of the image.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.config import ModelConfig
from flowseg.models.attention import CrossAttention, FullAttention, LinearAttention
from flowseg.models.film import Conditioner, FilmHead, modulate
from flowseg.models.fourier import FourierConditioner
from flowseg.models.junctions import at_stage
from flowseg.models.kernels import Kernels
from flowseg.models.layers import (
    ChannelNorm,
    Compute,
    Conv,
    Dense,
    Downsample,
    Modulations,
    ResnetBlock,
    TimeEmbedding,
    Upsample,
    modulations,
)
from flowseg.models.patches import from_patches, to_patches
from flowseg.models.recompute import own_gradient

Map = Float[Array, "b h w c"]
GammaBeta = tuple[Float[Array, "b c"], Float[Array, "b c"]]


def _attention(config: ModelConfig, level: int, width: int, compute: Compute) -> nnx.Module:
    kind = FullAttention if level in config.full_attention_levels else LinearAttention
    return kind(width, config.heads, config.head_dim, compute)


class EncoderPath(nnx.Module):
    """One path of one encoder level: two blocks, attention, downsampling."""

    def __init__(self, config: ModelConfig, level: int, compute: Compute):
        d_in, d_out = config.widths[level], config.widths[level + 1]
        last = level == len(config.multipliers) - 1
        self.block1 = ResnetBlock(d_in, d_in, 4 * config.dim, compute)
        self.block2 = ResnetBlock(d_in, d_in, 4 * config.dim, compute)
        self.attention = _attention(config, level, d_in, compute)
        self.down = Conv(d_in, d_out, 3, compute) if last else Downsample(d_in, d_out, compute)


class EncoderLevel(nnx.Module):
    """Both paths of one encoder level, and the conditioner that mixes the image into the mask path."""

    def __init__(self, config: ModelConfig, image_size: int, level: int, compute: Compute):
        self.mask = EncoderPath(config, level, compute)
        self.image = EncoderPath(config, level, compute)
        self.conditioner = FourierConditioner(config.widths[level], image_size // 2**level, compute)

    def __call__(self, x: Map, c: Map, times: Modulations) -> tuple[Map, Map, tuple[Map, Map]]:
        x, c = self.mask.block1(x, times), self.image.block1(c, times)
        first = x
        x, c = self.mask.block2(x, times), self.image.block2(c, times)
        x, c = x + self.mask.attention(x), c + self.image.attention(c)
        x = self.conditioner(x, c)
        return self.mask.down(x), self.image.down(c), (first, x)


class FeedForward(nnx.Module):
    """Channel norm, Dense(4 d), exact GELU, Dense(d)."""

    def __init__(self, width: int, compute: Compute):
        self.norm = ChannelNorm(width)
        self.dense1 = Dense(width, 4 * width, compute)
        self.dense2 = Dense(4 * width, width, compute)

    def __call__(self, x: Map) -> Map:
        return self.dense2(jax.nn.gelu(self.dense1(self.norm(x)), approximate=False))


class Middle(nnx.Module):
    """A block on each path, one transformer layer with cross-attention between the paths, and a last block."""

    def __init__(self, config: ModelConfig, compute: Compute):
        width = config.widths[-1]
        self.mask_block = ResnetBlock(width, width, 4 * config.dim, compute)
        self.image_block = ResnetBlock(width, width, 4 * config.dim, compute)
        self.cross1 = CrossAttention(width, config.heads, config.head_dim, compute)
        self.feed1 = FeedForward(width, compute)
        self.feed2 = FeedForward(width, compute)
        self.cross2 = CrossAttention(width, config.heads, config.head_dim, compute)
        self.last_block = ResnetBlock(width, width, 4 * config.dim, compute)

    def __call__(self, x: Map, c: Map, times: Modulations) -> Map:
        x, c = self.mask_block(x, times), self.image_block(c, times)
        x = x + c
        a = x + self.cross1(x, c)
        f1 = a + self.feed1(a)
        f2 = a + self.feed2(a)
        return self.last_block(f1 + self.cross2(f1, f2), times)


class DecoderStage(nnx.Module):
    """Two blocks, each with a skip, FiLM after one of them, attention, upsampling."""

    def __init__(self, config: ModelConfig, stage: int, compute: Compute):
        level = len(config.multipliers) - 1 - stage
        d_skip, width = config.widths[level], config.widths[level + 1]
        self.film_point = config.film.point
        self.block1 = ResnetBlock(width + d_skip, width, 4 * config.dim, compute)
        self.block2 = ResnetBlock(width + d_skip, width, 4 * config.dim, compute)
        self.attention = _attention(config, level, width, compute)
        self.up = Conv(width, d_skip, 3, compute) if level == 0 else Upsample(width, d_skip, compute)

    def __call__(
        self,
        x: Map,
        skips: tuple[Map, Map],
        times: Modulations,
        film: GammaBeta | None,
        gate: Float[Array, "b h w 1"] | None,
    ) -> Map:
        first, second = skips
        if gate is not None:
            gate = at_stage(gate, gate.shape[1] // x.shape[1])
        x = self.block1(x, times, second)
        if self.film_point == "after_block1":
            x = modulate(x, film, gate)
        x = self.block2(x, times, first)
        if self.film_point == "after_block2":
            x = modulate(x, film, gate)
        return self.up(x + self.attention(x))


EXACT = ("film", "head")
"""The parts of the network that compute in float32, whatever its other products are rounded to."""


class Film(nnx.Module):
    """The conditioner, and one head for each chosen decoder stage."""

    def __init__(self, config: ModelConfig, compute: Compute):
        film = config.film
        self.conditioner = Conditioner(film.embedding_width, film.condition_width, compute)
        self.heads = nnx.List(
            FilmHead(film.condition_width, film.hidden_width, config.stage_width(stage), compute)
            for stage in film.stages
        )

    def __call__(self, embedding: Float[Array, "b e"]) -> list[GammaBeta]:
        """Returns (gamma, beta) of every chosen stage, in the order of the config."""
        condition = self.conditioner(embedding)
        return [head(condition) for head in self.heads]


class UNet(nnx.Module):
    """A map per pixel from (x_t, t | image, embedding); what it means is for the flow to say.

    Args:
        config: widths, attention and FiLM.
        image_size: side in pixels of the maps that it is trained on, which is also the size of the learned spectra.
            For maps of another size the spectra are resized.
        kernels: those for the device that it runs on.
        dtype: what convolutions and products are computed in.

    Args of a call:
        x: (B, H, W, 1) the map at time t. H and W are divisible by the config's `divisor`.
        t: (B,) times in [0, 1].
        image: (B, H, W, 1) in [-1, 1].
        embedding: (B, E) one vector per image. With None, FiLM is disabled (gamma 1, beta 0). A network without FiLM
            accepts None only.
        gate: (B, H, W, 1) factor of FiLM's effect on each pixel (models.junctions). None stands for 1 everywhere.

    Returns:
        (B, H, W, 1) float32.

    Raises:
        ValueError: shapes that do not match.
    """

    def __init__(self, config: ModelConfig, image_size: int, *, kernels: Kernels, dtype: DTypeLike = jnp.float32):
        self.config = config
        compute = Compute(kernels, dtype)
        levels = range(len(config.multipliers))
        self.time = TimeEmbedding(config.dim, compute)
        pixels = config.patch**2
        self.stem_mask = Conv(pixels, config.dim, 7, compute)
        self.stem_image = Conv(pixels, config.dim, 7, compute)
        self.encoder = nnx.List(EncoderLevel(config, image_size // config.patch, level, compute) for level in levels)
        self.middle = Middle(config, compute)
        self.decoder = nnx.List(DecoderStage(config, stage, compute) for stage in levels)
        self.head_block = ResnetBlock(2 * config.dim, config.dim, 4 * config.dim, compute)
        exact = replace(compute, dtype=jnp.float32)
        self.head = Dense(config.dim, pixels, exact)
        self.film = Film(config, exact) if config.film.stages else None

    def __call__(
        self,
        x: Float[Array, "b h w 1"],
        t: Float[Array, " b"],
        image: Float[Array, "b h w 1"],
        embedding: Float[Array, "b e"] | None = None,
        gate: Float[Array, "b h w 1"] | None = None,
    ) -> Float[Array, "b h w 1"]:
        self._check(x, t, image, embedding)
        films: dict[int, GammaBeta] = {}
        if self.film is not None and embedding is not None:
            films = dict(zip(self.config.film.stages, self.film(embedding), strict=True))
        times = modulations(self, self.time(t))
        stem = x = self.stem_mask(to_patches(x, self.config.patch))
        c = self.stem_image(to_patches(image, self.config.patch))
        skips = []
        for level in self.encoder:
            x, c, skip = level(x, c, times)
            skips.append(skip)
        x = self.middle(x, c, times)
        for stage, (block, skip) in enumerate(zip(self.decoder, reversed(skips), strict=True)):
            x = block(x, skip, times, films.get(stage), gate)
        # The stem's gradient waits for the whole backward pass.
        x = self.head_block(x, times, own_gradient(stem))
        return from_patches(self.head(x), self.config.patch)

    def _check(self, x: Array, t: Array, image: Array, embedding: Array | None) -> None:
        if x.ndim != 4 or x.shape[-1] != 1 or image.shape != x.shape or t.shape != x.shape[:1]:
            raise ValueError(
                f"x and image are (B, H, W, 1) and t is (B,): got x {x.shape}, image {image.shape}, t {t.shape}"
            )
        divisor = self.config.divisor
        if x.shape[1] % divisor or x.shape[2] % divisor:
            raise ValueError(f"height and width must be divisible by {divisor}: got {x.shape[1]} x {x.shape[2]}")
        if embedding is not None:
            if self.film is None:
                raise ValueError("this network has no FiLM stages and takes no embedding")
            expected = (x.shape[0], self.config.film.embedding_width)
            if embedding.shape != expected:
                raise ValueError(f"embedding is (B, E) = {expected}: got {embedding.shape}")

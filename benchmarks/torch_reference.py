"""The network and its training step in PyTorch: what the JAX implementation is timed against.

Needs torch and numpy only. Parameter names are those of the original's checkpoints; `tests/benchmarks` holds the
network to the original's numbers. `torch_worker.py` times it.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPSILON = 1e-5
GROUPS = 8
MULTIPLIERS = (1, 2, 3, 4)
FULL_ATTENTION_LEVELS = (2, 3)

SIGMA = 0.25
LEARNING_RATE = 2e-4
WEIGHT_DECAY = 1e-5
CLIP_NORM = 1.0
EMA_DECAY = 0.9999

GammaBeta = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network. `attention` and `checkpointing` change how it is computed, not what."""

    size: int
    dim: int = 32
    heads: int = 4
    head_dim: int = 32
    film_stages: tuple[int, ...] = ()
    film_point: Literal["after_block1", "after_block2"] = "after_block1"
    embedding_width: int = 2048
    condition_width: int = 256
    hidden_width: int = 256
    attention: Literal["sdpa", "einsum"] = "sdpa"
    checkpointing: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels into levels 0 to 3 and out of level 3."""
        return (self.dim, *(self.dim * m for m in MULTIPLIERS))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position, (B, C, H, W); statistics in float32."""

    def __init__(self, width: int, *, bias: bool = False):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, width, 1, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            bias = None if self.b is None else self.b.flatten()
            h = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.g.flatten(), bias, EPSILON)
            return h.permute(0, 3, 1, 2).to(x.dtype)
        # Channels first, the fused norm would cost two transpositions; var_mean is slow along a strided axis.
        h = x.float()
        h = h - h.mean(1, keepdim=True)
        h = h * torch.rsqrt(h.square().mean(1, keepdim=True) + EPSILON) * self.g
        return (h if self.b is None else h + self.b).to(x.dtype)


class ConvNorm(nn.Module):
    """3x3 convolution, GroupNorm, scale and shift where given, SiLU."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__()
        self.proj = nn.Conv2d(d_in, d_out, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, d_out, EPSILON)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return F.silu(x)


class ResnetBlock(nn.Module):
    """(B, C_in, H, W), time (B, E) -> (B, C_out, H, W); without `d_time` it takes no time."""

    def __init__(self, d_in: int, d_out: int, d_time: int | None):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(d_time, 2 * d_out)) if d_time is not None else None
        self.block1 = ConvNorm(d_in, d_out)
        self.block2 = ConvNorm(d_out, d_out)
        self.res_conv = nn.Conv2d(d_in, d_out, 1) if d_in != d_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        scale_shift = None
        if self.mlp is not None and time is not None:
            scale_shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, scale_shift)) + self.res_conv(x)


class SinusoidalTime(nn.Module):
    """t (B,) in [0, 1] -> sines and cosines of 1000 t, (B, dim)."""

    def __init__(self, dim: int):
        super().__init__()
        half = dim // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        phase = 1000 * t[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class Residual(nn.Module):
    """x + fn(x, ...)."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return x + self.fn(x, *others)


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """(B, parts heads d, H, W) -> `parts` tensors (B, heads, H W, d); fused kernels want d contiguous."""
    x = x.flatten(2).transpose(1, 2).contiguous().unflatten(-1, (parts, heads, -1))
    return x.permute(2, 0, 3, 1, 4).unbind(0)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, like: Tensor, kind: str) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (B, heads, N, d), as maps (B, heads d, H, W) of the size of `like`."""
    if kind == "sdpa":
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        weights = torch.einsum("bhid,bhjd->bhij", q * q.shape[-1] ** -0.5, k).softmax(dim=-1)
        out = torch.einsum("bhij,bhjd->bhid", weights, v)
    return out.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(-1, like.shape[2:])


class FullAttention(nn.Module):
    """Softmax attention among the positions of a map, (B, C, H, W)."""

    def __init__(self, width: int, config: NetworkConfig):
        super().__init__()
        inner = config.heads * config.head_dim
        self.heads, self.kind = config.heads, config.attention
        self.pre_norm = ChannelNorm(width)
        self.to_qkv = nn.Conv2d(width, 3 * inner, 1, bias=False)
        self.to_out: nn.Module = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.to_qkv(self.pre_norm(x)), self.heads, 3)
        return self.to_out(softmax_attention(q, k, v, x, self.kind))


class LinearAttention(FullAttention):
    """Linear-cost attention (Shen et al. 2021) with the same projections, and a norm at the end; (B, C, H, W)."""

    def __init__(self, width: int, config: NetworkConfig):
        super().__init__(width, config)
        self.to_out = nn.Sequential(self.to_out, ChannelNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        # Channels first here, whatever x is: k's softmax and both products run along the positions.
        qkv = self.to_qkv(self.pre_norm(x).contiguous()).flatten(2)
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)
        # Scaling the small context is scaling q.
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v) * k.shape[2] ** -0.5
        out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(dim=-2))
        return self.to_out(out.flatten(1, 2).unflatten(-1, x.shape[2:]))


class CrossAttention(nn.Module):
    """Queries from c, keys and values from x; both (B, C, H, W). Unused parts of the projections aren't computed."""

    def __init__(self, width: int, config: NetworkConfig):
        super().__init__()
        self.inner = config.heads * config.head_dim
        self.heads, self.kind = config.heads, config.attention
        self.pre_norm_x, self.pre_norm_c = ChannelNorm(width), ChannelNorm(width)
        self.to_qkv_x = nn.Conv2d(width, 3 * self.inner, 1, bias=False)
        self.to_qkv_c = nn.Conv2d(width, 3 * self.inner, 1, bias=False)
        self.to_out = nn.Conv2d(self.inner, width, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        queries = F.conv2d(self.pre_norm_c(c), self.to_qkv_c.weight[: self.inner])
        keys_values = F.conv2d(self.pre_norm_x(x), self.to_qkv_x.weight[self.inner :])
        (q,), (k, v) = split_heads(queries, self.heads, 1), split_heads(keys_values, self.heads, 2)
        return self.to_out(softmax_attention(q, k, v, x, self.kind))


class CrossTransformer(nn.Module):
    """One layer across the mask path x and the image path c, both (B, C, H, W)."""

    def __init__(self, width: int, config: NetworkConfig):
        super().__init__()
        cross1, cross2 = (Residual(CrossAttention(width, config)) for _ in range(2))
        feed1, feed2 = (Residual(self._feed_forward(width)) for _ in range(2))
        self.layers = nn.ModuleList([nn.ModuleList([cross1, feed1, feed2, cross2])])

    @staticmethod
    def _feed_forward(width: int) -> nn.Module:
        wide, narrow = nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1)
        return nn.Sequential(ChannelNorm(width), wide, nn.GELU(), narrow)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        for cross1, feed1, feed2, cross2 in self.layers:
            a = cross1(x, c)
            x = cross2(feed1(a), feed2(a))
        return x


class FourierConditioner(nn.Module):
    """Mixes image features c into x, both (B, C, H, W), behind a learned filter of x's spectrum."""

    def __init__(self, width: int, map_size: int):
        super().__init__()
        self.ff_parser_attn_map = nn.Parameter(torch.ones(width, map_size, map_size))
        self.norm_input = ChannelNorm(width, bias=True)
        self.norm_condition = ChannelNorm(width, bias=True)
        self.block = ResnetBlock(width, width, None)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        spectrum = self.ff_parser_attn_map
        if spectrum.shape[1:] != x.shape[2:]:
            spectrum = F.interpolate(spectrum[None], x.shape[2:], mode="bilinear", align_corners=False)[0]
        # In float32 always: half precision has no general FFT.
        filtered = torch.fft.ifft2(torch.fft.fft2(x.float()) * spectrum).real.to(x.dtype)
        # c first: the product takes the memory layout of its first factor, and the FFT's may differ.
        return self.block(c * self.norm_condition(c) * self.norm_input(filtered))


def conditioner(config: NetworkConfig) -> nn.Module:
    """Embedding (B, E) -> condition (B, D)."""
    proj = nn.Linear(config.embedding_width, config.condition_width)
    return nn.Sequential(OrderedDict(proj=proj, ln=nn.LayerNorm(config.condition_width, EPSILON)))


def film_head(config: NetworkConfig, width: int) -> nn.Module:
    """Condition (B, D) -> gamma - 1 and beta side by side, (B, 2 C); they start at zero."""
    first, last = nn.Linear(config.condition_width, config.hidden_width), nn.Linear(config.hidden_width, 2 * width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    mlp = nn.Sequential(first, nn.ReLU(), last)
    return nn.Sequential(OrderedDict(ln=nn.LayerNorm(config.condition_width, EPSILON), mlp=mlp))


def modulate(x: Tensor, film: GammaBeta | None) -> Tensor:
    """gamma x + beta per channel of x (B, C, H, W); x itself without FiLM."""
    if film is None:
        return x
    gamma, beta = (part[:, :, None, None] for part in film)
    return gamma * x + beta


class BaseUNet(nn.Module):
    """The network without its FiLM heads; two encoders, Fourier conditioners between them, one decoder."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        dim, d_time, widths = config.dim, 4 * config.dim, config.widths
        last = len(MULTIPLIERS) - 1
        levels = range(last + 1)

        def attention(level: int, width: int) -> nn.Module:
            kind = FullAttention if level in FULL_ATTENTION_LEVELS else LinearAttention
            return Residual(kind(width, config))

        def encoder() -> nn.ModuleList:
            stages = nn.ModuleList()
            for level in levels:
                d_in, d_out = widths[level], widths[level + 1]
                halve = nn.Sequential(nn.Conv2d(d_in, d_out, 4, stride=2, padding=1))
                down = nn.Conv2d(d_in, d_out, 3, padding=1) if level == last else halve
                blocks = (ResnetBlock(d_in, d_in, d_time) for _ in range(2))
                stages.append(nn.ModuleList([*blocks, attention(level, d_in), down]))
            return stages

        self.init_conv = nn.Conv2d(1, dim, 7, padding=3)
        self.cond_init_conv = nn.Conv2d(1, dim, 7, padding=3)
        dense = nn.Linear(dim, d_time), nn.Linear(d_time, d_time)
        self.time_mlp = nn.Sequential(SinusoidalTime(dim), dense[0], nn.GELU(), dense[1])
        self.downs, self.cond_downs = encoder(), encoder()
        self.conditioners = nn.ModuleList(FourierConditioner(widths[i], config.size // 2**i) for i in levels)
        self.mid_block1 = ResnetBlock(widths[-1], widths[-1], d_time)
        self.cond_mid_block1 = ResnetBlock(widths[-1], widths[-1], d_time)
        self.mid_transformer = CrossTransformer(widths[-1], config)
        self.mid_block2 = ResnetBlock(widths[-1], widths[-1], d_time)
        self.ups = nn.ModuleList()
        for level in reversed(levels):
            d_skip, width = widths[level], widths[level + 1]
            conv = nn.Conv2d(width, d_skip, 3, padding=1)
            up = conv if level == 0 else nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)
            blocks = (ResnetBlock(width + d_skip, width, d_time) for _ in range(2))
            self.ups.append(nn.ModuleList([*blocks, attention(level, width), up]))
        self.final_res_block = ResnetBlock(2 * dim, dim, d_time)
        self.final_conv = nn.Conv2d(dim, 1, 1)

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """A block; with checkpointing it is computed again in the backward pass."""
        if self.config.checkpointing and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False)
        return module(*inputs)

    def forward(self, x: Tensor, t: Tensor, image: Tensor, films: Mapping[int, GammaBeta]) -> Tensor:
        run, point = self._run, self.config.film_point
        time = self.time_mlp(t)
        stem = x = self.init_conv(x)
        c = self.cond_init_conv(image)
        skips: list[Tensor] = []
        for mask_path, image_path, conditioner in zip(self.downs, self.cond_downs, self.conditioners, strict=True):
            (block1, block2, attention, down), (c_block1, c_block2, c_attention, c_down) = mask_path, image_path
            x, c = run(block1, x, time), run(c_block1, c, time)
            skips.append(x)
            x, c = run(block2, x, time), run(c_block2, c, time)
            x, c = run(attention, x), run(c_attention, c)
            x = run(conditioner, x, c)
            skips.append(x)
            x, c = down(x), c_down(c)
        x, c = run(self.mid_block1, x, time), run(self.cond_mid_block1, c, time)
        x = run(self.mid_transformer, x + c, c)
        x = run(self.mid_block2, x, time)
        for stage, (block1, block2, attention, up) in enumerate(self.ups):
            film = films.get(stage)
            x = run(block1, torch.cat([x, skips.pop()], dim=1), time)
            x = modulate(x, film) if point == "after_block1" else x
            x = run(block2, torch.cat([x, skips.pop()], dim=1), time)
            x = modulate(x, film) if point == "after_block2" else x
            x = up(run(attention, x))
        x = run(self.final_res_block, torch.cat([x, stem], dim=1), time)
        return self.final_conv(x)


class VelocityNetwork(nn.Module):
    """v(x_t, t | image, embedding): maps (B, 1, H, W), t (B,), embedding (B, E) or None -> (B, 1, H, W) float32."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        # The nesting is that of the original's parameter names.
        self.unet = nn.ModuleDict({"base_unet": BaseUNet(config)})
        self.film_stages = config.film_stages
        if config.film_stages:
            self.vlm_film_conditioner = nn.ModuleDict({"image_to_cond": conditioner(config)})
            heads = {str(stage): film_head(config, config.widths[-1 - stage]) for stage in config.film_stages}
            self.vlm_film_heads = nn.ModuleDict(heads)

    def films(self, embedding: Tensor) -> dict[int, GammaBeta]:
        """(gamma, beta), each (B, C), by decoder stage."""
        condition = self.vlm_film_conditioner["image_to_cond"](embedding)
        parts = {stage: self.vlm_film_heads[str(stage)](condition).chunk(2, dim=-1) for stage in self.film_stages}
        return {stage: (1 + gamma, beta) for stage, (gamma, beta) in parts.items()}

    def forward(self, x: Tensor, t: Tensor, image: Tensor, embedding: Tensor | None = None) -> Tensor:
        films = self.films(embedding) if embedding is not None else {}
        return self.unet["base_unet"](x, t, image, films).float()


def gaussian_path(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x_t (B, 1, H, W), t (B,) and the velocity u (B, 1, H, W) towards targets (B, 1, H, W) (Tong et al. 2023)."""
    t = torch.rand(target.shape[0], device=target.device)
    s = t[:, None, None, None]
    x0 = torch.randn_like(target)
    noise = SIGMA * torch.sqrt(s * (1 - s) + 1e-8) * torch.randn_like(target)
    return (1 - s) * x0 + s * target + noise, t, target - x0


class Trainer:
    """The published recipe on one batch: flow matching, clipped AdamW, EMA; an update for every batch.

    `velocity` is the network as it is called (perhaps compiled), `network` the module that owns the parameters.
    """

    def __init__(self, network: VelocityNetwork, velocity: Callable[..., Tensor], precision: str = "float32"):
        self.velocity = velocity
        self.bf16 = precision == "bf16"
        self.parameters = list(network.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)

    def step(self, image: Tensor, target: Tensor, embedding: Tensor | None) -> Tensor:
        """One update from image and target (B, 1, H, W); returns the loss, a scalar on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        x_t, t, u = gaussian_path(target)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            v = self.velocity(x_t, t, image, embedding)
        loss = F.mse_loss(v, u)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - EMA_DECAY)
        return loss.detach()

"""The Fourier conditioner: how image features reach the mask path (MedSegDiff's FF-parser, Wu et al. 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.kernels import Kernels
from flowseg.models.layers import ChannelNorm, ResnetBlock
from flowseg.models.parameters import ones, parameter
from flowseg.models.recompute import recompute


def spectral_filter(x: Float[Array, "b h w c"], spectrum: Float[Array, "h w c"]) -> Float[Array, "b h w c"]:
    """Re IFFT2( FFT2(x) * spectrum ) for real x and a real, not necessarily symmetric, spectrum.

    For real x the real part depends only on the spectrum's even part, (S(k) + S(-k)) / 2, and that product is
    the transform of a real map: half the frequencies are enough. Computed in float32.
    """
    h, w = x.shape[1:3]
    mirrored = jnp.roll(jnp.flip(spectrum, (0, 1)), (1, 1), (0, 1))
    even = 0.5 * (spectrum + mirrored)[:, : w // 2 + 1]
    # Planes of (h, w) are contiguous for the transform.
    planes = x.astype(jnp.float32).transpose(0, 3, 1, 2)
    frequencies = jnp.fft.rfft2(planes) * even.transpose(2, 0, 1)
    return jnp.fft.irfft2(frequencies, s=(h, w)).transpose(0, 2, 3, 1).astype(x.dtype)


class FourierConditioner(nnx.Module):
    """y = LN(filtered x) * LN(c) * c, then a ResNet block without time.

    The learned spectrum is as large as the map it was made for; at another size it is resized bilinearly
    (half-pixel centres, no antialiasing).
    """

    def __init__(self, width: int, map_size: int, *, kernels: Kernels, dtype: DTypeLike):
        self.spectrum = parameter(ones, map_size, map_size, width)
        self.norm_x = ChannelNorm(width, bias=True)
        self.norm_c = ChannelNorm(width, bias=True)
        self.block = ResnetBlock(width, width, None, kernels=kernels, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c"], c: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        spectrum = self.spectrum[...]
        if spectrum.shape[:2] != x.shape[1:3]:
            spectrum = jax.image.resize(spectrum, x.shape[1:], "linear", antialias=False)
        mix = recompute(lambda x, c: self.block.plain(self.norm_x(x) * self.norm_c(c) * c))
        return mix(spectral_filter(x, spectrum), c)

"""The Fourier conditioner, which mixes image features into the mask path (MedSegDiff's FF-parser, Wu et al. 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from flowseg.models.layers import ChannelNorm, Compute, ResnetBlock
from flowseg.models.parameters import ones, parameter
from flowseg.models.recompute import recompute


def spectral_filter(x: Float[Array, "b h w c"], spectrum: Float[Array, "h w c"]) -> Float[Array, "b h w c"]:
    """Returns Re IFFT2( FFT2(x) * spectrum ) for real x and a real spectrum, which need not be symmetric.

    For real x this depends only on the spectrum's even part, (S(k) + S(-k)) / 2. The product with it is the transform
    of a real map, so half of the frequencies are enough. Computed in float32.
    """
    b, h, w, c = x.shape
    mirrored = jnp.roll(jnp.flip(spectrum, (0, 1)), (1, 1), (0, 1))
    even = 0.5 * (spectrum + mirrored)[:, : w // 2 + 1]
    # The transform is faster on contiguous planes of (h, w). They stand in one row: with two axes of planes, XLA of
    # JAX 0.10 refuses it where CPU devices share the batch.
    planes = x.astype(jnp.float32).transpose(0, 3, 1, 2).reshape(b * c, h, w)
    frequencies = jnp.fft.rfft2(planes).reshape(b, c, h, -1) * even.transpose(2, 0, 1)
    filtered = jnp.fft.irfft2(frequencies.reshape(b * c, h, -1), s=(h, w)).reshape(b, c, h, w)
    return filtered.transpose(0, 2, 3, 1).astype(x.dtype)


class FourierConditioner(nnx.Module):
    """LN(filtered x) * LN(c) * c, then a ResNet block without time.

    For maps of another size than `map_size` the learned spectrum is resized bilinearly (half-pixel centres, no
    antialiasing).
    """

    def __init__(self, width: int, map_size: int, compute: Compute):
        self.spectrum = parameter(ones, map_size, map_size, width)
        self.norm_x = ChannelNorm(width, bias=True)
        self.norm_c = ChannelNorm(width, bias=True)
        self.block = ResnetBlock(width, width, None, compute)

    def __call__(self, x: Float[Array, "b h w c"], c: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        spectrum = self.spectrum[...]
        if spectrum.shape[:2] != x.shape[1:3]:
            spectrum = jax.image.resize(spectrum, x.shape[1:], "linear", antialias=False)
        mix = recompute(lambda x, c: self.block.plain(self.norm_x(x) * self.norm_c(c) * c))
        return mix(spectral_filter(x, spectrum), c)

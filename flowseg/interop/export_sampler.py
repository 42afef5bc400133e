"""`flowseg export --to stablehlo`: the sampler of a run as one program that holds its weights, for any JAX program.

The program goes from windows of an image to vessel probabilities, by the run's own sampler and number of steps. It
takes the noise and not a seed: windows of one image that overlap must start from the same noise, which only the caller
can cut from a map of the image's size.
"""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Shaped

from flowseg.config import Config
from flowseg.files import as_utf8, replaced_folder
from flowseg.interop.export_model import portable
from flowseg.interop.model_card import model_card
from flowseg.models.kernels import BLOCKS, PLAIN, Kernels
from flowseg.models.network import Network, Params
from flowseg.runs.folder import described
from flowseg.runs.trained import Trained
from flowseg.sampling.canvas import SIGMA
from flowseg.sampling.windows import Maps, WindowSampler

FORMAT = 1
PROGRAM_FILE, SIGNATURE_FILE = "sampler.stablehlo", "signature.json"
KERNELS = {"cpu": BLOCKS, "cuda": PLAIN}
"""The platforms, and the kernels of each. XLA's run on every GPU; cuDNN's are calls that an export may not hold."""


def export_sampler(trained: Trained, windows: int) -> export.Exported:
    """Returns the program (image, noise[, embedding]) -> probability, which holds the weights.

    Image, noise and probability are (windows, crop, crop, 1). Each call draws one sample of each window, averaged over
    its views if the config says `eval.tta`.
    """
    programs = {platform: partial(_sample, trained.config, kernels) for platform, kernels in KERNELS.items()}

    def sample(image: Maps, noise: Array, embedding: Array | None = None) -> Maps:
        # Behind the barrier XLA does not take them for constants, whose products it would compute beforehand, slowly.
        params = jax.lax.optimization_barrier(jax.tree.map(jnp.asarray, trained.params))
        return jax.lax.platform_dependent(params, noise, image, embedding, **programs)

    shapes = {
        name: jax.ShapeDtypeStruct(put["shape"], put["dtype"]) for name, put in _inputs(trained, windows).items()
    }
    return export.export(jax.jit(sample), platforms=list(KERNELS))(*shapes.values())


def write_sampler(trained: Trained, out: Path, windows: int | None = None) -> None:
    """Writes the program, its signature and a model card that says how to call it, a new folder.

    Args:
        windows: how many windows a call takes; None: `eval.window_batch`.
    """
    windows = windows or trained.config.eval.window_batch
    program = bytes(export_sampler(trained, windows).serialize())
    maps = [windows, trained.config.data.crop, trained.config.data.crop, 1]
    signature: dict[str, Any] = {
        **described(portable(trained.config), trained.run.encoder),
        "format": FORMAT,
        "file": PROGRAM_FILE,
        "sha256": hashlib.sha256(program).hexdigest(),
        "jax": jax.__version__,
        "platforms": list(KERNELS),
        "step": trained.step,
        **asdict(trained.rule),
        "inputs": _inputs(trained, windows),
        "outputs": {"probability": {"shape": maps, "dtype": "float32", "what": "vessel probability in [0, 1]"}},
    }
    sigma = SIGMA * trained.config.data.crop
    card = model_card(trained, "sampler.md.j2", rule=trained.rule, signature=signature, sigma=sigma)
    with replaced_folder(out) as part:
        (part / PROGRAM_FILE).write_bytes(program)
        (part / SIGNATURE_FILE).write_text(json.dumps(signature, indent=2) + "\n")
        (part / "README.md").write_bytes(as_utf8(card))


def _sample(
    config: Config,
    kernels: Kernels,
    params: Params,
    noise: Shaped[Array, "b h w 1"],
    image: Maps,
    embedding: Float[Array, "b e"] | None,
) -> Maps:
    """Returns what `WindowSampler` finds in some windows with one sample of each."""
    sampler = WindowSampler(config)
    sampler.network = Network(config, kernels, sampler.flow.estimate)  # those of the platform, not of this machine
    return sampler.program(params, noise[None], image, embedding, len(image))[0][0]


def _inputs(trained: Trained, windows: int) -> dict[str, dict[str, Any]]:
    """Returns shape, dtype and meaning of each input, in order."""
    config, film = trained.config, trained.config.model.film
    maps = [windows, config.data.crop, config.data.crop, 1]
    flow = trained.sampler.flow
    inputs: dict[str, dict[str, Any]] = {
        "image": {
            "shape": maps,
            "dtype": "float32",
            "what": "grey values, scaled to [-1, 1] by the least and the greatest value of the whole image",
        },
        "noise": {
            "shape": maps,
            "dtype": flow.noise(np.random.default_rng(0), (1, 1)).dtype.name,
            "what": "what sampling starts from; a window's is cut from that of its image",
            "numpy": flow.noise_code,
        },
    }
    if film.stages:
        what = f"the embedding of each window's image by {trained.run.encoder or 'the encoder of the training'}"
        inputs["embedding"] = {"shape": [windows, film.embedding_width], "dtype": "float32", "what": what}
    return inputs

"""`flowseg doctor`: what a config would run on, and what that takes."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version

from flowseg import __version__
from flowseg.commands.accelerator import gpu_unused, nvidia_gpus
from flowseg.commands.train import WithPreset, configured
from flowseg.config import Config
from flowseg.errors import UserError, counted

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")


@dataclass(frozen=True)
class Doctor(WithPreset):
    """Show the device and precision that a config would use here, and the time or memory of a step."""


def doctor(args: list[str]) -> None:
    parsed, reduced = configured(Doctor, args, "doctor")
    for name, value in findings(parsed.config, reduced):
        print(f"{name:12}{value}")
    print(gpu_unused(), end="")


def findings(config: Config, reduced: bool) -> list[tuple[str, str]]:
    """Returns what there is to say, in order: versions, device, what the config takes there, and why training would be
    refused for it."""
    import jax

    from flowseg.commands.presets import step_seconds
    from flowseg.machine import device_memory
    from flowseg.models import kernels
    from flowseg.sampling.windows import check_sampling
    from flowseg.training.drivers import chosen_devices
    from flowseg.training.memory import check_fits, microbatch, step_bytes

    devices = chosen_devices(config)
    first, local = devices[0], config.train.batch // len(devices)
    at_once = microbatch(config, first, local)
    limit = device_memory(first)
    about = [f"compute capability {first.compute_capability}"] if hasattr(first, "compute_capability") else []
    about += [f"driver {nvidia_gpus()[0][1]}"] if nvidia_gpus() else []
    about += [f"{limit / 1e9:.1f} GB for JAX"] if limit else []
    about += [counted(os.cpu_count() or 1, "core")] if first.platform == "cpu" else []
    lines = [
        ("flowseg", f"{__version__}, Python {platform.python_version()}"),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)),
        ("devices", f"{len(devices)} of {len(jax.devices())}: {first.device_kind} ({', '.join(about)})"),
        ("config", f"{config.name}, {'reduced recipe' if reduced else 'as it is'}"),
        ("precision", config.precision),
        ("attention", kernels.NAMES[kernels.choose(first, config.precision)]),
        (
            "step",
            f"{counted(config.train.batch, 'crop')} of {config.data.crop}x{config.data.crop}, "
            f"{at_once} at a time on each device",
        ),
    ]
    if first.platform == "cpu":
        halved = ", a quarter of it at half size" if config.train.half_size_share else ""
        time = f"about {step_seconds(config):.1f} s a step{halved} (from this machine's convolution speed)"
        lines.append(("time", time))
    else:
        lines.append(("memory", f"about {step_bytes(config, at_once) / 1e9:.1f} GB on each device"))
    try:
        check_fits(config, devices)
        check_sampling(config, devices[:1])
    except UserError as error:
        lines.append(("refused", str(error)))
    return lines

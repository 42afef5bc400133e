"""Graphics cards to compile for without having one: their rates, and how XLA is told about them.

Figures of NVIDIA's data sheets and architecture papers (H200 SXM, H100 SXM5 80 GB, A100 SXM4 80 GB, GeForce RTX 4090):
dense products, without sparsity, accumulated in float32.
"""

from dataclasses import dataclass, replace

from program_cost import Card


@dataclass(frozen=True)
class Target:
    """A card, and what else XLA's compiler asks about it."""

    card: Card
    capability: tuple[int, int]
    cores: int
    """Streaming multiprocessors."""
    float32_units: int
    """Of each multiprocessor."""
    threads: int
    """At most on a multiprocessor."""
    shared_memory: int
    """Bytes of a multiprocessor. A block can have 1 KiB less."""
    l2_cache: int
    clock_ghz: float
    ecc: bool

    @property
    def text(self) -> str:
        """Returns a `GpuTargetConfigProto` as text, for a driver of CUDA 13 and programs made by CUDA 12.9."""
        major, minor = self.capability
        feature = " feature_extension: ACCELERATED_FEATURES" if major == 9 else ""
        return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {self.shared_memory}
  threads_per_core_limit: {self.threads}
  core_count: {self.cores}
  fpus_per_core: {self.float32_units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {int(self.card.bytes_per_second)}
  l2_cache_size: {self.l2_cache}
  clock_rate_ghz: {self.clock_ghz}
  device_memory_size: {int(self.card.memory_bytes)}
  shared_memory_per_block_optin: {self.shared_memory - 1024}
  cuda_compute_capability {{ major: {major} minor: {minor}{feature} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability {major}.{minor}{"a" if feature else ""}"
  device_address_bits: 64
  pcie_bandwidth: 34359738368
  ecc_enabled: {str(self.ecc).lower()}
  name: "{self.card.name}"
  driver_version: "13.0.0"
  runtime_version: "12.9.0"
  compile_time_toolkit_version: "12.9.0"
  dnn_version: "9.28.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 28 patch: 0 }}
device_description_str: "{self.card.name}"
"""


def _rates(bf16: float, tf32: float) -> dict[str, float]:
    return {"bf16": bf16, "f16": bf16, "f32": tf32}


_H100 = Target(
    Card("NVIDIA H100 80GB HBM3", 79.1 * 2**30, 3.352e12, _rates(989e12, 494e12)),
    capability=(9, 0),
    cores=132,
    float32_units=128,
    threads=2048,
    shared_memory=228 * 1024,
    l2_cache=50 * 2**20,
    clock_ghz=1.98,
    ecc=True,
)

TARGETS = {
    # The same processor with more and faster memory.
    "h200": replace(_H100, card=Card("NVIDIA H200", 139.8 * 2**30, 4.8e12, _H100.card.flop_per_second)),
    "h100": _H100,
    "a100": Target(
        Card("NVIDIA A100-SXM4-80GB", 79.1 * 2**30, 2.039e12, _rates(312e12, 156e12)),
        capability=(8, 0),
        cores=108,
        float32_units=64,
        threads=2048,
        shared_memory=164 * 1024,
        l2_cache=40 * 2**20,
        clock_ghz=1.41,
        ecc=True,
    ),
    "rtx4090": Target(
        Card("NVIDIA GeForce RTX 4090", 23.5 * 2**30, 1.008e12, _rates(165e12, 82.6e12)),
        capability=(8, 9),
        cores=128,
        float32_units=128,
        threads=1536,
        shared_memory=100 * 1024,
        l2_cache=72 * 2**20,
        clock_ghz=2.52,
        ecc=False,
    ),
}

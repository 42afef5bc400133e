"""The baseline with the Gaussian flow, by the recipe that the published project had for it.

    make train CONFIG=gaussian DATA=path

10,694,977 parameters; SAUNA targets, path width 0.25, float32; the length is that of baseline.py. Cost and score: not
run. Midpoint with 4 steps came nearest to the original's adaptive sampler (docs/performance.md).
"""

from flowseg.config import Config, DataConfig, EvalConfig, FlowConfig

config = Config(
    name="gaussian",
    flow=FlowConfig(family="gaussian"),
    data=DataConfig(target="sauna"),
    eval=EvalConfig(sampler="midpoint", steps=4),
)

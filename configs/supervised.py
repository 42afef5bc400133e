"""The control without a flow: the baseline's network gives the mask at once, with the binary flow's losses.

    make train CONFIG=supervised DATA=path

10,694,977 parameters; the length is that of baseline.py. Cost and score: not run. What baseline.py reaches beyond this
is what the flow adds.
"""

from flowseg.config import Config, EvalConfig, FlowConfig

config = Config(
    name="supervised",
    precision="auto",
    flow=FlowConfig(family="supervised"),
    eval=EvalConfig(steps=1),
)

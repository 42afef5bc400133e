"""The control without a flow, conditioned: VLM-FiLM's network gives the mask at once.

    make train CONFIG=vlm_film_supervised DATA=path EMBEDDINGS=path

11,649,729 parameters; otherwise as supervised.py. Cost and score: not run.
"""

from flowseg.config import Config, EvalConfig, FilmConfig, FlowConfig, ModelConfig

config = Config(
    name="vlm_film_supervised",
    precision="auto",
    model=ModelConfig(film=FilmConfig(stages=(0, 1, 2, 3))),
    flow=FlowConfig(family="supervised"),
    eval=EvalConfig(steps=1),
)

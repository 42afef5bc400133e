"""VLM-FiLM with the Gaussian flow, by the recipe that the published project had for it.

    make train CONFIG=vlm_film_gaussian DATA=path EMBEDDINGS=path

11,649,729 parameters; otherwise as gaussian.py. Cost: about 3.3 hours on one H200 (58 ms a step, measured). Score: not
run.
"""

from flowseg.config import Config, DataConfig, EvalConfig, FilmConfig, FlowConfig, ModelConfig

config = Config(
    name="vlm_film_gaussian",
    model=ModelConfig(film=FilmConfig(stages=(0, 1, 2, 3))),
    flow=FlowConfig(family="gaussian"),
    data=DataConfig(target="sauna"),
    eval=EvalConfig(sampler="midpoint", steps=4),
)

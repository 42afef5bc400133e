"""The published VLM-FiLM variant: the baseline, with an image embedding that modulates all four decoder stages.

    make train CONFIG=vlm_film DATA=path EMBEDDINGS=path

11,649,729 parameters; length and cost are about those of baseline.py. Score of this recipe here: not run. The report
it re-creates: validation Dice 0.8621 at epoch 119, test Dice 0.8653.
"""

from flowseg.config import Config, FilmConfig, ModelConfig

config = Config(name="vlm_film", precision="auto", model=ModelConfig(film=FilmConfig(stages=(0, 1, 2, 3))))

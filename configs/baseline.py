"""The published baseline: no conditioning.

    make train CONFIG=baseline DATA=path

10,694,977 parameters, 320x320 crops, 500 epochs. The report it re-creates: validation Dice 0.8707, test 0.8631.
"""

from flowseg.config import Config

config = Config(name="baseline")

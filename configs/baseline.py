"""The published baseline: the binary flow, no conditioning.

    make train CONFIG=baseline DATA=path

10,694,977 parameters. 500 epochs of 16 crops of 320x320 per image: with 155 images 414 steps an epoch, 207,000 in all.
Cost: about 2.9 hours on one H200 (50 ms a step, measured). Score of this recipe here: not run. The report it
re-creates: validation Dice 0.8707, test Dice 0.8631.
"""

from flowseg.config import Config

config = Config(name="baseline", precision="auto")

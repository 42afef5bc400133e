"""flowseg: 2D vessel segmentation by flow matching, conditioned by a vision-language model."""

__version__ = "0.1.0"

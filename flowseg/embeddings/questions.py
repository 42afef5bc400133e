"""The questions of the `answers` features, each with a few fixed answers.

The features are the probabilities that the model assigns to the answers. The questions are about what makes vessels
hard to segment.
"""

from dataclasses import dataclass

_SCALE = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Question:
    """A question with its possible answers."""

    name: str
    text: str
    answers: tuple[str, ...]


QUESTIONS = (
    Question(
        "continuity",
        "How continuous are the blood vessels in this image? "
        "Answer with one number from 1 (broken into pieces) to 5 (unbroken).",
        _SCALE,
    ),
    Question(
        "clutter",
        "How cluttered is the background of the blood vessels in this image? "
        "Answer with one number from 1 (clean) to 5 (very cluttered).",
        _SCALE,
    ),
    Question(
        "thin_vessels",
        "How well can the thinnest blood vessels in this image be seen? "
        "Answer with one number from 1 (not at all) to 5 (clearly).",
        _SCALE,
    ),
    Question(
        "difficulty",
        "What makes the blood vessels in this image hardest to trace? "
        "Answer with one of: low contrast, noise, blur, overlap, uneven light, devices, nothing.",
        ("low contrast", "noise", "blur", "overlap", "uneven light", "devices", "nothing"),
    ),
)

ENTRIES = tuple(f"{question.name}={answer}" for question in QUESTIONS for answer in question.answers)
"""Names of the entries of a vector, in order."""

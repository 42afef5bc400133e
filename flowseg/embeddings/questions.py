"""The questions of the `answers` features, each with a few fixed answers.

The features are the probabilities that the model assigns to the answers. The questions are about what makes vessels
hard to segment.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question with its possible answers."""

    name: str
    text: str
    answers: tuple[str, ...]


def _scale(name: str, text: str, low: str, high: str) -> Question:
    """Returns a question whose answers are 1 to 5; `low` and `high` say what the ends mean."""
    how = f"Answer with one number from 1 ({low}) to 5 ({high})."
    return Question(name, f"{text} {how}", ("1", "2", "3", "4", "5"))


_HARDEST = ("low contrast", "noise", "blur", "overlap", "uneven light", "devices", "nothing")
QUESTIONS = (
    _scale("continuity", "How continuous are the blood vessels in this image?", "broken into pieces", "unbroken"),
    _scale(
        "clutter", "How cluttered is the background of the blood vessels in this image?", "clean", "very cluttered"
    ),
    _scale("thin_vessels", "How well can the thinnest blood vessels in this image be seen?", "not at all", "clearly"),
    Question(
        "difficulty",
        f"What makes the blood vessels in this image hardest to trace? Answer with one of: {', '.join(_HARDEST)}.",
        _HARDEST,
    ),
)

ENTRIES = tuple(f"{question.name}={answer}" for question in QUESTIONS for answer in question.answers)
"""Names of the entries of a vector, in order."""

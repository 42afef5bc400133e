"""`flowseg eval`: a run's scores on a split."""

from dataclasses import dataclass

from flowseg.commands.sampling import OnSplit, Sampling, with_run


@dataclass(frozen=True, kw_only=True)
class Eval(Sampling, OnSplit):
    """Score a run's best checkpoint on a split."""


def evaluate(args: list[str]) -> None:
    """flowseg eval"""
    from flowseg.evaluation.evaluate import evaluate_run
    from flowseg.runs.trained import Trained

    parsed, run = with_run(Eval, args, "eval")
    settings = parsed.settings(run.config.eval)
    evaluate_run(Trained.open(run, settings, data=parsed.data, embeddings=parsed.embeddings), parsed.split)

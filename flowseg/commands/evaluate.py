"""`flowseg eval`: scores a run on a split."""

from dataclasses import dataclass

from flowseg.commands.sampling import OnSplit, Sampling, with_run


@dataclass(frozen=True, kw_only=True)
class Eval(Sampling, OnSplit):
    """Score a run's best checkpoint on a split.

    Sampling options that are not given keep the run's own settings, whatever default is shown below.
    """


def evaluate(args: list[str]) -> None:
    """Runs `flowseg eval`."""
    from flowseg.evaluation.evaluate import evaluate_run
    from flowseg.runs.trained import Trained

    parsed, run = with_run(Eval, args, "eval")
    trained = Trained.open(run, parsed.settings, data=parsed.data, embeddings=parsed.embeddings)
    evaluate_run(trained, parsed.split)

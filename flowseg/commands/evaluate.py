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
    from flowseg.training.experiment import evaluate_run

    parsed, run = with_run(Eval, args, "eval")
    evaluate_run(run, parsed.split, settings=parsed.settings, data=parsed.data, embeddings=parsed.embeddings)

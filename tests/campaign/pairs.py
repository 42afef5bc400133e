"""Pairs: two processes at once on one run, one store, one cache, one output."""

from tests.campaign.acts import ACTS, differing
from tests.campaign.case import Case

PAIRS = [
    *(("train", "train"), ("resume", "resume"), ("retrain", "retrain"), ("retrain", "eval"), ("retrain", "predict")),
    *(("eval", "eval"), ("eval", "report"), ("eval", "export"), ("predict", "predict"), ("report", "report")),
    *(("compare", "compare"), ("analyze film", "analyze film"), ("export", "export"), ("embed", "embed")),
    *(("embed merge", "embed merge"), ("data import", "data import"), ("data split", "data split")),
    *(("data check", "data check"), ("phantoms", "phantoms")),
]


def case(at: Case) -> None:
    """Each ends as it would alone, or is refused with one line; what is there in the end is what one would make."""
    names = at.choose(PAIRS)
    acts = [ACTS[name] for name in names]
    at.bench.lay_out(at.folder, tuple({name for act in acts for name in act.changes}))
    environment = {}
    if empty := bool(at.rng.random() < 0.3):
        cache = at.folder / "cache"
        environment = {"FLOWSEG_CACHE": str(cache), "FLOWSEG_TRACES": str(cache / "traces")}
    pause = at.rng.uniform(0, at.bench.seconds[names[0]]) * at.rng.random()
    first = at.start(acts[0].words, environment=environment)
    first.wait(pause)
    second = at.start(acts[1].words, environment=environment)
    at.tried(f"{' and '.join(names)}, {pause:.2f} s later{', with an empty cache' if empty else ''}")
    outcomes = [at.judged(command) for command in (first, second)]
    if all(outcome.status for outcome in outcomes):
        at.find("lost", f"neither of the two works: {outcomes[0].err.strip()}", outcomes[1])
        return
    for name, act, outcome in zip(names, acts, outcomes, strict=True):
        if outcome.status == 0 and (different := differing(act.product(at.folder), at.bench.expected(name))):
            at.find("wrong", f"{name}: {different}", outcome)

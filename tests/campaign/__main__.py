"""Runs the campaign: `python -m tests.campaign --minutes 20`, or one case of it again."""

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = REPO / ".cache" / "campaign"


def set_up() -> None:
    """Sets what JAX and flowseg read when they are imported; commands that are started as users do inherit it."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["GLIBC_TUNABLES"] = ""
    os.environ["FLOWSEG_CACHE"] = str(CACHE)
    os.environ["FLOWSEG_TRACES"] = str(CACHE / "traces")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / "xla")
    os.environ["PYTHONPATH"] = str(REPO)
    os.environ["COLUMNS"] = "110"


def main() -> int:
    """Returns the exit status: 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long; the set-up comes before it")
    parser.add_argument(
        "--turns",
        type=int,
        help="instead of --minutes: how many turns each kind gets (a case, or 200 mutated inputs); nearly the same "
        "cases on every machine",
    )
    parser.add_argument("--seed", type=int, default=0, help="another one gives other cases")
    parser.add_argument("--kind", action="append", help="only this kind; may be given several times")
    parser.add_argument("--case", type=int, help="only this case of the kind; its folder is kept")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="cases at a time")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds a command may take; more on a busy machine")
    given = parser.parse_args()
    set_up()
    os.environ["CAMPAIGN_HANG"] = str(given.hang)
    from tests.campaign.program import Campaign, one_case

    folder = Path(tempfile.mkdtemp(prefix="flowseg-campaign-"))
    if given.case is not None:
        if not given.kind or len(given.kind) != 1:
            parser.error("--case needs one --kind")
        return one_case(folder, given.kind[0], given.seed, given.case)
    campaign = Campaign(folder, given.seed, given.jobs, given.kind, given.turns)
    return campaign.run(60 * given.minutes if given.turns is None else math.inf)


if __name__ == "__main__":
    sys.exit(main())

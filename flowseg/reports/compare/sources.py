"""Finds the runs that the command line names, and groups those that are seeds of one set-up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.reports.compare.csv_log import read_csv_log
from flowseg.reports.compare.log import RunLog
from flowseg.reports.compare.run_log import read_run_log
from flowseg.runs.folder import OtherNetwork, is_run, open_run


@dataclass(frozen=True)
class Group:
    """One side of a comparison: one run, or several of one set-up that differ in their seed."""

    name: str
    logs: tuple[RunLog, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its run folders."""
        return [log.run.config.seed for log in self.logs if log.run is not None]

    @property
    def config(self) -> Config | None:
        """The config of the first run; None for a CSV."""
        run = self.logs[0].run
        return run.config if run is not None else None

    @property
    def network(self) -> OtherNetwork | None:
        """What another program trained; None for flowseg's network and for a CSV."""
        run = self.logs[0].run
        return run.network if run is not None else None

    @property
    def sauna(self) -> bool:
        """Whether its maps are SAUNA maps, not probabilities."""
        return self.config is not None and self.config.data.target == "sauna"

    def by_seed(self, value: Callable[[RunLog], float | None]) -> dict[int, float]:
        """A value of each of its run folders that has one, by seed."""
        found = {log.run.config.seed: value(log) for log in self.logs if log.run is not None}
        return {seed: one for seed, one in found.items() if one is not None}


def only_seeds_differ(a: Group, b: Group) -> bool:
    """Whether two groups are one set-up trained with different seeds: a difference between them is chance."""
    return set_up(a) is not None and set_up(a) == set_up(b) and not set(a.seeds) & set(b.seeds)


def set_up(group: Group) -> tuple[object, ...] | None:
    """What identifies a set-up: the config without its seed, the encoder of the embeddings, and another program's
    network. None for a CSV."""
    run = group.logs[0].run
    return (replace(run.config, seed=0), run.encoder, run.network) if run is not None else None


def arrange(arguments: Sequence[str]) -> list[Group]:
    """Reads every run that the arguments name and sorts them into groups.

    An argument is a run folder, a CSV, a folder of run folders, or a pattern such as 'runs/film-*'. Runs that one
    argument names together form a group for each set-up. Runs named one by one form groups as well, unless all runs
    have the same set-up; then they are compared with each other.

    Raises:
        UserError: fewer than two runs, one named twice, or whatever is wrong with one of them.
    """
    expanded = [(argument, expand(argument)) for argument in arguments]
    paths = [path for _, found in expanded for path in found]
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path}: is named twice; give each run once")
        seen.add(path.resolve())
    if len(paths) < 2:
        raise UserError(f"flowseg compare: {len(paths) or 'no'} run given; a comparison takes two or more")
    names = distinct_names(paths)
    logs = {
        path: read_run_log(open_run(path), name) if path.is_dir() else read_csv_log(path, name)
        for path, name in names.items()
    }
    singles: list[Group] = []
    together: list[Group] = []
    order = {log.name: i for i, log in enumerate(logs.values())}
    for argument, found in expanded:
        alone = [Group(logs[path].name, (logs[path],)) for path in found]
        if _names_one(Path(argument)):
            singles += alone
        else:
            together += _by_set_up(alone, _stem(argument))
    if len({repr(set_up(group)) for group in (*singles, *together)}) > 1:
        singles = _by_set_up(singles, None)
    groups = sorted([*singles, *together], key=lambda group: order[group.logs[0].name])
    if len(groups) == 1:
        groups = [Group(log.name, (log,)) for log in groups[0].logs]
    return _with_distinct_names(groups)


def expand(argument: str) -> list[Path]:
    """The run folders and CSVs that an argument names, sorted by name.

    Raises:
        UserError: there are none.
    """
    path = Path(argument)
    if _names_one(path):
        return [path]
    if path.is_dir():
        found = [child for child in sorted(path.iterdir()) if is_run(child)]
        if not found:
            raise UserError(
                f"{path}: no run there (no config.json), nor in its folders; give a folder that `flowseg train` made, "
                "a folder of such folders, or a CSV"
            )
        return found
    if any(sign in argument for sign in "*?["):
        # A pattern may match other files beside the runs.
        matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        found = [match for match in matches if is_run(match) or (match.is_file() and match.suffix == ".csv")]
        if not found:
            raise UserError(f"{argument}: matches no run folder and no CSV; correct the pattern")
        return found
    raise UserError(f"{path}: no such run folder or CSV; correct its name")


def distinct_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Names each path by its last part, without .csv, and as many parts before it as tell the paths apart."""
    folders = {path.resolve() for path in paths if path.suffix != ".csv"}
    whole = {path: path.resolve() for path in paths}
    bare = {path: resolved.with_suffix("") for path, resolved in whole.items() if path.suffix == ".csv"}
    whole |= {path: resolved for path, resolved in bare.items() if resolved not in folders}
    names: dict[Path, str] = {}
    for path, resolved in whole.items():
        others = [other.parts for one, other in whole.items() if one != path]
        depth = 1
        while any(parts[-depth:] == resolved.parts[-depth:] for parts in others):
            depth += 1
        names[path] = "/".join(resolved.parts[-depth:])
    return names


def _names_one(path: Path) -> bool:
    return path.is_file() or is_run(path)


def _stem(argument: str) -> str:
    """The name of a group: that of its folder, or the pattern up to its first wildcard."""
    path = Path(argument)
    if path.is_dir():
        return path.resolve().name
    return path.name.split("*")[0].split("?")[0].split("[")[0].rstrip("-_. ") or path.parent.resolve().name


def _by_set_up(singles: Sequence[Group], name: str | None) -> list[Group]:
    """One group per set-up, called `name` or after the config; a CSV stays alone, and so does a single run."""
    made: dict[str, list[RunLog]] = {}
    for group in singles:
        key = repr(set_up(group)) if group.config is not None else group.name
        made.setdefault(key, []).extend(group.logs)
    groups = []
    for logs in made.values():
        run = logs[0].run
        if len(logs) == 1 or run is None:
            groups.append(Group(logs[0].name, tuple(logs)))
        else:
            _check_seeds(logs)
            groups.append(Group(name if name and len(made) == 1 else run.config.name, tuple(logs)))
    return groups


def _check_seeds(logs: Sequence[RunLog]) -> None:
    by_seed: dict[int, RunLog] = {}
    for log in logs:
        assert log.run is not None
        seed = log.run.config.seed
        if seed in by_seed:
            raise UserError(
                f"{log.path}: has the config and the seed ({seed}) of {by_seed[seed].path}; seeds of one set-up must "
                "differ: give one of the two"
            )
        by_seed[seed] = log


def _with_distinct_names(groups: Sequence[Group]) -> list[Group]:
    """Adds the name of the first run to groups that share a name."""
    names = [group.name for group in groups]
    return [
        replace(group, name=f"{group.name} ({group.logs[0].name})")
        if names.count(group.name) > 1 and len(group.logs) > 1
        else group
        for group in groups
    ]

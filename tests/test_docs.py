"""The pages name only what exists: links, files, modules, commands; imports point down the map of the code."""

import ast
import importlib
import importlib.util
import itertools
import re
import tomllib
from pathlib import Path

import pytest

from flowseg.cli import COMMANDS
from flowseg.data.image_files import KINDS

REPO = Path(__file__).resolve().parents[1]
PAGES = [REPO / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")] + sorted(
    REPO.glob("docs/*.md")
)
SOURCES = [path for folder in ("flowseg", "configs", "benchmarks") for path in (REPO / folder).rglob("*.py")]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def expanded(text: str) -> list[str]:
    """The paths that `a/{b,c}.py` stands for."""
    parts = [part[1:-1].split(",") if part.startswith("{") else [part] for part in re.split(r"(\{[^}]*\})", text)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def named_paths(text: str) -> set[str]:
    """The repository's files and folders that a text names, without placeholders."""
    found = re.findall(r"(?<![\w/.~-])(?:flowseg|docs|tests|benchmarks|configs)/[\w./{},-]*", text)
    paths = itertools.chain.from_iterable(expanded(path.rstrip(".,")) for path in found)
    return {path for path in paths if not is_placeholder(path)}


def is_placeholder(path: str) -> bool:
    """Whether a path has a word in capitals that stands for others, such as NAME."""
    return re.search(r"[A-Z]{2,}", path) is not None


def missing_paths(text: str) -> set[str]:
    return {path for path in named_paths(text) if not (REPO / path).exists()}


def source(path: str) -> Path:
    """The file that a page calls `flowseg/training/step.py`, or in short `training/step.py`."""
    return REPO / path if (REPO / path).exists() else REPO / "flowseg" / path


def missing_definitions(text: str) -> set[str]:
    """Files in backticks, and names before them as in `Family.loss` in `flow/gaussian.py`, that do not exist."""
    files = set(re.findall(r"`(\w+(?:/\w+)+\.py)`", text))
    missing = {path for path in files if not is_placeholder(path) and not source(path).exists()}
    for name, path in re.findall(r"`([\w.]+)`(?:\s+in\s+|\s+\(|,\s+)`([\w/]+/\w+\.py)`", text):
        code = source(path).read_text(encoding="utf-8") if path not in missing else ""
        for part in name.split("."):
            if not re.search(rf"^\s*(?:(?:class|def) {part}\b|{part}\b *[:=])", code, re.MULTILINE):
                missing.add(f"{name} in {path}")
    return missing


def anchors(page: Path) -> set[str]:
    """What links into a page may name: its headings, in the form that GitHub gives them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_links(page: Path, text: str) -> set[str]:
    missing = set()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.add(target)
    return missing


def missing_names(text: str) -> set[str]:
    """Dotted names under `flowseg` that are neither modules nor what a module defines."""
    dotted = set(re.findall(r"`(flowseg(?:\.\w+)+)", text))
    for module, names in re.findall(r"^\s*from (flowseg[\w.]*) import ([\w, ]+)", text, re.MULTILINE):
        dotted |= {f"{module}.{name.strip()}" for name in names.split(",")}
    return {name for name in dotted if not exists(name)}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one or of a class in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if is_module(module):
            value = importlib.import_module(module)
            for part in parts[length:]:
                if not hasattr(value, part):
                    return False
                value = getattr(value, part)
            return True
    return False


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def unknown_commands(text: str) -> set[str]:
    """Commands and make targets, at the start of a line of code or of inline code, that do not exist."""
    start = r"(?:^ {4,}|`)(?:\.venv/bin/)?"
    words = re.findall(
        start + r"flowseg ((?:embed (?:merge|info)\b)|(?:(?:analyze|data) \w+)|[a-z][\w-]*)", text, re.MULTILINE
    )
    targets = set(re.findall(r"^([\w-]+):.*##", (REPO / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(start + r"make ([a-z][\w-]*)", text, re.MULTILINE)
    return (set(words) - set(COMMANDS)) | (set(made) - targets)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    assert missing_links(page, page.read_text(encoding="utf-8")) == set()


@pages
def test_files_that_a_page_names_exist(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8")) == set()


@pages
def test_what_a_page_says_is_in_a_file_is_there(page: Path) -> None:
    assert missing_definitions(page.read_text(encoding="utf-8")) == set()


@pages
def test_modules_and_functions_that_a_page_names_exist(page: Path) -> None:
    assert missing_names(page.read_text(encoding="utf-8")) == set()


@pages
def test_commands_that_a_page_names_exist(page: Path) -> None:
    assert unknown_commands(page.read_text(encoding="utf-8")) == set()


def test_every_page_is_in_the_index() -> None:
    index = (REPO / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in sorted(REPO.glob("docs/*.md")) if f"({page.name})" not in index] == ["index.md"]


def test_pages_that_the_code_names_exist() -> None:
    named = {path: re.findall(r"\bdocs/\w+\.md", path.read_text(encoding="utf-8")) for path in SOURCES}
    assert [(path.name, page) for path, found in named.items() for page in found if not (REPO / page).exists()] == []


def imports(file: Path) -> set[str]:
    """The parts of flowseg that a file imports from: folders, and files outside of folders."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}".split(".")[1] for alias in node.names if is_ours(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if is_ours(alias.name)}
    return found


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "flowseg"


def test_imports_point_down_the_map() -> None:
    """The floors of docs/architecture.md: each part imports from lower floors only, and every part is on one."""
    table = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8").split("| floor |")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    floor = {part: number for number, parts in enumerate(rows) for part in parts}
    wrong = []
    for file in (REPO / "flowseg").rglob("*.py"):
        part = file.relative_to(REPO / "flowseg").parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            others = imports(file) - {part, "__version__"}
            wrong += [f"{file.relative_to(REPO)}: {other}" for other in others if floor[other] <= floor[part]]
    assert wrong == []
    assert len(rows) <= 11


def test_what_is_missing_is_found() -> None:
    text = """See [there](no/such.md#part), [here](README.md#no-such-part), `flowseg/no_such.py`, docs/none.md and
    flowseg/{config,nothing}.py, but flowseg/flow/NAME.py. `flowseg.config.Config` is there, `flowseg.config.Nothing`
    and `flowseg.nothing` are not.

        from flowseg.config import Config, Missing
        flowseg train configs/baseline.py
        flowseg paint RUN
        make nothing
    """
    assert missing_links(REPO / "README.md", text) == {"no/such.md#part", "README.md#no-such-part"}
    text += "`Config.seed` in `flowseg/config.py`, `Config.missing` (`config.py`), `Config` in `models/none.py`"
    text += " and `Config.missing` in `flowseg/config.py`"
    lost = {"flowseg/no_such.py", "models/none.py", "Config in models/none.py", "Config.missing in flowseg/config.py"}
    assert missing_definitions(text) == lost
    assert missing_paths(text) == {"flowseg/no_such.py", "docs/none.md", "flowseg/nothing.py"}
    assert missing_names(text) == {"flowseg.config.Nothing", "flowseg.nothing", "flowseg.config.Missing"}
    assert unknown_commands(text) == {"paint", "nothing"}


def test_the_citation_file_is_whole_and_agrees_with_the_package() -> None:
    """By simple rules, since no parser of YAML is among the dependencies."""
    text = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    top = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors", "references"} <= set(top)
    assert top["cff-version"] == "1.2.0"
    assert top["version"].strip('"') == project["version"]
    assert top["license"] == project["license"]
    assert "\t" not in text
    # A value with a colon and a space in it must be quoted.
    values = re.findall(r"^ *(?:- )?[\w-]+: (.*)$", text, re.MULTILINE)
    assert [value for value in values if ": " in value and not value.startswith('"')] == []
    references = text.split("\nreferences:\n")[1].split("\n  - type: ")
    for reference in references:
        fields = re.findall(r"^    ([\w-]+):", reference, re.MULTILINE)
        assert {"title", "authors", "year", "url"} <= set(fields), reference


def test_the_licence_is_apache() -> None:
    text = (REPO / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")


@pytest.mark.parametrize(
    "place",
    ["README.md", "docs/prediction.md", "docs/app.md", "flowseg/app/page/index.html", "flowseg/commands/trained.py"],
)
def test_the_kinds_of_images_are_those_that_are_read(place: str) -> None:
    words = " ".join((REPO / place).read_text(encoding="utf-8").split()).replace(" or ", ", ")
    (told,) = re.findall(r"png(?:, [a-z]{3}\b)+", words)
    assert told.split(", ") == [kind for kind in KINDS if kind not in ("jpeg", "tiff")]

"""What the shell completes, in a real bash, and that help and completion name the same options."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Flowseg

from flowseg.cli import COMMANDS
from flowseg.commands.completion import script


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """A function that returns what bash offers for a line at whose end the tab key is pressed."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    file = tmp_path_factory.mktemp("completion") / "completion.sh"
    file.write_text(script({name: cls for name, (_, cls) in COMMANDS.items()}))

    def press(line: str) -> list[str]:
        words = line.split(" ")
        code = f"""set -u; . {shlex.quote(str(file))}
            COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _flowseg
            printf '%s\\n' ${{COMPREPLY[@]+"${{COMPREPLY[@]}}"}}"""
        done = subprocess.run([bash, "--norc", "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return press


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("flowseg tr", ["train"]),
        ("flowseg train vlm", ["vlm_film", "vlm_film_gaussian", "vlm_film_supervised"]),
        ("flowseg train vlm_film --pres", ["--preset"]),
        ("flowseg train vlm_film --preset ", ["full", "cpu", "auto"]),
        ("flowseg train vlm_film --preset cpu ", []),  # nothing: the shell offers files
        ("flowseg train vlm_film --track mlflow w", ["wandb"]),
        ("flowseg train vlm_film --out ", []),
        ("flowseg train vlm_film --dat", ["--data.root", "--data"]),
        ("flowseg embed m", ["merge"]),
        ("flowseg embed merge a.safetensors --o", ["--out"]),
        ("flowseg embed images --enc", ["--encoder"]),
        ("flowseg analyze ", ["film"]),
        ("flowseg analyze film --sp", ["--split"]),
        ("flowseg data import dri", ["drive"]),
        ("flowseg data check --j", ["--json"]),
        ("flowseg completion ", ["bash", "zsh"]),
    ],
)
def test_bash_offers(complete: Callable[[str], list[str]], line: str, offered: list[str]) -> None:
    assert [word for word in complete(line) if not word.startswith("--data.") or word == "--data.root"] == offered


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_each_default_once_and_completion_has_its_options(
    flowseg: Flowseg, complete: Callable[[str], list[str]], name: str
) -> None:
    told = flowseg(*name.split(), "--help")
    assert told.status == 0
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", told.out).split())
    assert text.count("(default: )") == text.count("--model.film.stages [")  # without FiLM there are none
    outside = re.sub(r"\(default: [^()]*(?:\([^()]*\)[^()]*)*\)", "", text)
    assert not re.findall(r"[^.]*\bdefault\b[^.]*", outside, re.IGNORECASE)
    own = set(complete(f"flowseg {name} -")) - {"--data", "--embeddings"}
    assert own - {"--data", "--embeddings"} <= set(re.findall(r"--[\w.-]+", text))
    assert set(re.findall(r"│ (--[\w.-]+)", told.out)) <= own | {"--data", "--embeddings"}


def test_it_is_installed_once_and_brought_up_to_date(
    flowseg: Flowseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    start = tmp_path / "my home" / ".bashrc"
    start.parent.mkdir()
    start.write_text("alias x=y")
    for _ in range(2):
        assert flowseg("completion", "bash").status == 0
    first, line = start.read_text().splitlines()
    assert first == "alias x=y" and line.endswith("# flowseg completion")
    done = subprocess.run(["bash", "--norc", "-c", f"{line}\ncomplete -p flowseg"], capture_output=True, text=True)
    assert done.stdout == "complete -o default -F _flowseg flowseg\n"

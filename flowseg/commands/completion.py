"""`flowseg completion`: lets the shell complete flowseg's commands and options.

The shell reads a file that this command writes, and does not start flowseg: that would take a second for each key.
tyro completes only programs whose commands it dispatches itself, and no file names after a command.
"""

import argparse
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from flowseg.commands.parsing import SHIPPED, SHORT, parse
from flowseg.commands.train import OnConfig
from flowseg.config import Config
from flowseg.files import write_text

_SCRIPT = """\
# Completion of flowseg's commands in bash and zsh, written by: flowseg completion
if [ -n "${ZSH_VERSION-}" ]; then
    whence compdef >/dev/null || { autoload -Uz compinit && compinit; }
    autoload -Uz bashcompinit && bashcompinit
fi

_flowseg() {
    local word="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}" option="" options="" first="" choices=""
    local i begin=2
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@COMMANDS@ --help --version" -- "$word"))
        return
    fi
    case "$command ${COMP_WORDS[2]}" in
@TWO_WORDS@) [ "$COMP_CWORD" -gt 2 ] && { command="$command ${COMP_WORDS[2]}"; begin=3; } ;;
    esac
    for ((i = COMP_CWORD - 1; i >= begin; i--)); do
        case "${COMP_WORDS[i]}" in --*) option="${COMP_WORDS[i]}"; break ;; esac
    done
    case "$command" in
@OPTIONS@
    esac
    # Some options take several values; of the others only the word behind them is one.
    case "$command $option $((COMP_CWORD - i))" in
@CHOICES@
    esac
    if [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [ -n "$choices" ]; then
        COMPREPLY=($(compgen -W "$choices" -- "$word"))
    elif [ "$COMP_CWORD" -eq "$begin" ] && [ -n "$first" ]; then
        COMPREPLY=($(compgen -W "$first" -- "$word"))
    fi
}

# Where nothing is said, the shell completes file names.
complete -o default -F _flowseg flowseg
"""


@dataclass(frozen=True)
class Completion:
    """Install the completion of commands and options in bash or zsh.

    It writes ~/.local/share/flowseg/completion.sh (or below XDG_DATA_HOME, if that is set), and adds a
    line to ~/.bashrc or ~/.zshrc that reads it. The same command brings it up to date.
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """The shell."""


def completion(args: list[str], commands: Mapping[str, type]) -> None:
    """Installs the completion of `commands`, the options of each by its name."""
    shell = parse(Completion, args, "completion").shell
    file = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "flowseg" / "completion.sh"
    write_text(file, script(commands))
    start = Path.home() / ".bashrc" if shell == "bash" else Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
    line = f"[ -r {shlex.quote(str(file))} ] && . {shlex.quote(str(file))}  # flowseg completion"
    before = start.read_text(errors="surrogateescape") if start.exists() else ""
    if line not in before.splitlines():
        with start.open("a") as opened:
            opened.write(("" if before.endswith("\n") or not before else "\n") + line + "\n")
    print(f"{file} is written, and {start} reads it; open a new shell, or enter: . {shlex.quote(str(file))}")


def script(commands: Mapping[str, type]) -> str:
    """Returns the completion as shell code."""
    options, choices = [], []
    seconds: dict[str, list[str]] = {}
    for name in commands:
        word, _, second = name.partition(" ")
        seconds.setdefault(word, []).extend([second] if second else [])
    for name, cls in {**dict.fromkeys(seconds), **commands}.items():
        first = list(seconds.get(name, ()))
        flags = ["--help"]
        if cls is not None:
            for action in _actions(cls):
                named = [flag for flag in action.option_strings if flag.startswith("--")]
                flags += named
                if action.choices is None:
                    continue
                values = [str(choice) for choice in action.choices]
                if named:
                    many = "*" if action.nargs in ("*", "+") else "1"
                    choices += [f"{_pattern(f'{name} {flag} ')}{many}) choices={_words(values)} ;;" for flag in named]
                else:
                    first += values
            if issubclass(cls, OnConfig):
                flags += SHORT
                first += sorted(path.stem for path in SHIPPED.glob("*.py"))
        options.append(f"{_pattern(name)}) options={_words(flags)} first={_words(first)} ;;")
    two = "|".join(_pattern(f"{word} {second}") for word, under in seconds.items() for second in under)
    parts = {"COMMANDS": " ".join(seconds), "TWO_WORDS": f"        {two}"}
    parts |= {
        key: "\n".join(f"        {line}" for line in lines)
        for key, lines in (("OPTIONS", options), ("CHOICES", choices))
    }
    made = _SCRIPT
    for key, text in parts.items():
        made = made.replace(f"@{key}@", text)
    return made


def _actions(cls: type) -> list[argparse.Action]:
    """Returns the arguments of a command."""
    default: Any = tyro.MISSING_NONPROP
    if issubclass(cls, OnConfig):
        default = cls(config_file=tyro.MISSING, config=Config())
    parser = tyro.extras.get_parser(cls, default=default)
    return [action for action in parser._actions if action.dest != "help"]


def _pattern(text: str) -> str:
    return text.replace(" ", "\\ ")


def _words(words: list[str]) -> str:
    return shlex.quote(" ".join(words))

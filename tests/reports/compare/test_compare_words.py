"""Every sentence exists in both languages and names the same values; every message of the code has one."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import flowseg.reports.compare as package
from flowseg.evaluation.metric_table import IMAGE_METRICS
from flowseg.reports.compare.words import Words
from flowseg.reports.compare.words_findings import FINDINGS
from flowseg.reports.compare.words_page import PAGE
from flowseg.reports.words_film import FILM
from flowseg.reports.words_folds import FOLDS
from flowseg.reports.words_run import RUN

FOLDER = Path(package.__file__).parent if package.__file__ else Path(package.__path__[0])
SAME = {"to", "arrow_higher", "arrow_lower", "view_alt", "p_holm"}
"""Messages that are the same in both languages."""


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", [*FINDINGS, *PAGE, *RUN, *FOLDS, *FILM])
def test_both_languages_name_the_same_values(key: str) -> None:
    english, korean = (FINDINGS | PAGE | RUN | FOLDS | FILM)[key]
    assert fields(english) == fields(korean)
    assert re.search("[가-힣]", korean) or key in SAME, korean
    assert not re.search("[가-힣]", english)
    # A particle's form depends on the sound before it, which a value does not tell.
    assert not re.search(r"\}(을|를|은|는|이|가|와|과|로|으로)\b|[을은이과]\([를는가와]\)", korean)


def test_no_key_is_in_two_tables() -> None:
    tables = (FINDINGS, PAGE, RUN, FOLDS, FILM)
    assert len(FINDINGS | PAGE | RUN | FOLDS | FILM) == sum(map(len, tables))


def test_every_message_of_the_code_has_its_words() -> None:
    said = set(re.findall(r'"((?:headline|found|limit|next)_\w+)"', (FOLDER / "findings.py").read_text()))
    for call in ast.walk(ast.parse((FOLDER / "judgements.py").read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            reason = {"Judgement": 4, "refuse": 0}.get(call.func.id)
            if reason is not None and isinstance(call.args[reason], ast.Constant):
                said.add(call.args[reason].value)
    assert said == FINDINGS.keys(), said ^ FINDINGS.keys()


def test_every_heading_is_used() -> None:
    templates = FOLDER.parent / "templates"
    modules = (*FOLDER.glob("[rtg]*.py"), *FOLDER.parent.glob("run_*.py"), *FOLDER.parent.glob("folds*.py"))
    sources = (*templates.glob("*.j2"), *modules)
    used = "".join(path.read_text() for path in (*sources, FOLDER / "words.py"))
    names = set(re.findall(r'(?:\bt|words|self)\([\'"](\w+)[\'"]', used))
    made = re.findall(r't\("(\w+_)" ~', used) + re.findall(r'(?:\bt|words|self)\(f"(\w+_)\{', used)
    unused = [key for key in PAGE | RUN | FOLDS if key not in names and not key.startswith(tuple(made))]
    assert not unused
    assert names - set(made) <= PAGE.keys() | FINDINGS.keys() | RUN.keys() | FOLDS.keys() | FILM.keys()


def test_every_word_of_the_film_analysis_is_used() -> None:
    room = FOLDER.parent
    sources = (*room.glob("film*.py"), room / "verdict.py", room / "templates" / "film.j2")
    used = "".join(path.read_text() for path in sources)
    named = {"film_is_", "film_gallery_", "curve_"}
    drawn = {"film_dice_plot", "film_differences_plot"}
    unused = [key for key in FILM if f'"{key}"' not in used and not key.startswith(tuple(named)) and key not in drawn]
    assert not unused
    assert set(re.findall(r'"((?:h_)?film_[a-z_]+[a-z])"', used)) <= FILM.keys() | RUN.keys()


def test_every_metric_has_a_name() -> None:
    for row in IMAGE_METRICS:
        assert Words("en").metric(row.key) == row.en != "" and Words("ko").metric(row.key) == row.ko != ""
    assert Words("ko").metric("precision") == "정밀도" and Words("en").metric("mystery") == "mystery"


def test_values_are_formatted_for_readers() -> None:
    english, korean = Words("en"), Words("ko")
    assert english.vformat("{n:#measurement}", (), {"n": 1}) == "1 measurement"
    assert english.vformat("{n:#measurement} {m:#loss}", (), {"n": 1200, "m": 2}) == "1,200 measurements 2 losses"
    assert english.vformat("{a:list}; {b:epochs}; {c:epochs}", (), {"a": ["x", "y", "z"], "b": [3], "c": [3, 4]}) == (
        "x, y and z; epoch 3; epochs 3 and 4"
    )
    assert korean.vformat("{a:list}", (), {"a": ["x", "y"]}) == "x, y"
    assert [english.vformat("{p:p}", (), {"p": p}) for p in (0.0312, 1e-9, None)] == ["= 0.031", "< 0.0001", "–"]
    assert [english.vformat("{d:+.4f}", (), {"d": d}) for d in (-1e-9, 0.0, -1e-4)] == ["0.0000", "0.0000", "-0.0001"]
    assert english.vformat("{a}{b}", (), {"a": "", "b": "-"}) == "-"
    with pytest.raises(KeyError):
        english("no such message")
    with pytest.raises(KeyError):
        english("next_longer", name="x")

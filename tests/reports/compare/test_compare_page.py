"""The report page in a real browser: no errors, the slider moves, tables sort, it fits phones and wide screens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import outside, show, started
from made_runs import dice_of, make_run

from flowseg.reports.compare.report import compare_runs

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

COUNT = 12
LONG = "a_run_with_a_name_that_is_much_longer_than_a_phone_is_wide_and_has_no_place_to_break_a_line_at"
MARKUP = "<img src=x onerror=alert(1)>"


def page(folder: Path, lang: str) -> Path:
    """A report of two runs whose names are markup or too long for a line."""
    for seed, name in enumerate((LONG, MARKUP)):
        dice = list(dice_of(COUNT) + seed * (dice_of(COUNT, 3) - 0.78))
        make_run(
            folder / name,
            seed=seed,
            dices={e: 0.5 + e / 100 for e in range(2, 31, 2)},
            losses=[1 / e for e in range(1, 31)],
            scores={"dice": dice, "hd95": [None, *(float(v) for v in range(1, COUNT))]},
            images=[f"test/{i:02d}{MARKUP.replace('/', '')}" for i in range(COUNT)],
            config={"precision": ("float32", "bf16")[seed]},
        )
    compare_runs([str(folder / LONG), str(folder / MARKUP)], folder / lang, lang)  # type: ignore[arg-type]
    return folder / lang / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {lang: page(tmp_path_factory.mktemp(lang), lang) for lang in ("en", "ko")}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with started() as made:
        yield made


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_it_opens_without_errors_and_asks_for_nothing(browser, pages: dict[str, Path], lang: str) -> None:
    browser.get("about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, pages[lang])
    assert browser.get_log("browser") == []
    requests = [line["message"] for line in browser.get_log("performance") if 'requestWillBeSent"' in line["message"]]
    assert requests and not [message for message in requests if '"url":"http' in message]
    assert browser.execute_script("return document.documentElement.lang") == lang
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script("return document.images.length") > 20 and browser.execute_script(broken) == 0
    # Names are text: the markup in them made no element.
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert MARKUP in browser.find_element(By.TAG_NAME, "h1").text


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 700, 1600])
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_it_fits(browser, pages: dict[str, Path], lang: str, width: int, dark: bool) -> None:
    show(browser, pages[lang], width, dark)
    # What is wider than the screen scrolls by itself; nothing else reaches over its edge.
    assert outside(browser, width) == []
    # One of the two drawings is shown, and its letters are neither tiny nor huge.
    tick = (
        "return [...document.querySelectorAll('svg .tick')].map(t => t.getBoundingClientRect().height).filter(h => h)"
    )
    heights = browser.execute_script(tick)
    assert heights and min(heights) > 9 and max(heights) < 24
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    text, ground = (sum(map(int, c[4:-1].split(", "))) for c in browser.execute_script(colours))
    assert text > 600 and ground < 120 if dark else text < 120 and ground > 700


def column(browser, table, index: int) -> list[str]:
    return browser.execute_script(
        "return [...arguments[0].tBodies[0].rows].map(r => r.cells[arguments[1]].dataset.v)", table, index
    )


def test_a_table_sorts_by_click_and_by_key(browser, pages: dict[str, Path]) -> None:
    show(browser, pages["en"])
    first, second = browser.find_elements(By.CSS_SELECTOR, "table.sortable")
    heads = first.find_elements(By.TAG_NAME, "th")
    given = column(browser, first, 0)
    heads[3].find_element(By.TAG_NAME, "button").click()
    differences = [float(v) for v in column(browser, first, 3)]
    assert differences == sorted(differences, reverse=True) and column(browser, first, 0) != given
    assert [head.get_attribute("aria-sort") for head in heads] == [None, None, None, "descending"]
    heads[3].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert [float(v) for v in column(browser, first, 3)] == sorted(differences)
    assert heads[3].get_attribute("aria-sort") == "ascending"
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column(browser, first, 0) == sorted(given, reverse=True)
    assert [head.get_attribute("aria-sort") for head in heads] == ["descending", None, None, None]
    # Missing values stay last in both directions.
    browser.execute_script("arguments[0].closest('details').open = true", second)
    button = second.find_elements(By.TAG_NAME, "th")[1].find_element(By.TAG_NAME, "button")
    for descending in (True, False):
        button.click()
        values = column(browser, second, 1)
        assert values[-1] == "" and [float(v) for v in values[:-1]] == sorted(
            map(float, values[:-1]), reverse=descending
        )


def shown(browser, card) -> list[int]:
    """The step of the view that each pane shows."""
    script = """return [...arguments[0].querySelectorAll('.view')].filter(v => v.getBoundingClientRect().height > 0)
      .map(v => Number(v.dataset.step))"""
    return browser.execute_script(script, card)


def test_the_slider_moves_all_panes(browser, pages: dict[str, Path]) -> None:
    show(browser, pages["en"])
    card, other = browser.find_elements(By.CSS_SELECTOR, ".case")[:2]
    slider = card.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert shown(browser, card) == [2, 2]  # begins with the predictions
    sources = set()
    for step, view in enumerate(("image", "mask", "prediction", "probability", "uncertainty")):
        slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * step)
        assert shown(browser, card) == [step, step]
        assert slider.get_attribute("aria-valuetext") == view
        pressed = card.find_elements(By.CSS_SELECTOR, ".steps button[aria-pressed=true]")
        assert [button.text for button in pressed] == [view]
        sources.add(card.find_element(By.CSS_SELECTOR, ".view.on img").get_attribute("src"))
    assert len(sources) == 5
    assert shown(browser, other) == [2, 2]
    card.find_elements(By.CSS_SELECTOR, ".steps button")[1].click()
    assert shown(browser, card) == [1, 1] and slider.get_attribute("value") == "1"


def test_without_scripts_everything_is_shown(pages: dict[str, Path]) -> None:
    # The page's own scripts are blocked; the driver's still run.
    with started(**{"profile.managed_default_content_settings.javascript": 2}) as browser:
        show(browser, pages["en"])
        card = browser.find_element(By.CSS_SELECTOR, ".case")
        assert shown(browser, card) == [0, 1, 2, 3, 4] * 2
        assert not card.find_element(By.CSS_SELECTOR, ".control").is_displayed()

"""A real browser for the tests of pages; they are skipped where there is no Chromium with its driver.

Debian, Ubuntu: apt install chromium chromium-driver.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install '.[dev]')")

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def started(**preferences: object) -> Iterator[object]:
    """A Chromium with these preferences and an empty profile."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver here: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.add_experimental_option("prefs", preferences)
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        yield made
        made.quit()


def show(browser, page: Path | str, width: int = 1280, dark: bool = False) -> None:
    """Opens a page, a file or an address, on a screen of this width, in pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(page if isinstance(page, str) else page.as_uri())


def outside(browser, width: int) -> list[str]:
    """What reaches over the right edge of a screen of this width and does not scroll by itself, or is cut off in a
    drawing."""
    found = """return [...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') && !e.closest('svg') &&
      e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    cut = """return [...document.querySelectorAll('svg text')].filter(text => {
      const [inner, outer] = [text, text.closest('svg')].map(e => e.getBoundingClientRect());
      return inner.left < outer.left - 1 || inner.right > outer.right + 1}).map(e => e.outerHTML.slice(0, 80))"""
    whole = browser.execute_script("return document.documentElement.scrollWidth")
    return [
        *browser.execute_script(found),
        *browser.execute_script(cut),
        *([f"the page, {whole} pixels"] if whole > width else []),
    ]

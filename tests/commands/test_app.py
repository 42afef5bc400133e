"""`flowseg app`: what the server answers and refuses, and its page in a real browser, if one is installed."""

import base64
import io
import json
import logging
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from commands import Flowseg, first, trained_run
from dicom_files import write_dicom
from PIL import Image

from flowseg import Model, Prediction, load
from flowseg.data.image_files import decode
from flowseg.data.inputs import Input
from flowseg.evaluation.overlays import grey
from flowseg.sampling.mask import MaskRule

uvicorn = pytest.importorskip("uvicorn", reason="no web server here: pip install '.[app]'")
pytest.importorskip("starlette", reason="no web server here: pip install '.[app]'")

from flowseg.app import server, uploads  # noqa: E402 (they need the web server)
from flowseg.app.segmenter import Segmenter  # noqa: E402

CHOICE = {"steps": 1, "ensemble": 3, "threshold": 0.5}


@dataclass
class Site:
    """A server that runs in a thread."""

    address: str
    folder: Path
    """Where the uploads lie."""

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
        """Returns status and content of an answer in JSON."""
        request = urllib.request.Request(f"{self.address}/{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def send(self, file: Path, name: str | None = None) -> tuple[int, dict]:
        return self.call(f"images?name={quote(name or file.name)}", file.read_bytes())

    def segment(self, image: str, frame: object = 1, **choice: object) -> tuple[int, dict]:
        asked = {"image": image, "frame": frame, "choice": CHOICE | choice}
        return self.call("segment", json.dumps(asked).encode())


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("run") / "<b>tiny", tiny_data, "gaussian", ensemble=3)


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run, min_component=20)


@pytest.fixture(scope="module")
def site(model: Model, run: Path) -> Iterator[Site]:
    opened = server.bind("127.0.0.1", 0)
    made = server.make_server(model, run.name, "127.0.0.1")
    thread = threading.Thread(target=lambda: made.run(sockets=[opened]))
    thread.start()
    while not made.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        address = f"http://127.0.0.1:{opened.getsockname()[1]}"
        with urllib.request.urlopen(f"{address}/settings") as answer:
            folder = Path(json.loads(answer.read())["folder"])
        yield Site(address, folder)
    finally:
        made.should_exit = True
        thread.join()
    assert not folder.exists()


@pytest.fixture
def image(tiny_data: Path) -> Path:
    return first(tiny_data, "image", "test")


def picture(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def test_its_pictures_are_the_model_s(site: Site, model: Model, image: Path) -> None:
    """Bit for bit those of `flowseg.load`, with the threshold of the page."""
    status, sent = site.send(image)
    assert (status, sent["name"], sent["frames"]) == (200, image.name, 1)
    found = model.segment(decode(image))
    for threshold in (0.5, 0.3):
        status, answer = site.segment(sent["image"], threshold=threshold)
        assert status == 200 and answer["name"] == image.stem
        mask = MaskRule(threshold, model.rule.min_component).mask(found.probability)
        assert answer["vessel"] == pytest.approx(mask.mean()) and 0 < mask.mean() < 1
        np.testing.assert_array_equal(picture(answer["pictures"]["mask"]), grey(mask))
        np.testing.assert_array_equal(picture(answer["pictures"]["probability"]), grey(found.probability))
        np.testing.assert_array_equal(picture(answer["pictures"]["uncertainty"]), grey(found.uncertainty))
        assert picture(answer["pictures"]["overlay"]).shape == (64, 64, 3)


def test_another_threshold_samples_nothing_and_other_settings_do(
    model: Model, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single sample has no uncertainty. (Nothing is compiled here.)"""
    asked = []

    def counted(self: Model, item: Input) -> Prediction:
        settings = self.config.eval
        asked.append((settings.steps, settings.ensemble, settings.threshold))
        probability = (item.image + 1) / 2
        return Prediction(probability, probability > 0.5, probability if settings.ensemble > 1 else None)

    monkeypatch.setattr(Model, "segment", counted)
    segmenter = Segmenter(model)
    start = segmenter.start
    for threshold in (0.5, 0.4):
        segmenter.answer(image, 1, type(start)(1, 3, threshold))
    assert asked == [(1, 3, "fixed")]
    single = segmenter.answer(image, 1, type(start)(2, 1, 0.5))
    assert asked == [(1, 3, "fixed"), (2, 1, "fixed")] and "uncertainty" not in single["pictures"]


def test_frames_of_a_series_are_images(site: Site, model: Model, image: Path, tmp_path: Path) -> None:
    pixels = decode(image)
    status, sent = site.send(write_dicom(tmp_path / "cine.dcm", np.stack([pixels, pixels[::-1], 0 * pixels])))
    assert (status, sent["frames"]) == (200, 3)
    answer = site.segment(sent["image"], 2)[1]
    assert answer["name"] == "cine_frame002"
    np.testing.assert_array_equal(
        picture(answer["pictures"]["probability"]), grey(model.segment(pixels[::-1]).probability)
    )
    assert "cine.dcm: has no frame 4" in site.segment(sent["image"], 4)[1]["error"]
    assert "cine.dcm frame 3: every pixel has the value 0" in site.segment(sent["image"], 3)[1]["error"]


def test_files_that_cannot_be_used_are_refused_in_one_line_and_deleted(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text := tmp_path / "a.png").write_text("no image")
    before = set(site.folder.iterdir())

    def error(file: Path, name: str | None = None) -> str:
        status, answer = site.send(file, name)
        assert status == 400 and "\n" not in answer["error"] and str(site.folder) not in answer["error"]
        assert set(site.folder.iterdir()) == before
        return answer["error"]

    assert error(text).startswith("a.png: cannot be read as an image")
    assert error(text, "a.dcm").startswith("a.dcm: is not a DICOM file")
    for name in ("", "..", "\0.png", "x" * 300):
        assert "is no name for an image file" in site.call(f"images?name={quote(name)}", b"x")[1]["error"]
    monkeypatch.setattr(uploads, "MAX_SIDE", 63)
    assert error(image) == f"{image.name}: is 64x64 pixels, but the page takes 63 a side at most; scale it down"
    monkeypatch.setattr(uploads, "MAX_FRAMES", 1)
    series = write_dicom(tmp_path / "b.dcm", np.zeros((2, 8, 8), np.uint8))
    assert "b.dcm: has 2 frames, but the page takes 1 at most" in error(series)
    monkeypatch.setattr(uploads, "MAX_FILE", 100)
    assert "is larger than 0 MiB, the most that the page takes" in error(image)
    monkeypatch.setattr(uploads, "MAX_FILE", 2**20)
    monkeypatch.setattr(uploads, "MAX_TOTAL", 100)
    assert "already holds 0 GiB of files" in error(image)


def test_a_name_leads_out_of_no_folder(site: Site, image: Path) -> None:
    for name in ("../../a.png", "..\\a.png", "/etc/a.png"):
        sent = site.send(image, name)[1]
        assert sent["name"] == "a.png" and (site.folder / sent["image"] / "a.png").is_file()


def test_requests_out_of_bounds_are_refused(site: Site, image: Path) -> None:
    number = site.send(image)[1]["image"]
    for choice, reason in (
        ({"steps": 0}, "steps = 0: must lie between 1 and 100"),
        ({"ensemble": 33}, "ensemble = 33: must lie between 1 and 32"),
        ({"threshold": 1.0}, "threshold = 1.0: must lie between 0 and 1"),
        ({"threshold": "high"}, "threshold = 'high': expected float"),
        ({"tta": True}, "unknown config field choice.tta"),
    ):
        status, answer = site.segment(number, **choice)
        assert status == 400 and reason in answer["error"]
    assert site.segment(number, 0)[1]["error"] == "frame = 0: must be at least 1"
    for body in (b"{", b"[" * 60_000, b" " * 70_000, b"{}", b"[]", b"NaN"):
        for path in ("segment", "forget"):
            status, answer = site.call(path, body)
            assert status == 400 or (path, body) == ("forget", b"[]")
            assert "\n" not in answer.get("error", "")


def test_files_go_when_the_page_goes(site: Site, image: Path) -> None:
    number, other = (site.send(image)[1]["image"] for _ in range(2))
    assert site.call("forget", json.dumps([number, "unknown"]).encode()) == (200, {})
    assert not (site.folder / number).exists() and (site.folder / other).exists()
    assert "no longer here" in site.segment(number)[1]["error"]


def test_other_pages_do_not_reach_it(site: Site) -> None:
    """Neither by a request of their own nor by a host name that leads to this machine."""
    status, answer = site.call("forget", b"[]", Origin="http://elsewhere.example")
    assert status == 400 and "another page" in answer["error"]
    request = urllib.request.Request(f"{site.address}/settings", headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_a_defect_is_one_line_and_the_server_goes_on(
    site: Site, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = site.send(image)[1]["image"]

    def broken(*args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "answer", broken)
        status, answer = site.segment(number)
    assert status == 500 and answer["error"].startswith("flowseg failed (ZeroDivisionError)")
    assert "Traceback" in capsys.readouterr().err
    assert site.segment(number)[0] == 200


def test_the_server_leaves_the_logging_of_other_libraries_alone(model: Model) -> None:
    """A handler that is closed may close its stream: absl's does, if standard error has been redirected since."""
    closed = []

    class Handler(logging.Handler):
        def close(self) -> None:
            closed.append(self)
            super().close()

    handler = Handler()
    server.make_server(model, "run", "127.0.0.1")
    assert closed == []
    handler.close()


def test_the_command_refuses(flowseg: Flowseg, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.bind("127.0.0.1", 0) as taken:
        outcome = flowseg("app", run, "--port", taken.getsockname()[1])
        assert outcome.status == 1 and "cannot be used (Address already in use); choose another" in outcome.err
    assert "--port 70000: must lie between 0 and 65535" in flowseg("app", run, "--port", 70000).err
    monkeypatch.delitem(sys.modules, "flowseg.app.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = flowseg("app", run)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1) and "pip install 'flowseg[app]'" in outcome.err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_says_where_the_page_is_and_who_can_use_it(
    flowseg: Flowseg, run: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    outcome = flowseg("app", run, "--host", host, "--port", 0)
    assert outcome.status == 0 and f"is on http://{host}:" in outcome.out
    assert ("anyone on the network" in outcome.out) == (host == "0.0.0.0")


def test_the_command_takes_a_folder_of_runs(
    flowseg: Flowseg, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    runs = [Path(shutil.copytree(run, tmp_path / "runs" / name)) for name in ("a", "b")]
    outcome = flowseg("app", tmp_path / "runs", "--port", 0)
    assert outcome.status == 0 and f"{tmp_path / 'runs'} is on http://127.0.0.1:" in outcome.out.replace("\n", "")
    assert all(f"{one}: checkpoint of step" in outcome.err for one in runs)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from browser import started

    with started() as made:
        yield made


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_in_a_browser(browser, site: Site, image: Path, tmp_path: Path, width: int) -> None:
    """Images are chosen, segmented and removed; an error is a line; nothing is asked of other hosts; it fits."""
    from browser import outside, show
    from selenium.webdriver.support.ui import WebDriverWait

    def wait(script: str) -> None:
        WebDriverWait(browser, 30, 0.05).until(lambda _: browser.execute_script(f"return {script}"), script)

    find = browser.find_element
    wrong = tmp_path / "<img src=x onerror=alert(1)>.png"
    wrong.write_text("no image")
    series = write_dicom(tmp_path / "cine.dcm", np.stack([decode(image)] * 2))
    before = set(site.folder.iterdir())
    browser.get("about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, site.address, width)
    wait("document.getElementById('run').textContent === '<b>tiny'")
    find("id", "files").send_keys("\n".join(map(str, (image, series, wrong))))
    wait("document.getElementById('error').textContent")
    assert wrong.name in find("id", "error").text and "cannot be read as an image" in find("id", "error").text
    options = browser.execute_script("return [...document.getElementById('image').options].map(o => o.text)")
    assert options == [image.name, "cine.dcm, frame 1 of 2", "cine.dcm, frame 2 of 2"]
    # A tuned threshold that lies between two steps of the slider is used as it is, until the slider is moved.
    own = "const t = document.getElementById('threshold'); t.value = 0.5433; return t.value"
    assert browser.execute_script(own) == "0.5433"
    browser.execute_script("document.getElementById('threshold').dispatchEvent(new Event('input'))")
    assert find("id", "shown").text == find("id", "threshold").get_property("value") == "0.54"
    find("id", "go").click()
    wait("document.querySelectorAll('figure img').length === 4")
    wait("[...document.images].every(i => i.complete && i.naturalWidth === 64)")
    assert find("id", "error").text == "" and "% vessel" in find("id", "status").text
    links = browser.execute_script("return [...document.querySelectorAll('a')].map(a => a.download)")
    assert links == [f"{image.stem}_{kind}.png" for kind in ("mask", "probability", "uncertainty")]
    assert outside(browser, width) == []
    mask = "document.querySelector('a').href"
    earlier = browser.execute_script(f"return {mask}")
    browser.execute_script(
        "const t = document.getElementById('threshold'); t.value = 0.3; t.dispatchEvent(new Event('input'))"
    )
    wait(f"{mask} !== '{earlier}'")
    find("id", "clear").click()
    wait("document.getElementById('status').textContent === 'Removed.'")
    assert set(site.folder.iterdir()) == before and not find("id", "go").is_enabled()
    find("id", "files").send_keys(str(image))
    wait("document.getElementById('image').options.length === 1")
    assert len(set(site.folder.iterdir()) - before) == 1
    browser.get("about:blank")
    WebDriverWait(browser, 10, 0.05).until(lambda _: set(site.folder.iterdir()) == before)
    lines = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = {line["params"]["request"]["url"] for line in lines if line["method"] == "Network.requestWillBeSent"}
    assert all(url.startswith((site.address, "data:", "about:")) for url in asked) and len(asked) > 5
    assert [e for e in browser.get_log("browser") if "images?name" not in e["message"]] == []

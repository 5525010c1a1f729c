"""The page as people have it: in a real browser, from a file, wide and narrow, dark and light."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from report_toys import material

from i2uv_edge.report.page import render

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

Picture = np.ndarray[Any, np.dtype[np.uint8]]

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no chromium and chromedriver here: apt-get install chromium chromium-driver",
    ),
]

SETTLED = """
const done = arguments[0];
requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));
"""
# What a reader of the page hears of each control, as the browser itself works it out.
NAMES = """
return [...document.querySelectorAll("button, input, select, a, summary, [tabindex]")]
  .filter((own) => own.checkVisibility())
  .map((own) => own.outerHTML.slice(0, 90));
"""


class Browser:
    """Headless Chromium with one page open; `logged` is what it wrote to its console."""

    def __init__(self, *options: str) -> None:
        chosen = webdriver.ChromeOptions()
        chosen.binary_location = str(CHROMIUM)
        for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *options):
            chosen.add_argument(option)
        chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=chosen, service=webdriver.ChromeService(DRIVER))
        self.logged: list[str] = []
        self.asked: list[str] = []

    def close(self) -> None:
        self.driver.quit()
        self.driver.service.stop()

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.prefer("dark" if dark else "light")
        self.driver.get(path.as_uri())
        self.settle()

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def settle(self) -> None:
        self.driver.execute_async_script(SETTLED)

    def read_logs(self) -> None:
        """Take in what the console and the network saw so far."""
        self.logged += [
            f"{row['level']}: {row['message']}" for row in self.driver.get_log("browser")
        ]
        for row in self.driver.get_log("performance"):
            message = json.loads(row["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])

    def seen(self) -> Picture:
        """The window, (H, W, 3) BGR."""
        shot = self.command("Page.captureScreenshot", format="png")["data"]
        made = cv2.imdecode(np.frombuffer(base64.b64decode(shot), np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(made, np.uint8)

    def canvas(self) -> Picture:
        """What the viewer draws, without the rim, where the focus shows."""
        self.run("document.querySelector('canvas').scrollIntoView({behavior: 'instant'})")
        self.settle()
        x, y, width, height = self.run(
            "const r = document.querySelector('canvas').getBoundingClientRect();"
            "return [r.x, r.y, r.width, r.height].map(Math.round)"
        )
        return self.seen()[y : y + height, x : x + width][8:-8, 8:-8]

    def choose(self, **values: str) -> None:
        for name, value in values.items():
            self.run(
                "document.querySelector(`[name='${arguments[0]}'][value='${arguments[1]}']`).click()",
                name,
                value,
            )
        self.settle()

    def drag(self, right: int, down: int) -> None:
        canvas = self.driver.find_element("tag name", "canvas")
        actions = webdriver.ActionChains(self.driver).move_to_element(canvas).click_and_hold()
        actions.move_by_offset(right, down).release().perform()
        self.settle()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(material()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    made = Browser("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    yield made
    made.close()


@pytest.fixture
def browser(started: Browser) -> Browser:
    started.read_logs()
    started.logged.clear()
    started.asked.clear()
    return started


def hand_share(picture: Picture) -> float:
    """Part of a picture that differs from its corner."""
    return float((np.abs(picture.astype(int) - picture[40, 40]).max(-1) > 12).mean())


def changed(first: Picture, second: Picture) -> float:
    return float((np.abs(first.astype(int) - second).max(-1) > 12).mean())


# --- it works from a file -----------------------------------------------------------------------


def test_nothing_is_complained_of_and_nothing_is_fetched(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.canvas()
    for colour in ("truth", "picture", "plain", "apart"):
        browser.choose(colour=colour)
    browser.read_logs()
    assert browser.logged == []
    assert browser.asked
    assert all(url.startswith(("file://", "data:")) for url in browser.asked)
    assert len({url for url in browser.asked if url.startswith("file:")}) == 1


def test_the_proof_sees_a_complaint_and_a_fetch(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<!doctype html><img src='http://127.0.0.1:9/a.png'><script>nobody()</script>"
    )
    browser.open(tmp_path / "bad.html")
    browser.read_logs()
    assert any("nobody is not defined" in line for line in browser.logged)
    assert "http://127.0.0.1:9/a.png" in browser.asked


def test_the_page_runs_no_script_but_its_own(browser: Browser, page: Path, tmp_path: Path) -> None:
    planted = "<script>document.title = 'planted'</script></body>"
    own = page.read_text(encoding="utf-8").replace("</body>", planted)
    (tmp_path / "planted.html").write_text(own, encoding="utf-8")
    browser.open(tmp_path / "planted.html")
    assert browser.driver.title != "planted"
    assert hand_share(browser.canvas()) > 0.03


# --- the meshes can be turned -------------------------------------------------------------------


def test_a_hand_is_drawn_and_turns_with_a_drag(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = browser.canvas()
    assert hand_share(before) > 0.05
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 100
    browser.drag(150, 30)
    turned = browser.canvas()
    assert changed(before, turned) > 0.03
    browser.run("document.querySelector('[data-view=camera]').click()")
    browser.settle()
    assert changed(before, browser.canvas()) < 0.005


def test_keys_turn_and_zoom(browser: Browser, page: Path) -> None:
    browser.open(page)
    canvas = browser.driver.find_element("tag name", "canvas")
    before = browser.canvas()
    canvas.send_keys(webdriver.Keys.ARROW_LEFT * 4)
    browser.settle()
    assert changed(before, browser.canvas()) > 0.02
    canvas.send_keys("0")
    canvas.send_keys("++++")
    browser.settle()
    assert hand_share(browser.canvas()) > 1.2 * hand_share(before)
    canvas.send_keys("0")
    browser.settle()
    assert changed(before, browser.canvas()) < 0.005


@pytest.mark.parametrize(
    "choice",
    [{"mesh": "truth"}, {"colour": "truth"}, {"colour": "picture"}, {"colour": "plain"}],
    ids=str,
)
def test_each_choice_shows_something_else(
    choice: dict[str, str], browser: Browser, page: Path
) -> None:
    browser.open(page)
    before = browser.canvas()
    browser.choose(**choice)
    after = browser.canvas()
    assert hand_share(after) > 0.05
    assert changed(before, after) > 0.02


def test_a_difference_is_magnified_and_a_grid_shows_from_what(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = browser.canvas()
    browser.choose(magnify="10")
    large = browser.canvas()
    assert changed(before, large) > 0.02
    browser.choose(ghost="on")
    assert changed(large, browser.canvas()) > 0.01


def test_the_scale_and_the_words_go_with_what_is_chosen(browser: Browser, page: Path) -> None:
    browser.open(page)

    def shown(selector: str) -> list[str]:
        found = browser.driver.find_elements("css selector", selector)
        return [own.text for own in found if own.is_displayed()]

    assert ["distance of tflite from float" in text for text in shown("[data-scale]")] == [True]
    browser.choose(colour="truth")
    assert ["the truth" in text for text in shown("[data-scale]")] == [True]
    browser.choose(colour="plain")
    assert shown("[data-scale]") == []
    assert "Sample b, worst" in shown("[data-facts]")[0]
    browser.run(
        "const s = document.querySelector('select'); s.value = '2';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert "Sample a, best" in shown("[data-facts]")[0]
    label = browser.run("return document.querySelector('canvas').getAttribute('aria-label')")
    assert label == "Mesh of tflite, sample a"


def test_pointing_at_the_skin_tells_finger_and_distance(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.canvas()
    canvas = browser.driver.find_element("tag name", "canvas")
    webdriver.ActionChains(browser.driver).move_to_element(canvas).perform()
    browser.settle()
    assert browser.driver.find_element("css selector", "[data-tip]").text == "palm, 2.00 mm"


def test_nothing_is_drawn_while_nothing_changes(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.canvas()
    count = "return document.getElementById('viewer-3d').dataset.frames"
    before = browser.run(count)
    for _ in range(5):
        browser.settle()
    assert browser.run(count) == before
    assert int(before) < 12


def test_without_webgl_the_pictures_stand_for_it(page: Path) -> None:
    plain = Browser("--disable-gpu", "--disable-3d-apis")
    try:
        plain.open(page)
        assert not plain.driver.find_element("id", "viewer-3d").is_displayed()
        assert "no WebGL" in plain.driver.find_element("id", "viewer-none").text
        plain.read_logs()
        assert not [line for line in plain.logged if "Uncaught" in line]
    finally:
        plain.close()


# --- it can be read -----------------------------------------------------------------------------


def test_dark_and_light_are_what_the_reader_prefers_or_chooses(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    light = browser.seen()
    browser.prefer("dark")
    browser.settle()
    dark = browser.seen()
    assert light.mean() > 200
    assert dark.mean() < 60
    browser.run("document.getElementById('scheme-light').click()")
    browser.settle()
    assert browser.seen().mean() > 200
    browser.prefer("light")
    browser.run("document.getElementById('scheme-dark').click()")
    browser.settle()
    assert browser.seen().mean() < 60


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_no_page_is_wider_than_its_window(width: int, browser: Browser, page: Path) -> None:
    browser.open(page, width=width)
    browser.run("document.querySelectorAll('details').forEach((own) => (own.open = true))")
    browser.settle()
    wide, window = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window == width
    beyond = browser.run(
        "return [...document.querySelectorAll('main *, header *')].filter((own) => {"
        "  const box = own.getBoundingClientRect();"
        "  return box.width && box.right > innerWidth + 1 && !own.closest('.scroll, .chart, pre')"
        "    && own.checkVisibility() && !own.closest('.unseen');"
        "}).map((own) => own.outerHTML.slice(0, 80))"
    )
    assert beyond == []


def test_every_control_has_a_name_to_be_called_by(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert len(browser.run(NAMES)) > 20
    assert unnamed(browser) == []
    browser.run("document.querySelector('button').replaceChildren()")
    assert [role for role, _ in unnamed(browser)] == ["button"]


CONTROLS = ("button", "checkbox", "combobox", "link", "radio", "region")


def unnamed(browser: Browser) -> list[tuple[str, str]]:
    """Role and id of the controls that the browser tells assistive technology no name of."""
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        name = node.get("name", {}).get("value", "").strip()
        if not node.get("ignored") and role in CONTROLS and not name:
            found.append((role, node["nodeId"]))
    return found


# --- the bundled model --------------------------------------------------------------------------


@pytest.mark.bundled
def test_the_report_of_a_real_bundle_works_the_same(
    exported: tuple[Any, Path], browser: Browser
) -> None:
    browser.open(exported[1] / "report.html", width=390, dark=True)
    assert hand_share(browser.canvas()) > 0.03
    browser.read_logs()
    assert browser.logged == []

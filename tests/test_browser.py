"""The pages in a real browser: what a user does and sees, and that nothing goes wrong unseen.

Needs selenium, Chromium and its driver; without them the tests are skipped.  CHROMIUM and CHROMEDRIVER name other
programs.
"""

import json
import os
import shutil
import time
from contextlib import contextmanager
from threading import Thread

import pytest

import toy
import webtoy
from sfhflow import html
from sfhflow.app import create_app

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("flask")
waitress = pytest.importorskip("waitress")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)
NAMES = "chromium", "chromium-browser", "google-chrome"
ATTACK = "<img src=x onerror=window.hacked=1>"
PATIENCE = 40


def program(variable, *names):
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"no {names[0]} found; install it or set {variable}")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    options = webdriver.ChromeOptions()
    options.binary_location = program("CHROMIUM", *NAMES)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(program("CHROMEDRIVER", "chromedriver")))
    yield driver
    driver.quit()


@contextmanager
def running(app):
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=4)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}/"
    server.close()
    thread.join(5)


@pytest.fixture(scope="module")
def address():
    with running(create_app(webtoy.service())) as address:
        yield address


@pytest.fixture
def page(browser, address):
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(address)
    return browser


def wait(browser, condition):
    return WebDriverWait(browser, PATIENCE, poll_frequency=0.1).until(condition)


def shown(browser, selector):
    """The first element that is seen, once there is one."""

    def look(driver):
        return next((e for e in driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()), False)

    return wait(browser, look)


def upload(browser, path):
    browser.find_element(By.ID, "file").send_keys(str(path))


def drawn(browser, name):
    """A figure's size, once Bokeh has drawn it."""
    script = (
        "const place = [...document.querySelectorAll(`[data-figure='${arguments[0]}']`)].find(e => e.offsetWidth);"
        "const seek = node => node instanceof HTMLCanvasElement ? [node] : "
        "[...(node.shadowRoot ? node.shadowRoot.children : []), ...node.children].flatMap(seek);"
        "return place ? seek(place).map(c => [c.width, c.height]) : [];"
    )
    return wait(browser, lambda driver: [s for s in driver.execute_script(script, name) if min(s) > 50])


def errors(browser):
    """Complaints of the page, but for the answers that the tests provoke."""
    return [e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "400 (BAD" not in e["message"]]


def hosts(browser):
    """Hosts that were asked for anything."""
    found = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            found |= {url.split("/")[2]} if url.startswith(("http", "ws")) else set()
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    first, second = toy.spectra(2)
    contents = {
        "ngc1.txt": webtoy.text_spectrum(first),
        "ngc2.txt": webtoy.text_spectrum(second),
        "silent.txt": webtoy.text_spectrum(first, stated=()),
        f"{ATTACK}.txt": webtoy.text_spectrum(first),
        "bad.fits": b"\x89PNG\r\n\x1a\n\0",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_spectrum_is_uploaded_shown_changed_and_downloaded(page, address, files, downloads):
    upload(page, files / "ngc1.txt")
    assert shown(page, ".panel h1").text == "ngc1"
    assert shown(page, ".verdict").text.split("\n")[-1].startswith("Verdict:")
    for name in ("spectrum", "assembly", "rate", "mh"):
        assert drawn(page, name)
    # other samples
    Select(shown(page, "select[name=n_samples]")).select_by_visible_text("300")
    wait(page, lambda driver: "300 samples" in driver.page_source)
    # another mask, by typing it
    shown(page, "input[name=masked]").send_keys("5000-5100", Keys.ENTER)
    wait(page, lambda driver: "Masked by hand: 5000-5100 Angstrom" in driver.page_source)
    shown(page, "input[name=mask_lines]").click()
    wait(page, lambda driver: "windows of the emission lines were kept" in driver.page_source)
    # another prior
    shown(page, "input[name=prior]").send_keys("mh -1.0 ± 0.3", Keys.ENTER)
    wait(page, lambda driver: "samples effective" in driver.page_source)
    for kind in ("json", "png"):
        shown(page, f".downloads a[data-kind={kind}]").click()
        deadline = time.monotonic() + PATIENCE
        while not (downloads / f"ngc1.{kind}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert json.loads((downloads / "ngc1.json").read_text())["n_samples"] == 300
    assert errors(page) == []
    assert hosts(page) == {address.split("/")[2]}


def test_what_a_file_does_not_say_is_asked_for(page, files):
    upload(page, files / "silent.txt")
    sentence = shown(page, ".problem").text
    assert sentence.startswith("silent.txt: found no redshift")
    assert page.switch_to.active_element.get_attribute("name") == "redshift"
    page.switch_to.active_element.send_keys("0.05")
    Select(shown(page, "select[name=medium]")).select_by_value("air")
    shown(page, "button.main").click()
    assert shown(page, ".panel h1").text == "silent"
    assert not page.find_element(By.CSS_SELECTOR, ".problem").is_displayed()
    assert errors(page) == []


def test_a_bad_file_and_a_bad_setting_end_in_a_sentence(page, files):
    upload(page, files / "bad.fits")
    assert shown(page, ".problem").text.startswith("bad.fits: found binary data that is not FITS")
    upload(page, files / "ngc1.txt")
    wait(page, lambda driver: shown(driver, ".panel h1").text == "ngc1")
    shown(page, "input[name=masked]").send_keys("nonsense", Keys.ENTER)
    assert shown(page, ".problem").text.startswith("Masked range 'nonsense' is not a range")
    assert errors(page) == []


def test_several_spectra_are_compared_side_by_side(page, files):
    for name in ("ngc1", "ngc2"):
        upload(page, files / f"{name}.txt")
        wait(page, lambda driver, name=name: shown(driver, ".panel h1").text == name)
    shown(page, "#compare").click()
    assert drawn(page, "comparison")
    assert [e.text for e in page.find_elements(By.CSS_SELECTOR, "#comparison tbody th")] == ["1: ngc1", "2: ngc2"]
    # one goes, the other stays
    shown(page, "[aria-label='Remove ngc1']").click()
    wait(page, lambda driver: [e.text for e in driver.find_elements(By.CSS_SELECTOR, "#list .pick")] == ["ngc2"])
    assert errors(page) == []


def test_a_name_that_holds_markup_is_shown_and_not_obeyed(page, files):
    upload(page, files / f"{ATTACK}.txt")
    assert shown(page, ".panel h1").text == ATTACK
    assert drawn(page, "spectrum")
    assert page.execute_script("return window.hacked") is None
    assert errors(page) == []


def test_a_report_opens_from_a_file_and_asks_nobody(browser, tmp_path):
    model = toy.model()
    posterior = model.infer(toy.spectra(1)[0], n_samples=200)
    path = html.write_report(posterior, tmp_path, webtoy.predictor(model)(posterior))
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    for name in ("spectrum", "assembly", "rate", "sigma"):
        assert drawn(browser, name)
    assert errors(browser) == []
    assert hosts(browser) == set()

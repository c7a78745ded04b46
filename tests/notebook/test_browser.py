"""JupyterLab in a real browser: notebooks run from the menu, widgets answer, text from a corpus stays text."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from course_lib.storage import cache_folder
from course_lib.texts import python_docs

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--window-size=1300,1000",
)
SETTINGS = {
    # every cell in the page, also those out of sight, so that their outputs can be found
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
PATIENCE = 60  # seconds that an answer of the page may take on a busy machine
RUNNING = 300  # seconds that a notebook may take on a busy machine

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no chromium and chromedriver on this machine; .ci/run installs them with apt-get",
    ),
    pytest.mark.timeout(600),
]


# --------------------------------------------------------------------------- a JupyterLab and a browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token) of a JupyterLab on a copy of the notebooks; nothing of the user's is read or written."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        copy_without_outputs(path, home / "notebooks" / path.name)
    write_widgets_notebook(home / "notebooks" / "widgets.ipynb")
    for name, settings in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    python_docs.load(progress=False)  # a harvest belongs to the tests of the corpus, not to the time of this one
    # links to what the cache holds; new files replace them and stay here
    shutil.copytree(cache_folder(), home / "cache", copy_function=os.symlink)
    variables = os.environ | {
        "COURSE_CACHE": str(home / "cache"),
        "COURSE_PROFILE": "smoke",
        "HF_HUB_OFFLINE": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        **{f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")},
    }
    with open(home / "log", "w") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                "--ServerApp.port=0",
                "--LabApp.news_url=None",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                str(home / "notebooks"),
            ],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield address(server, home)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def copy_without_outputs(path, copy):
    """What a copy holds after it has run is then from this run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, copy)


def address(server, home):
    """(url, token) that a starting server writes down once it listens."""

    def listening(_):
        assert server.poll() is None, (home / "log").read_text()
        return [json.loads(path.read_text()) for path in (home / "runtime").glob("jpserver-*.json")]

    (about,) = WebDriverWait(None, 3 * PATIENCE, ignored_exceptions=[json.JSONDecodeError]).until(
        listening, f"JupyterLab does not listen; what it says is in {home / 'log'}"
    )
    return about["url"], about["token"]


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield Page(driver, *lab)
    finally:
        driver.quit()


class Page:
    """A JupyterLab in the browser, used as a person does: by menu, keyboard and eye."""

    def __init__(self, driver, url, token):
        self.driver, self.url, self.token = driver, url, token

    def until(self, condition, message, patience=PATIENCE):
        """Ask until condition() is true, and return what it gave."""
        impatient = (StaleElementReferenceException,)
        return WebDriverWait(self.driver, patience, 0.2, impatient).until(lambda _: condition(), message)

    def find(self, css):
        """The one element that is shown for a CSS selector."""

        def shown():
            found = [e for e in self.driver.find_elements(By.CSS_SELECTOR, css) if e.is_displayed()]
            return found[-1] if found else None

        return self.until(shown, f"there is no {css}")

    def open(self, notebook):
        """A notebook in a workspace of its own, with a fresh kernel waiting; that of the one before is shut down."""
        self.notebook("sessionContext.shutdown()")
        self.driver.get(f"{self.url}lab/workspaces/{Path(notebook).stem}/tree/{notebook}?token={self.token}&reset")
        status = "sessionContext.session?.kernel?.status"
        self.until(lambda: self.notebook(status) == "idle", f"no kernel for {notebook}", 2 * PATIENCE)

    def notebook(self, expression):
        """A property of the open notebook, by JavaScript; None as long as there is none."""
        try:
            return self.driver.execute_script(f"return window.jupyterapp?.shell.currentWidget?.{expression}")
        except WebDriverException:  # still loading
            return None

    def choose(self, menu, command):
        """Click a command of the menu bar."""
        self.labelled("#jp-MainMenu .lm-MenuBar-itemLabel", menu).click()
        self.labelled(".lm-Menu .lm-Menu-itemLabel", command).click()

    def labelled(self, css, label):
        """The element for a CSS selector that has this text."""
        return self.until(
            lambda: next((e for e in self.driver.find_elements(By.CSS_SELECTOR, css) if e.text.strip() == label), None),
            f"nothing is called {label!r}",
        )

    def output(self, source):
        """The element with the outputs of the first code cell whose source has this in it."""
        cells = "jupyterapp.shell.currentWidget.content.widgets"
        return self.driver.execute_script(
            f"return {cells}.find(c => c.model.type == 'code' && c.model.sharedModel.source.includes(arguments[0]))"
            ".node.querySelector('.jp-Cell-outputArea')",
            source.strip(),
        )

    def write(self, css, text):
        """Write into a field, in place of what is there, and press Enter."""
        self.find(css).send_keys(Keys.CONTROL + "a", Keys.NULL, text, Keys.ENTER)

    def cells(self):
        """The code cells of the open notebook: (execution count, source, traceback of an error or None)."""
        # no outputs: several times a second, their pictures would be much to carry
        return self.notebook(
            "content.widgets.filter(c => c.model.type == 'code').map(c => [c.model.executionCount, "
            "c.model.sharedModel.source, c.model.sharedModel.outputs.find(o => o.output_type == 'error')?.traceback])"
        )

    def run_to_the_end(self, patience=RUNNING):
        """Wait until a fresh kernel has run every cell. An error ends the wait."""

        def over():
            cells = self.cells()
            errors = ["\n".join(traceback) for _, _, traceback in cells if traceback]
            assert not errors, errors[0]
            return [count for count, _, _ in cells] == list(range(1, len(cells) + 1))

        try:
            self.until(over, "", patience)
        except TimeoutException:
            waiting = next((source for count, source, _ in self.cells() if not count), "none")
            pytest.fail(f"the notebook did not come to its end in {patience} s; the first cell not run is:\n{waiting}")


# --------------------------------------------------------------------------- notebooks


def test_notebook_00_runs_after_a_restart_and_its_search_box_answers(page):
    page.open("00_start_here.ipynb")
    page.choose("Kernel", "Restart Kernel and Run All Cells…")
    page.find(".jp-Dialog .jp-mod-accept").click()
    page.run_to_the_end()
    assert "Profile: smoke" in page.output("start(").text
    before = page.output("widgets.search_box(").text
    page.write('input[placeholder^="Type a question"]', "largest value of an array")
    page.until(lambda: "largest value of" in saved(page, "widgets.search_box("), "the results do not change")
    assert page.output("widgets.search_box(").text != before


def saved(page, source):
    """The HTML of the outputs that a save would write for the first code cell with this in its source."""
    cells = "content.widgets.map(c => [c.model.sharedModel.source, JSON.stringify(c.model.sharedModel.outputs ?? [])])"
    return next(outputs for code, outputs in page.notebook(cells) if source.strip() in code)


def the_slider_answers(page):
    """It runs in the page, without the kernel."""
    output = page.output("widgets.temperature_slider(")
    assert "temperature 0.05: " in output.text
    output.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: "temperature 0.056: " in output.text, "the bars do not change")


# --------------------------------------------------------------------------- widgets

NASTY = r'Sort <script>window.harm = 1</script> <img src="x" onerror="window.harm = 2"> $x^2$ \(y_1\) $$z$$ coins.'
START = f"""
from IPython.display import HTML
from course_lib.experiments import as_run
from course_lib.notebook import start, widgets
from course_lib.objectives import SimCSE
from course_lib.search import BM25Search
from course_lib.training import TrainingConfig

encoder = as_run("base", start("widgets")).encoder()
texts = [{NASTY!r}, "Sort an array.", "Find the mean of an array.", "Count the coins in a purse.", "Solve a system."]
searchers = {{"by words": BM25Search(texts)}}
"""
SEARCH = 'widgets.search_box(searchers, "mean of an array")'
STILL = 'HTML(widgets.search_box(searchers, "sort coins").still())'
MAP = "widgets.sentence_map(encoder, texts, ['one group'] * 5)"
SLIDER = "widgets.temperature_slider([0.9, 0.1], ['a', 'b'])"
DASHBOARD = """
dashboard = widgets.training_dashboard(SimCSE(encoder), texts * 20, TrainingConfig(steps=5000, batch_size=4))
dashboard
"""


def write_widgets_notebook(path):
    """What notebooks 00 and 05 cannot show: a document with markup, and a training long enough to be stopped."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (START, SEARCH, STILL, MAP, SLIDER, DASHBOARD)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def widgets(page):
    """The page with the notebook of widgets, which has run to its end; its training was stopped by the button."""
    page.open("widgets.ipynb")
    page.choose("Run", "Run All Cells")
    page.run_to_the_end()
    page.until(lambda: "step " in page.output(DASHBOARD).text, "the training does not begin")
    page.labelled(".jp-OutputArea button", "Stop").click()
    page.until(lambda: "stopp" in page.output(DASHBOARD).text, "nothing stops")
    return page


def test_the_button_stops_a_training(widgets):
    widgets.until(lambda: "stopped after" in widgets.output(DASHBOARD).text, "the training does not stop")
    assert "steps" in widgets.output(DASHBOARD).find_element(By.CSS_SELECTOR, "img").get_attribute("alt")


def test_a_document_with_markup_and_formulas_shows_as_text(widgets):
    """In the widget, and in the HTML that stands for it elsewhere, in which JupyterLab looks for formulas."""
    assert NASTY not in widgets.output(SEARCH).text
    widgets.write('input[placeholder^="Type a question"]', "sort coins")
    for source in (SEARCH, STILL):
        widgets.until(lambda: NASTY in widgets.output(source).text, f"the document does not show as it is: {source}")
        assert not widgets.output(source).find_elements(By.CSS_SELECTOR, "script, td img, mjx-container")
    assert widgets.driver.execute_script("return window.harm") is None


def test_the_map_shows_the_text_under_the_pointer(widgets):
    points = ".scatterlayer .point"
    point = widgets.until(lambda: widgets.output(MAP).find_elements(By.CSS_SELECTOR, points), "no map")[0]
    widgets.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(widgets.driver).move_to_element(point).perform()
    label = widgets.find(".hoverlayer .hovertext text").get_attribute("textContent")
    assert "".join(NASTY.split()) in "".join(label.split())


def test_a_saved_notebook_shows_its_widgets_when_it_is_opened_again(widgets):
    """Their last state and what to do, in place of "model not found"; the slider even works."""
    widgets.write('input[placeholder^="Type a question"]', "solve a system")
    # only its question: in the hits the words that it shares with them are marked
    widgets.until(lambda: "solve a system" in saved(widgets, SEARCH), "the new state is not in what is saved")
    assert not shown(widgets, ".course-still p"), "the still form stands below a widget that works"
    widgets.driver.execute_async_script("jupyterapp.commands.execute('docmanager:save').then(arguments[0])")
    widgets.open("widgets.ipynb")
    widgets.until(lambda: shown(widgets, ".course-still p"), "the still form is not shown")
    assert "Solve a system." in widgets.output(SEARCH).text and "Run the cell to use it" in widgets.output(SEARCH).text
    assert "stopped after" in widgets.output(DASHBOARD).text
    assert not [e for e in widgets.driver.find_elements(By.CSS_SELECTOR, ".jp-OutputArea") if "not found" in e.text]
    the_slider_answers(widgets)


def shown(page, css):
    return [element for element in page.driver.find_elements(By.CSS_SELECTOR, css) if element.is_displayed()]

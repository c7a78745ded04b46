"""The course's notebooks in reading order, and what names the repository's address: `make tables` writes both.

The address stands in pyproject.toml and nowhere else. The badges of README.md and the set-up cell of every notebook are
made from it.
"""

import platform
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.experiments.report import markdown_table
from course_lib.storage import write_atomically

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"

# {notebook: (what it is about, hours of a reader who solves the exercises: an estimate from words, code and exercises)}
READING_PATH = {
    "00_start_here": ("Search your own Python documentation by meaning, and find out what an embedding is", 1),
    "01_sentence_encoder": (
        "Build attention, the encoder and pooling by hand, up to the vectors of `transformers`",
        2,
    ),
    "02_evaluation": ("Measure search and similarity, and find out when a difference is real", 2),
    "03_masked_language_model": (
        "MLM: train a network that guesses hidden words, and see what that does for sentences",
        2,
    ),
    "04_tsdae": ("TSDAE: rebuild a damaged sentence from one vector", 2),
    "05_simcse": ("SimCSE: tell sentences apart that differ by nothing but dropout", 2),
    "06_contrastive_tension": (
        "Contrastive Tension: two encoders say whether two texts are the same, and why it takes two",
        1.5,
    ),
    "07_ct_in_batch_negatives": ("The whole batch as negatives, and what that shares with SimCSE and CLIP", 1.5),
    "08_genq": ("GenQ: a model writes the queries that your texts answer", 2),
    "09_gpl": ("GPL: a cross-encoder says how much better one passage answers than another", 2),
    "10_domain_adaptation": ("Combine the methods, and adapt a finished encoder to a new field", 2),
    "11_performance_comparison": ("Compare all methods, weigh quality against cost, and add one of your own", 1.5),
    "12_your_own_text": ("Point it at a folder of your own: adapt, measure without labels, judge, search", 1.5),
    "13_search_at_scale": ("Search a million texts: what it costs, what an index misses, and vectors of 48 bytes", 1.5),
}
# what JupyterLab would write as soon as it opens a notebook, and then show it as modified
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    },
}
SETUP_TAG = "setup"
SETUP = """# On Colab, this cell fetches and installs the course. Elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    !git clone -q --depth 1 {address} /content/course
    !pip install -q -e /content/course[base,scale]
    %cd /content/course/notebooks
    sys.path.insert(0, "/content/course")"""


def address() -> str:
    """The address of the repository, from pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def table(folder: str = "", badges: bool = False) -> str:
    """The reading path as Markdown.

    folder: where the links point to, such as "notebooks/"; default the folder of the page.
    badges: whether a last column opens each notebook on Colab.
    """
    lines = [["Notebook", "What you do", "Hours"] + ["Colab"] * badges, ["---"] * (3 + badges)]
    colab = address().replace("https://github.com", "https://colab.research.google.com/github")
    badge = "https://colab.research.google.com/assets/colab-badge.svg"
    for name, (what, hours) in READING_PATH.items():
        opens = f"[![Open {name} in Colab]({badge})]({colab}/blob/main/notebooks/{name}.ipynb)"
        lines.append([f"[{name}]({folder}{name}.ipynb)", what, f"{hours:g}", *[opens] * badges])
    return markdown_table(lines)


def with_setup(notebook: NotebookNode) -> NotebookNode:
    """A notebook with METADATA, and its set-up cell as it should be: tagged, after the title, with today's address.

    notebook: as `nbformat.read` gives it; it is changed in place.
    """
    notebook.metadata = METADATA
    source = SETUP.format(address=address())
    for cell in notebook.cells:
        if SETUP_TAG in cell.metadata.get("tags", []):
            cell.source = source
            return notebook
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [SETUP_TAG]}, id="cell-setup")
    notebook.cells.insert(1, cell)
    return notebook


def write_setup_cells() -> None:
    """Write the set-up cell of every notebook."""
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        notebook = with_setup(nbformat.read(path, as_version=4))
        write_atomically(path, nbformat.writes(notebook) + "\n")

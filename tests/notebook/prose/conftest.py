"""Numbers that Markdown cells name: each is tied to its record, or to the paper's table, and must be equal."""

from pathlib import Path
from statistics import mean

import nbformat
import pytest

from course_lib.evaluation import verdict
from course_lib.experiments import load_shipped, published, report
from course_lib.notebook import comparing

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


class Prose:
    """The Markdown of a notebook, and where its numbers come from.

    notebook: its file name without the ending.
    """

    def __init__(self, notebook):
        cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
        self.text = " ".join(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split())

    def says(self, template, *values):
        """Fail unless the Markdown holds this text; `{:.3f}` stands for a value."""
        said = template.format(*values)
        assert said in self.text, f"the records say: {said}"

    @staticmethod
    def records(run, profile="cpu"):
        """The records of a run that ship, by its name, such as "simcse" or "simcse-temperature-0.2"."""
        found = [record for record in load_shipped(run) if record.profile == profile]
        assert found, f"no record of {run} ships"
        return found

    def seeds(self, run, task):
        """The result of every seed."""
        return [record.results[task]["value"] for record in self.records(run)]

    def sentences(self, run):
        """How many sentences a run was trained on."""
        return comparing.sentences(self.records(run))

    def mean(self, run, task):
        """The mean result over the seeds."""
        return mean(self.seeds(run, task))

    def verdict(self, run, baseline, task):
        """ "better", "worse" or "cannot tell", from the paired bootstrap; "not measured" where one has no result."""
        found = report.difference(self.records(run), self.records(baseline), task)
        return verdict(found) if found else "not measured"

    @staticmethod
    def published(method, setting, task, model="bert-base-uncased"):
        """A number of `data/published_results.csv`."""
        wanted = {"method": method, "setting": setting, "task": task, "model": model}
        (value,) = (float(row["value"]) for row in published.rows() if wanted.items() <= row.items())
        return value


@pytest.fixture(scope="session")
def prose():
    """A notebook's Prose by the notebook's name, read once."""
    read = {}
    return lambda notebook: read.setdefault(notebook, Prose(notebook))

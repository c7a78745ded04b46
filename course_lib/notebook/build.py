"""`make notebooks`: execute the notebooks in place, as they are committed, and note how long each took."""

import argparse
import json
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from course_lib.experiments.profiles import Profile, current_profile
from course_lib.experiments.records import machine
from course_lib.notebook.start import TIMES, recorded_times
from course_lib.recipes.reading_path import METADATA
from course_lib.storage import write_atomically

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def build(path: Path, profile: Profile, seconds_per_cell: int = 1800) -> float:
    """Execute one notebook in place on a fresh kernel, and note how long it took.

    path: of the .ipynb file.
    profile: the one that the kernel chooses from COURSE_PROFILE; the time is noted under its name.
    seconds_per_cell: the most that one cell may take.
    Returns the seconds it took. Raises what a cell raises; the file then stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    _execute(notebook, path.parent, seconds_per_cell)
    taken = time.perf_counter() - began
    _note_time(path.stem, profile, taken)
    # the first cell prints the time that a notebook takes, which is known only now
    first = next(c for c in notebook.cells if c.cell_type == "code" and f'start("{path.stem}")' in c.source)
    again = nbformat.v4.new_notebook(cells=[nbformat.from_dict(first)])
    _execute(again, path.parent, seconds_per_cell)
    first.outputs = again.cells[0].outputs
    clean(notebook)
    write_atomically(path, nbformat.writes(notebook) + "\n")
    return taken


def _execute(notebook, folder, seconds_per_cell):
    NotebookClient(
        notebook,
        timeout=seconds_per_cell,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": folder}},
    ).execute()


def _note_time(name, profile, seconds):
    times, here = recorded_times(), machine()
    times.setdefault(profile.name, {})[name] = {
        "minutes": round(seconds / 60, 2),
        "machine": here["gpu"] or f"{here['cores']} CPU cores ({here['instructions']})",
    }
    write_atomically(TIMES, json.dumps(times, indent=1, sort_keys=True) + "\n")


def clean(notebook: NotebookNode) -> None:
    """Remove from a notebook, in place, what a reader does not need.

    Widget state, progress bars, execution times and this machine's paths go; cell ids become stable ones.

    notebook: as `nbformat.read` returns it, executed.
    """
    notebook.metadata = METADATA
    notebook.nbformat_minor = 5
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:02d}"
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
        if cell.cell_type != "code":
            continue
        kept = [o for o in cell.outputs if not _is_progress(o)]
        for output in kept:
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text" in output:
                output["text"] = _without_paths(output["text"])
            for kind in ("text/plain", "text/html"):
                if kind in data:
                    data[kind] = _without_paths(data[kind])
        cell.outputs = kept


def _is_progress(output):
    """Whether an output is a progress bar, also a widget without HTML to show in its place, or a report of loading."""
    data = output.get("data", {})
    text = output.get("text", "") or str(data.get("text/plain", ""))
    bar = re.search(r"\d+%\||it/s\]|step/s|0%\|", text) is not None
    loading = "LOAD REPORT" in text  # of Transformers: BERT's pooler, which is not used, is missing from the file
    return bar or loading or ("application/vnd.jupyter.widget-view+json" in data and "text/html" not in data)


def _without_paths(text):
    home = str(Path.home())
    return text.replace(str(NOTEBOOKS.parent), "…").replace(home, "~")


def main() -> None:
    """Execute the notebooks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args()
    profile = current_profile(os.environ.get("COURSE_PROFILE", "cpu"))
    os.environ["COURSE_PROFILE"] = profile.name
    for path in options.notebooks or sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        print(f"{path.name} …", end=" ", flush=True)
        print(f"{build(path.resolve(), profile):.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""`make tables`: the tables and the picture of README.md, those of the records, and the set-up cells of the notebooks.

Results come from the records that ship, addresses from `reading_path`. A table stands between `<!-- table: NAME -->`
and `<!-- /table -->`; NAME is a key of TABLES.
"""

import re
from pathlib import Path

from matplotlib.figure import Figure

from course_lib.evaluation import Difference
from course_lib.experiments import RunRecord, load_shipped, report
from course_lib.experiments.claims import CLAIMS, RETRIEVAL
from course_lib.recipes import reading_path
from course_lib.recipes.recorded_runs import RECORDED, shipped_record
from course_lib.storage import DATA, write_atomically

README = Path(__file__).parents[2] / "README.md"
PAGES = (README, DATA / "recorded-runs" / "README.md")
PICTURE = README.parent / "notebooks" / "pictures" / "results.png"
# what a newcomer sees first: {row of the comparison: (what it is, in the picture)}
FIRST = {
    "cropping": (
        "the base encoder, trained further on this text by cropping (notebook 10)",
        "Trained on this\ntext: cropping",
    ),
    "tsdae": ("the base encoder, trained further on this text by TSDAE (notebook 04)", "Trained on this\ntext: TSDAE"),
    "base": ("the base encoder before that training", "Base encoder,\nbefore"),
    "bm25": ("words: BM25", "Words: BM25"),
    "minilm": ("all-MiniLM-L6-v2, which others trained on a billion pairs of texts", "all-MiniLM-L6-v2\n(supervised)"),
}
FIRST_TASKS = {
    "summary_to_description": "Find a description by its summary",
    "see_also": "Find related functions",
    "questions": "Answer a question",
}
# searches on the target that no label has touched, and what they are measured against
WITHOUT_LABELS = ("target-base", "target-cropping_long", "target-hybrid-cropping_long")
YARDSTICKS = ("target-bm25", "target-minilm")
TRAINED_HERE = ("cropping", "tsdae")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """A page with its tables printed again.

    text: Markdown.
    Raises ValueError for a table that is not in TABLES.
    """
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[3]}", text)


def table(name: str) -> str:
    """A table or the picture, as Markdown.

    name: a key of TABLES.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; choose one of {', '.join(TABLES)}")
    return TABLES[name]()


def first() -> str:
    """The rows of FIRST, as Markdown, with two digits, which is more than their intervals allow."""
    lines = [["Search by …", *FIRST_TASKS.values(), "Minutes of training"], ["---"] * (len(FIRST_TASKS) + 2)]
    for method, (what, _) in FIRST.items():
        values = [f"{first_value(method, task):.2f}" for task in FIRST_TASKS]
        lines.append([what, *values, _effort(_recorded(method))[1]])
    return report.markdown_table(lines)


def picture() -> str:
    """The image of README.md, as Markdown whose alt text says what `draw` draws."""
    told = "; ".join(
        f"{title}: " + ", ".join(f"{_flat(short)} {first_value(m, task):.2f}" for m, (_, short) in FIRST.items())
        for task, title in FIRST_TASKS.items()
    )
    return f"![Bars, nDCG@10 on held-out documents. {told}.]({PICTURE.relative_to(README.parent)})"


def draw() -> Figure:
    """The rows of FIRST as bars, one panel per task."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=150, facecolor="white")
    figure.suptitle("How well a search finds its way in documentation (nDCG@10, 1 is perfect)", fontsize=13)
    panels = figure.subplots(1, len(FIRST_TASKS), sharey=True)
    for axes, (task, title) in zip(panels, FIRST_TASKS.items()):
        for y, method in enumerate(FIRST):
            value = first_value(method, task)
            axes.barh(y, value, color="#0072B2" if method in TRAINED_HERE else "#9A9A9A")
            axes.text(value + 0.02, y, f"{value:.2f}", va="center", fontsize=12)
        axes.set_title(title, loc="left", fontsize=12)
        axes.set(xlim=(0, 1), ylim=(len(FIRST) - 0.5, -0.5), xticks=[])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=12)
    panels[0].set_yticks(range(len(FIRST)), [short for _, short in FIRST.values()])
    return figure


def first_value(method: str, task: str) -> float:
    """The mean over seeds of a row of FIRST on a task of FIRST_TASKS."""
    return report.mean_value(_recorded(method), task)


def _recorded(method):
    return load_shipped(method, profile="cpu")


def _flat(text):
    return " ".join(text.split())


def results(domain: str) -> str:
    """Every row of a domain that has a record, those without a training first, as Markdown."""
    rows = [row.runs() for row in RECORDED if row.domain == domain and not row.changes]  # sweeps have figures
    rows.sort(key=lambda runs: bool(runs[0].stages))
    found = ([record for run in runs if (record := shipped_record(run))] for runs in rows)
    rows = [records for records in found if records]
    tasks = {task: result["title"] for records in rows for task, result in records[0].results.items()}
    lines = [["Method", *tasks.values(), "Seeds", "Minutes"], ["---"] * (len(tasks) + 3)]
    lines += [[_title(records[0]), *(_value(records, task) for task in tasks), *_effort(records)] for records in rows]
    return report.markdown_table(lines)


def without_labels() -> str:
    """The searches that no label has touched, each with its distance from BM25 and from the supervised encoder."""
    yardsticks = [_recorded(name) for name in YARDSTICKS]
    titles = [result["title"] for result in yardsticks[0][0].results.values()]
    lines = [["Search", "Minus", *titles, "Seeds"], ["---"] * (len(titles) + 3)]
    for records in filter(None, (_recorded(name) for name in WITHOUT_LABELS)):
        lines.append([records[0].title, "", *(_value(records, task) for task in RETRIEVAL), _effort(records)[0]])
        for other in yardsticks:
            differences = (report.difference(records, other, task) for task in RETRIEVAL)
            lines.append(["", other[0].title, *map(_difference, differences), ""])
    return report.markdown_table(lines)


def claims() -> str:
    """Every claim with the paper's numbers, those of the course, and a verdict."""
    lines = [["Paper", "Claim", "Published", "Here", "Seeds", "Verdict"], ["---"] * 6]
    for claim in CLAIMS:
        found = claim.differences()
        titles = {task: record.results[task]["title"] for record in _recorded(claim.better) for task in found}
        here = "; ".join(f"{titles[task]} {_difference(d)}" for task, d in found.items())
        reason = claim.reason or "its runs have not been recorded yet"
        published = " against ".join(f"{value:.1f}" for value in claim.published_values())
        seeds = str(claim.seeds()) if found else "–"
        lines.append([claim.paper, claim.text, published or "–", here or reason, seeds, claim.verdict(found)])
    return report.markdown_table(lines)


def _difference(difference: Difference) -> str:
    return f"{difference.difference:+.3f} ({difference.low:+.3f}, {difference.high:+.3f})"


def _title(record):
    return record.title if record.profile == "cpu" else f"{record.title} ({record.profile} profile)"


def _value(records: list[RunRecord], task):
    value = report.mean_value(records, task)
    return "–" if value is None else f"{value:.3f}"


def _effort(records: list[RunRecord]):
    if not records[0].training:
        return "–", "–"
    timed = report.timed(records)
    on = "" if timed[0].training["device"] == "cpu" else " (GPU)"
    return str(len(records)), f"{report.training_seconds(timed) / 60:.1f}{on}"


TABLES = {
    "picture": picture,
    "first": first,
    "reading-path": lambda: reading_path.table("notebooks/", badges=True),
    "comparison": lambda: results("python"),
    "adaptation": lambda: results("target"),
    "without-labels": without_labels,
    "claims": claims,
}


def main():
    """Print the tables of the pages again, draw the picture, and write the notebooks' set-up cells."""
    for page in PAGES:
        write_atomically(page, with_tables(page.read_text(encoding="utf-8")))
    PICTURE.parent.mkdir(exist_ok=True)
    draw().savefig(PICTURE)
    reading_path.write_setup_cells()


if __name__ == "__main__":
    main()

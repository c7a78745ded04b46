"""`make tables`: the tables of results in the pages of the course, printed from the records that ship.

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`; NAME is a key of TABLES.
"""

import re
from pathlib import Path
from statistics import mean

from course_lib.evaluation import Difference
from course_lib.experiments import RunRecord, load_shipped, report
from course_lib.experiments.claims import CLAIMS, RETRIEVAL
from course_lib.recipes.recorded_runs import RECORDED, shipped_record
from course_lib.storage import DATA, write_atomically

README = Path(__file__).parents[2] / "README.md"
PAGES = (README, DATA / "recorded-runs" / "README.md")
# searches on the target that no label has touched, and what they are measured against
WITHOUT_LABELS = ("target-base", "target-cropping_long", "target-hybrid-cropping_long")
YARDSTICKS = ("target-bm25", "target-minilm")
BLOCK = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """A page with its tables printed again.

    text: Markdown.
    Raises ValueError for a table that is not in TABLES.
    """
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[3]}", text)


def table(name: str) -> str:
    """A table as Markdown.

    name: a key of TABLES.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; choose one of {', '.join(TABLES)}")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in TABLES[name]())


def _results(domain):
    """The rows of RECORDED that have a record, those without a training first."""
    rows = [row.runs() for row in RECORDED if row.domain == domain]
    rows.sort(key=lambda runs: bool(runs[0].stages))
    found = ([record for run in runs if (record := shipped_record(run))] for runs in rows)
    rows = [records for records in found if records]
    tasks = {task: result["title"] for records in rows for task, result in records[0].results.items()}
    lines = [["Method", *tasks.values(), "Seeds", "Minutes"], ["---"] * (len(tasks) + 3)]
    return lines + [
        [_title(records[0]), *(_value(records, task) for task in tasks), *_effort(records)] for records in rows
    ]


def _without_labels():
    """The searches that no label has touched, each with its distance from BM25 and from the supervised encoder."""
    yardsticks = [load_shipped(name) for name in YARDSTICKS]
    titles = [result["title"] for result in yardsticks[0][0].results.values()]
    yield ["Search", "Minus", *titles, "Seeds"]
    yield ["---"] * (len(titles) + 3)
    for records in filter(None, (load_shipped(name) for name in WITHOUT_LABELS)):
        yield [records[0].title, "", *(_value(records, task) for task in RETRIEVAL), _effort(records)[0]]
        for other in yardsticks:
            differences = (report.difference(records, other, task) for task in RETRIEVAL)
            yield ["", other[0].title, *map(_difference, differences), ""]


def _claims():
    """Every claim with the paper's numbers, those of the course, and a verdict."""
    yield ["Paper", "Claim", "Published", "Here", "Seeds", "Verdict"]
    yield ["---"] * 6
    for claim in CLAIMS:
        found = claim.differences()
        titles = {task: record.results[task]["title"] for record in load_shipped(claim.better) for task in found}
        here = "; ".join(f"{titles[task]} {_difference(d)}" for task, d in found.items())
        reason = claim.reason or "its runs have not been recorded yet"
        published = " against ".join(f"{value:.1f}" for value in claim.published_values())
        yield [claim.paper, claim.text, published or "–", here or reason, *_seeds(claim), claim.verdict(found)]


TABLES = {
    "comparison": lambda: _results("python"),
    "adaptation": lambda: _results("target"),
    "without labels": _without_labels,
    "claims": _claims,
}


def _seeds(claim):
    return [str(claim.seeds()) if claim.differences() else "–"]


def _difference(difference: Difference) -> str:
    return f"{difference.difference:+.3f} ({difference.low:+.3f}, {difference.high:+.3f})"


def _title(record):
    return record.title if record.profile == "cpu" else f"{record.title} ({record.profile} profile)"


def _value(records: list[RunRecord], task):
    values = [record.results[task]["value"] for record in records if task in record.results]
    return f"{mean(values):.3f}" if values else "–"


def _effort(records: list[RunRecord]):
    if not records[0].training:
        return "–", "–"
    timed = report.timed(records)
    on = "" if timed[0].training["device"] == "cpu" else " (GPU)"
    return str(len(records)), f"{report.training_seconds(timed) / 60:.1f}{on}"


def main():
    """Print the tables of the pages again."""
    for page in PAGES:
        write_atomically(page, with_tables(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

"""`make tables`: the tables of results in README.md, printed from the records that ship.

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`; NAME is a key of TABLES.
"""

import re
from pathlib import Path
from statistics import mean

from course_lib.experiments import RunRecord, report
from course_lib.recipes.recorded_runs import RECORDED, shipped_record
from course_lib.storage import write_atomically

README = Path(__file__).parents[2] / "README.md"
TABLES = {"comparison": "python", "adaptation": "target"}  # {name: domain of its rows}
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """A page with its tables printed again.

    text: Markdown.
    Raises ValueError for a table that is not in TABLES.
    """
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[3]}", text)


def table(name: str) -> str:
    """A table as Markdown: the rows of `recorded_runs.RECORDED` that have a record, those without a training first.

    name: a key of TABLES.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; choose one of {', '.join(TABLES)}")
    rows = [row.runs() for row in RECORDED if row.domain == TABLES[name]]
    rows.sort(key=lambda runs: bool(runs[0].stages))
    found = ([record for run in runs if (record := shipped_record(run))] for runs in rows)
    rows = [records for records in found if records]
    tasks = {task: result["title"] for records in rows for task, result in records[0].results.items()}
    lines = [["Method", *tasks.values(), "Seeds", "Minutes"], ["---"] * (len(tasks) + 3)]
    lines += [[_title(records[0]), *(_value(records, task) for task in tasks), *_effort(records)] for records in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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
    """Print the tables of README.md again."""
    write_atomically(README, with_tables(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

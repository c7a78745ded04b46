"""Tables and pages, computed from run records alone."""

import base64
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

from course_lib.evaluation import Difference, Interval, bootstrap_interval, bootstrap_spearman, paired_bootstrap
from course_lib.experiments.records import STS, RunRecord
from course_lib.storage import write_atomically

# --------------------------------------------------------------------------- comparing


def interval(records: list[RunRecord], task: str) -> Interval | None:
    """Interval(value, low, high) of one method on a task, over queries and seeds; None where it was not measured.

    records: of one method, one per seed.
    task: a key of `RunRecord.results`.
    """
    values, scores = _values(records, task)
    if not values:
        return None
    return bootstrap_spearman(values, scores) if task == STS else bootstrap_interval(values)


def difference(records: list[RunRecord], baseline: list[RunRecord], task: str) -> Difference | None:
    """Difference(difference, low, high, p) between two methods on the same queries; None where one was not measured.

    records, baseline: each of one method, one per seed.
    task: a key of `RunRecord.results`.
    """
    (ours, scores), (theirs, _) = _values(records, task), _values(baseline, task)
    if not ours or not theirs:
        return None
    return bootstrap_spearman(ours, scores, theirs) if task == STS else paired_bootstrap(ours, theirs)


def _values(records, task):
    """One item per seed ({query id: value}; for STS the list of cosines), and for STS the human scores."""
    results = [r.results[task] for r in records if task in r.results]
    if task == STS:
        return [list(r["per_query"].values()) for r in results], results[0]["scores"] if results else None
    return [r["per_query"] for r in results], None


def mean_value(records: list[RunRecord], task: str) -> float | None:
    """The result of one method on a task, as the mean over seeds; None where it was not measured."""
    values = [record.results[task]["value"] for record in records if task in record.results]
    return fmean(values) if values else None


def training_seconds(records: list[RunRecord]) -> float:
    """How long the training of one method took: the median over seeds, as one run may have been disturbed."""
    return median(r.seconds for r in records)


def timed(records: list[RunRecord]) -> list[RunRecord]:
    """The runs of one method that say what its training costs: those on two CPU cores or more where there are any.

    Else those on one core, where two runs went side by side, and else those on a GPU.
    """
    on_cpu = [r for r in records if r.training and r.training["device"] == "cpu"]
    return [r for r in on_cpu if r.machine["threads"] > 1] or on_cpu or records


# --------------------------------------------------------------------------- tables


def table(records: list[RunRecord]) -> list[dict]:
    """Rows for printing: one dict per method, in the order of the records; a value is an Interval or None.

    A run whose training was interrupted is left out.
    """
    finished = [r for r in records if not r.training or r.training["outcome"] != "interrupted"]
    tasks = list(dict.fromkeys(t for r in finished for t in r.results))
    rows = []
    for method in dict.fromkeys(r.method for r in finished):
        mine = [r for r in finished if r.method == method]
        note = f" ({mine[0].note})" if mine[0].note else ""
        row = {"method": mine[0].title + note, **{t: interval(mine, t) for t in tasks}, "seeds": len(mine)}
        cost = timed(mine)
        row["seconds"] = training_seconds(cost) if mine[0].training else None
        row["texts_per_second"] = sum(r.texts_per_second for r in cost) / len(cost) or None
        row["peak_memory"] = max(r.peak_memory for r in cost) or None
        rows.append(row)
    return rows


def task_titles(records: list[RunRecord]) -> dict[str, str]:
    """{task: "title, metric"} for headings."""
    return {t: f"{res['title']}, {res['metric']}" for r in records for t, res in r.results.items()}


def _cells(row, titles):
    yield row["method"]
    for task in titles:
        value = row[task]
        yield "–" if value is None else f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
    yield "–" if row["seconds"] is None else f"{row['seconds']:.0f}"
    yield "–" if row["texts_per_second"] is None else f"{row['texts_per_second']:.0f}"
    yield "–" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**30:.1f} GB"


def _heading(titles):
    return ["Method", *titles.values(), "Training s", "Sentences/s", "Peak memory"]


def as_rich_table(records: list[RunRecord]):
    """The comparison as a rich Table for a terminal; intervals stand under their values, to fit 100 columns."""
    from rich import box
    from rich.table import Table

    titles = task_titles(records)
    title = (
        "How well each method finds the right text, from 0 to 1, on documents that none was trained on\n"
        f"({records[0].profile} profile; under each value its 95 % interval)"
    )
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), collapse_padding=True)
    for i, heading in enumerate(_heading(titles)):
        for words in ("Summary →", "Across", "Training", "Peak"):
            heading = heading.replace(f"{words} ", f"{words}\n")
        heading = heading.replace(", ", "\n").replace("/s", "\n/s")
        shown.add_column(heading, justify="right" if i else "left", no_wrap=i > 0, min_width=0 if i else 16)
    for row in table(records):
        shown.add_row(*(re.sub(r" \[(-?)0(.*), (-?)0(.*)\]", r"\n\1\2–\3\4", c) for c in _cells(row, titles)))
    return shown


def as_markdown(records: list[RunRecord]) -> str:
    """The comparison as a Markdown table."""
    titles = task_titles(records)
    lines = [_heading(titles), ["---"] * (len(titles) + 4), *(list(_cells(r, titles)) for r in table(records))]
    return markdown_table(lines)


def markdown_table(lines: Iterable[Iterable[str]]) -> str:
    """A table as Markdown.

    lines: of cells: the headings, then "---" for each (or "---:" to align it on the right), then the rows.
    """
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PAGE = """<!doctype html><html lang='en'><meta charset='utf-8'><title>Comparison</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}
td,th{{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #ccc}}
td:first-child,th:first-child{{text-align:left}} img{{max-width:100%}}
</style><h1>Comparison of methods, {profile} profile</h1>
<p>Every number is computed from the run records; brackets hold 95 % bootstrap intervals over queries.</p>
<table><thead>{head}</thead><tbody>{body}</tbody></table>
<img alt='Bars: each method on each task with its 95 % interval, the values of the table' src='{picture}'>
<p>Machine: {machine}<br>Versions: {versions}</p></html>
"""


def as_html(records: list[RunRecord], picture: bytes) -> str:
    """The comparison as one page.

    picture: a PNG to embed.
    """
    titles, about = task_titles(records), records[0]

    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return PAGE.format(
        profile=html.escape(about.profile),
        head=line(_heading(titles), "th"),
        body="".join(line(_cells(row, titles), "td") for row in table(records)),
        picture=f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        machine=html.escape(json.dumps(about.machine)),
        versions=html.escape(json.dumps(about.versions)),
    )


def write_comparison(records: list[RunRecord], picture: bytes, folder: str | Path) -> dict[str, Path]:
    """Write comparison-<profile>.png and .html into a folder.

    picture: the PNG.
    Returns {"picture": path, "page": path}.
    """
    stem = Path(folder) / f"comparison-{records[0].profile}"
    files = {"picture": stem.with_suffix(".png"), "page": stem.with_suffix(".html")}
    write_atomically(files["picture"], picture)
    write_atomically(files["page"], as_html(records, picture))
    return files

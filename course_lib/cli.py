"""`course …`: what this machine has, the comparison, a search, and an encoder adapted to your own text."""

import json
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


class Commands(typer.core.TyperGroup):
    """The commands; warnings are one line, and an interruption ends with one and the exit code 130."""

    def invoke(self, ctx):
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("\nStopped. The same command continues; what is finished is kept.", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    help="Learn text embeddings without labels.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
WIDTH = max(106, min(120, shutil.get_terminal_size().columns))  # the table needs 106
console = Console(width=WIDTH, highlight=False)
ProfileOption = Annotated[
    str | None, typer.Option(help="smoke, cpu, gpu or full; by default what the machine suggests.")
]
KINDS = "a folder, a zip, or a .txt, .md, .html, .csv, .jsonl, .pdf …"
ColumnOption = Annotated[str | None, typer.Option(help="Of a table: the column that holds the text.")]
Methods = Annotated[list[str] | None, typer.Argument(help="simcse, tsdae …; by default all that the course teaches.")]


@app.command()
def doctor():
    """Say what this machine has, which profile it gets, what is missing and what to do about it."""
    from course_lib import doctor

    table = Table(show_header=False, box=None, padding=(0, 1))
    checks = doctor.checks()
    for check in checks:
        mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]problem[/]"}[check.state]
        table.add_row(mark, check.name, check.found + (f"\n→ {check.remedy}" if check.remedy else ""))
    console.print(table)
    if any(c.state == "problem" for c in checks):
        raise typer.Exit(1)


@app.command()
def compare(
    methods: Methods = None,
    profile: ProfileOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Train with this many seeds.")] = None,
    sentences: Annotated[int | None, typer.Option(help="Train on this many sentences, not the profile's.")] = None,
    method: Annotated[Path | None, typer.Option(help="A Python file with a method of your own (notebook 11).")] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all methods and pipelines, three seeds; hours.")] = False,
):
    """Train what the course teaches, measure it on held-out labels, print the comparison; finished runs are kept."""
    from course_lib import experiments
    from course_lib.experiments import report, runs
    from course_lib.notebook.plots import comparison_picture

    try:
        own = experiments.add_method(method) if method else None
        chosen = experiments.current_profile(profile)
        chosen = chosen if sentences is None else chosen.at_sentences(sentences)
        console.print(f"Profile: {chosen.name} ({chosen.purpose}). Ctrl-C stops; the same command continues.")
        seeds = range(seeds or 3) if seeds or full else None
        records = experiments.compare(chosen, methods, seeds, say=console.print, own=own, full=full)
    except (ValueError, OSError, FloatingPointError) as error:
        _fail(error)
    if not records:
        raise typer.Exit(1)
    console.print(report.as_rich_table(records))
    files = report.write_comparison(records, comparison_picture(records), runs.runs_folder())
    console.print(f"Picture: {files['picture']}\nPage:    {files['page']}\nNotebooks: make lab", soft_wrap=True)
    if full and not methods:
        console.print("Now the pipelines of domain adaptation, on the target libraries (notebooks 08 to 10).")
        try:
            console.print(report.as_rich_table(experiments.compare_pipelines(chosen, seeds, say=console.print)))
        except (ValueError, OSError, FloatingPointError) as error:
            _fail(error)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What you look for, in your own words.")],
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="bm25, base, minilm, simcse …, hybrid, gpl, or a model's path; given twice, they are merged."
        ),
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let a cross-encoder read the best 50 again.")] = False,
    results: Annotated[int, typer.Option("--results", "-k", min=1, help="How many to show.")] = 5,
    corpus: Annotated[Path | None, typer.Option(help=f"Your own text: {KINDS}.")] = None,
    column: ColumnOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for other programs.")] = False,
    profile: ProfileOption = None,
):
    """Search your Python documentation, or your own text, by meaning.

    Of your own text, what was read and embedded is kept in the course's cache folder; after a change only the new
    passages are embedded. Without --encoder, all-MiniLM-L6-v2 searches; where that model is not on this machine or
    cannot read the language, BM25 does, by words.
    """
    from course_lib.search import Reranked

    if not query.strip():
        _fail(ValueError('the query is empty; say what you look for, as in: course search "merge two tables"'))
    try:
        if column and not corpus:
            raise ValueError("--column names a column of your own table; give the table too: --corpus FILE")
        found = _search_in(corpus, encoder or [], column, profile, not as_json or sys.stderr.isatty())
        ranked = Reranked(found, _cross_encoder()) if rerank else found
        hits = ranked.search(query, k=results)
    except (ValueError, OSError, TypeError, ImportError) as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps([_as_row(hit) for hit in hits], indent=1))
    else:
        title = found.title + (", re-ranked by the cross-encoder" if rerank else "")
        console.print(f"{len(found.passages):,} texts, searched with: {title}", soft_wrap=True)
        if found.hint:
            console.print(found.hint)
        for rank, (hit, sentence) in enumerate(zip(hits, found.best_sentences(query, [hit.text for hit in hits])), 1):
            _show(rank, hit, query, sentence)
        if not hits:
            console.print("Nothing shares a word with the query. Try an encoder: --encoder minilm")
    if corpus:
        _show_what_was_left_out(found.passages, to=Console(stderr=True, width=WIDTH) if as_json else console)


def _search_in(corpus, encoders, column, profile, progress):
    """The search in a reader's own text, or in the documentation."""
    from course_lib import experiments

    if corpus:
        return experiments.OwnSearch(corpus, encoders, column, profile, progress)
    chosen = experiments.current_profile(profile)
    return experiments.DocumentationSearch(encoders, chosen, progress)


def _cross_encoder():
    from course_lib import experiments

    return experiments.load_cross_encoder()


def _as_row(hit):
    """One result for --json; a function of the documentation has its name as heading, and neither file nor line."""
    from course_lib.texts.own_text import Passage

    passage = hit.text if isinstance(hit.text, Passage) else Passage(hit.text, headings=(str(hit.id),))
    place = {"file": passage.file, "heading": passage.heading, "line": passage.line}
    return {"text": passage.text, **place, "score": round(float(hit.score), 6)}


def _show(rank, hit, query, sentence):
    """Print one result: where it stands, then its text with the best sentence and the query's words in it marked."""
    from course_lib.search import matched_words
    from course_lib.texts.own_text import Passage, place

    words = matched_words(query, hit.text)
    own = isinstance(hit.text, Passage)
    head = Text(f"{rank}. ") + Text(place(hit.text) if own else str(hit.id), style="bold")
    if own and hit.text.heading:
        head.append(f" › {hit.text.heading}")
    head.append(f"  {hit.score:.3f}  ").append(f"shares {', '.join(words) or 'no word'}", style="dim")
    console.print(head, soft_wrap=True)
    text = hit.text.text if own else hit.text
    shown = Text(text, style="dim")
    if len(sentence) < len(text) and sentence in text:
        start = text.index(sentence)
        shown.stylize("not dim", start, start + len(sentence))
    elif sentence:
        shown = Text(text)
    for word in words:
        shown.highlight_regex(rf"(?<!\w){re.escape(word)}(?!\w)", style="bold underline not dim")
    console.print(Padding(shown, (0, 0, 0, 3), expand=False))


@app.command()
def adapt(
    corpus: Annotated[Path, typer.Argument(help=f"Your own text: {KINDS}.")],
    output: Annotated[Path, typer.Argument(help="A new folder for the encoder.")],
    start: Annotated[
        str, typer.Option(help="all-MiniLM-L6-v2 (supervised), base (never saw a label), a path or a hub name.")
    ] = "all-MiniLM-L6-v2",
    method: Annotated[
        str | None, typer.Option(help="cropping, simcse, tsdae, ct or ct_in_batch; by default what fits the text.")
    ] = None,
    column: ColumnOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train this many steps, not the profile's.")] = None,
    profile: ProfileOption = None,
):
    """Train a sentence encoder further on your own text, without a label, and measure what that changed.

    The method is cropping, the strongest without labels in the course's recorded runs; for texts of a line SimCSE,
    because little is left of them when they are cropped. all-MiniLM-L6-v2 is the better start for most people.

    What changed is measured without labels, on documents kept out of training: does a heading find its passage, and
    the first half of a passage the second? Nothing is ever overwritten.
    """
    from course_lib import experiments
    from course_lib.experiments import own_encoder, proxies
    from course_lib.texts import own_text

    try:
        chosen = experiments.current_profile(profile)
        own_encoder.check_output(output)
        passages = own_text.load(corpus, column)
        _show_what_was_left_out(passages)
        duplicates = f", {passages.duplicates:,} more were duplicates" if passages.duplicates else ""
        console.print(f"{len(passages):,} texts{duplicates}. Ctrl-C stops; the same command continues.")
        adaptation = experiments.Adaptation(passages, output, chosen, start, method, steps)
        _show_facts(adaptation.plan())
        record, gains = adaptation.run()
    except (ValueError, OSError, TypeError, FloatingPointError) as error:
        _fail(error)
    console.print(str(record).partition("\n")[0])
    _show_gains(gains)
    console.print(f"{proxies.conclusion(gains)}.", style="bold")
    again = f'course search "…" --corpus {shlex.quote(str(corpus))} --encoder {shlex.quote(str(output))}'
    console.print(f"Model and card: {escape(str(output))}\nTry it:\n{escape(again)}", soft_wrap=True)


def _show_facts(facts):
    table = Table(show_header=False, box=None, padding=(0, 1))
    for what, value in facts.items():
        table.add_row(what, escape(value))
    console.print(table)


def _show_gains(gains):
    table = Table(box=None, padding=(0, 1))
    for column in ("nDCG@10, without labels", "queries", "before", "after", "difference (95 %)", ""):
        table.add_column(column, justify="right" if column in ("queries", "before", "after") else "left")
    for gain in gains:
        change = "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain.difference[:3])
        table.add_row(gain.task, f"{gain.queries}", f"{gain.before:.3f}", f"{gain.after:.3f}", change, gain.verdict)
    if gains:
        console.print(table)


def _show_what_was_left_out(reading, to=None):
    """Print a table of the files that were not read, and of what else a reader has to know about the others."""
    from course_lib.texts.own_text import grouped

    rows = [("left out", *row) for row in grouped(reading.skipped)] + [("note", *row) for row in grouped(reading.notes)]
    table = Table(box=None, padding=(0, 1), title=f"{reading.files:,} files read", title_justify="left")
    for column in ("", "files", "why", "which"):
        table.add_column(column, justify="right" if column == "files" else "left")
    for kind, count, why, names in rows:
        table.add_row(kind, f"{count:,}", escape(why), escape(names))
    if rows:
        (to or console).print(table, style="dim")


def _show_warning(message, *_):
    Console(stderr=True, highlight=False).print(f"[yellow]Warning[/]: {escape(str(message))}")


def _fail(error):
    Console(stderr=True, highlight=False).print(f"[red]{type(error).__name__}[/]: {escape(str(error))}")
    raise typer.Exit(2)


if __name__ == "__main__":
    app()

"""`course …`: what this machine has, the comparison, and a search."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(
    help="Learn text embeddings without labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=max(106, min(120, shutil.get_terminal_size().columns)), highlight=False)  # the table needs 106
ProfileOption = Annotated[
    str | None, typer.Option(help="smoke, cpu, gpu or full; by default what the machine suggests.")
]


@app.command()
def doctor():
    """Say what this machine has, which profile it gets, what is missing and what to do about it."""

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
    methods: Annotated[
        list[str] | None, typer.Argument(help="simcse, tsdae …; by default all that the course teaches.")
    ] = None,
    profile: ProfileOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Train with so many seeds.")] = None,
    sentences: Annotated[int | None, typer.Option(help="Train on so many sentences instead of the profile's.")] = None,
):
    """Train what the course teaches, measure it on held-out labels, print the comparison. Finished runs are not repeated."""
    from course_lib.experiments import comparison
    from course_lib.experiments import runs as experiments

    try:
        chosen = _profile(profile) if sentences is None else _profile(profile).at_sentences(sentences)
        experiments.check_methods(methods)
    except ValueError as error:
        _fail(error)
    console.print(f"Profile: {chosen.name} ({chosen.purpose}). Ctrl-C stops; the same command goes on.")
    records, files = experiments.compare(chosen, methods, seeds=range(seeds) if seeds else None, say=console.print)
    console.print(comparison.as_rich_table(records))
    console.print(f"Picture: {files['picture']}\nPage:    {files['page']}\nNotebooks: make lab", soft_wrap=True)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What you look for, in your own words.")],
    encoder: Annotated[
        str | None, typer.Option(help="bm25, base, simcse …, hybrid, gpl, or the path of a model.")
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let a cross-encoder read the best 50 again.")] = False,
    results: Annotated[int, typer.Option("--results", "-k", min=1, help="How many to show.")] = 5,
    corpus: Annotated[Path | None, typer.Option(help="Your own text: .txt, .csv, .jsonl or a folder.")] = None,
    profile: ProfileOption = None,
):
    """Search your Python documentation, or your own text, by meaning."""
    from course_lib.experiments import runs as experiments
    from course_lib.experiments.adaptation_runs import load_judge
    from course_lib.search import Reranked, matched_words, nearest_sentence
    from course_lib.texts import own_text

    if not query.strip():
        _fail(ValueError('the query is empty; say what you look for, as in: course search "merge two tables"'))
    try:
        chosen = _profile(profile)
        method = encoder or experiments.best_trained(chosen)
        texts = own_text.load(corpus) if corpus else experiments.load_docs().search_texts
        searcher = experiments.searcher(method, texts, chosen)
        hits = (Reranked(searcher, load_judge()) if rerank else searcher).search(query, k=results)
    except (ValueError, OSError, TypeError) as error:
        _fail(error)
    console.print(
        f"{len(texts):,} texts, searched with: {experiments.METHODS.get(method, method)}"
        + (", re-ranked by the cross-encoder" if rerank else "")
    )
    for rank, hit in enumerate(hits, 1):
        title = hit.id if isinstance(hit.id, str) else f"text {hit.id + 1}"
        words = ", ".join(matched_words(query, hit.text)) or "no word"
        shown = hit.text[:240]
        if len(hit.text) > 240 and hasattr(searcher, "encoder"):
            shown = f"… {nearest_sentence(searcher.encoder, query, hit.text)[:240]} …"
        console.print(
            f"[bold]{rank}. {escape(title)}[/]  {hit.score:.3f}  [dim]shares {escape(words)}[/]\n   {escape(shown)}"
        )
    if not hits:
        console.print("Nothing shares a word with the query. Try an encoder: --encoder base")


@app.command()
def adapt(
    corpus: Annotated[Path, typer.Argument(help="Your own text: .txt, .md, .csv, .jsonl or a folder.")],
    output: Annotated[Path, typer.Argument(help="A new folder for the encoder.")],
    start: Annotated[
        str | None, typer.Option(help="The path or hub name of another encoder than all-MiniLM-L6-v2.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train so many steps instead of the profile's.")] = None,
    profile: ProfileOption = None,
):
    """Adapt a finished sentence encoder to your own text, without a label (notebook 10 says when that helps)."""
    from course_lib.experiments import adaptation_runs
    from course_lib.texts import own_text

    try:
        chosen, texts = _profile(profile), own_text.load(corpus)
        console.print(f"{len(texts):,} texts. Ctrl-C stops; the same command goes on.")
        record = adaptation_runs.adapt(texts, output, chosen, start, steps)
    except (ValueError, OSError, TypeError) as error:
        _fail(error)
    if record.outcome == "interrupted":
        raise KeyboardInterrupt
    console.print(
        f"{len(record.steps)} steps in {record.seconds:.0f} s; loss {record.losses[0]:.2f} → {record.losses[-1]:.2f}. Try "
        f'it:\ncourse search "…" --corpus {corpus} --encoder {output}',
        soft_wrap=True,
    )


def _profile(name):
    from course_lib.experiments.profiles import current_profile

    try:
        return current_profile(name)
    except ValueError as error:
        _fail(error)


def _fail(error):
    Console(stderr=True, highlight=False).print(f"[red]{type(error).__name__}[/]: {escape(str(error))}")
    raise typer.Exit(2)


def main():
    """The console script: one clear line for an interruption, not a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        app()
    except KeyboardInterrupt:
        print("Stopped. The same command goes on where it was.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

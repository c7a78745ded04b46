"""A search box over the learner's own texts, with several ways of searching side by side."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import ipywidgets

from course_lib.notebook.widgets.panel import Panel, as_text, field, note, redraw_on_change
from course_lib.search import Reranked, matched_words, nearest_sentence

SHOWN = 3  # columns that can be read side by side
LONGEST = 240  # characters of a text that are shown
# of these BM25's list of stop words leaves some out; a text that shares no other word with a question shares nothing
QUESTION_WORDS = frozenset("how what which who why when where do does did can could should i me my we you e g".split())


def search_box(
    searchers: dict[str, Any],
    query: str = "",
    k: int = 5,
    cross_encoder: Any = None,
    documents: Mapping[Any, str] | None = None,
) -> Panel:
    """Put one question to several searchers and read their best texts next to each other.

    Words that a text shares with the question, as BM25 compares them, are marked, except for QUESTION_WORDS. A long
    text is cut to where they are, or to its sentence nearest in meaning where there are none. A hit says which other
    searchers found it too, and opens when it is clicked.

    searchers: {name: whatever has .search(query, k) → [Hit(id, score, text), …]}, or a function without arguments that
        makes one when it is first needed. With more than three, check boxes choose three of them.
    query: the first question.
    k: hits per searcher.
    cross_encoder: whatever has .predict(pairs); it adds a check box that re-ranks with it what each searcher finds.
    documents: {id: what a hit shows when it is opened}; default the text that was searched.
    Returns a Panel. Raises ValueError without a searcher, TypeError for one that cannot search.
    """
    searchers = _checked(searchers)
    line = field(query, "Type a question and press Enter", "Question")
    button = ipywidgets.Button(description="Search", icon="search", tooltip="Search (or press Enter)")
    boxes = {name: ipywidgets.Checkbox(i < SHOWN, description=name, indent=False) for i, name in enumerate(searchers)}
    rerank = ipywidgets.Checkbox(False, description="re-ranked by the cross-encoder", indent=False)
    choices = (list(boxes.values()) if len(boxes) > SHOWN else []) + ([rerank] if cross_encoder is not None else [])
    status, results, progress = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.Output()
    answered = []  # the question that the results are of, and what was chosen

    def search():
        question, state = line.value.strip(), [line.value.strip(), *(box.value for box in choices)]
        if answered == state:  # pressing the button leaves the field, which has asked already
            return
        asked = {}
        for name in (name for name, box in boxes.items() if box.value):
            status.value = note(f"Searching: {name} …")  # a re-ranker may take seconds
            if inspect.isfunction(searchers[name]):
                status.value = note(f"Preparing {name}: its texts are embedded once, which may take a minute …")
                with progress:  # its progress bar
                    searchers[name] = searchers[name]()
                progress.clear_output()
            asked[name] = Reranked(searchers[name], cross_encoder) if rerank.value else searchers[name]
        results.value = _results(question, asked, k, documents or {})
        status.value, answered[:] = "", state

    search()
    redraw_on_change([line, button, *choices], search, status)
    _keep_readable(list(boxes.values()))
    named = " and ".join(searchers)
    rows = [ipywidgets.HBox(choices, layout=ipywidgets.Layout(flex_flow="row wrap"))] if choices else []
    return Panel(
        f"Search box: {named}",
        [ipywidgets.HBox([line, button]), *rows, status, progress, results],
        lambda: f"<p><b>Question:</b> {as_text(line.value.strip() or '…')}</p>{results.value}",
    )


def _keep_readable(boxes):
    """Of more than SHOWN ticked boxes, untick the one that was ticked first."""
    ticked = [box for box in boxes if box.value]

    def change(event):
        box = event["owner"]
        if box in ticked:
            ticked.remove(box)
        if box.value:
            ticked.append(box)
        if len(ticked) > SHOWN:
            ticked[0].value = False

    for box in boxes:
        box.observe(change, "value")


def _results(question, searchers, k, documents):
    if not question or not searchers:
        return note("Type a question to see what is found." if searchers else "Tick a search to see what it finds.")
    found = {name: searcher.search(question, k=k) for name, searcher in searchers.items()}
    encoders = {name: _encoder_of(searcher) for name, searcher in searchers.items()}
    return _columns(question, found, encoders, documents)


def _encoder_of(searcher):
    """The encoder with which a searcher compares texts, also behind a re-ranker; None where there is none."""
    while not hasattr(searcher, "encoder") and hasattr(searcher, "searcher"):
        searcher = searcher.searcher
    return getattr(searcher, "encoder", None)


def _checked(searchers):
    if not isinstance(searchers, dict) or not searchers:
        raise ValueError(
            f"searchers is {searchers!r:.60}; pass {{name: searcher}} with at least one, such as "
            "{'by words': BM25Search(texts)}"
        )
    for name, searcher in searchers.items():
        if not inspect.isfunction(searcher) and not callable(getattr(searcher, "search", None)):
            raise TypeError(
                f"searchers[{name!r}] is a {type(searcher).__name__}, which has no .search(query, k); "
                "wrap an encoder as ExactSearch(encoder, texts)"
            )
    return dict(searchers)


def _columns(question, found, encoders, documents):
    """One column per searcher; they stand below each other where the page is narrow."""
    columns = ""
    for name, hits in found.items():
        told = "".join(_hit(question, name, place, found, encoders[name], documents) for place in range(len(hits)))
        told = told or note(f"{name} finds nothing: no text fits.")
        title = f'<p style="margin:0.3em 0"><b>{as_text(name)}</b></p>'
        columns += f'<div style="flex:1 1 16em;min-width:0;line-height:1.35">{title}{told}</div>'
    return f'<div style="display:flex;flex-wrap:wrap;gap:0.3em 1.6em">{columns}</div>'


def _hit(question, name, place, found, encoder, documents):
    """The hit at a place (from 0) of one searcher's list, as HTML."""
    hit = found[name][place]
    shown, marked = _excerpt(question, hit.text)
    nearest = not marked and encoder is not None and len(hit.text) > LONGEST
    if nearest:
        shown, _ = _excerpt(question, nearest_sentence(encoder, question, hit.text))
    also = [
        f"{other}: {_ordinal(rank)}"
        for other, hits in found.items()
        if other != name
        for rank, one in enumerate(hits, 1)
        if one.id == hit.id
    ]
    remarks = ([] if marked else ["no word in common" + ("; its nearest sentence" if nearest else "")]) + (
        ["also " + ", ".join(also)] if also else []
    )
    line = f"{place + 1}. <b>{_breakable(hit.id)}</b> &nbsp; {hit.score:.2f}<br>{shown}" + (
        f"<br><small><i>{as_text('; '.join(remarks))}</i></small>" if remarks else ""
    )
    whole = documents.get(hit.id, hit.text)
    if whole == hit.text and len(whole) <= LONGEST:
        return f'<p style="margin:0.4em 0">{line}</p>'
    whole = f'<p style="margin:0.3em 0 0.6em 1em">{as_text(whole)}</p>'
    return f'<details style="margin:0.4em 0"><summary>{line}</summary>{whole}</details>'


def _breakable(name):
    """A hit's id as HTML; a long dotted one may break after its dots, where it would run into the next column."""
    if len(str(name)) > 24 and re.fullmatch(r"[\w.]+", str(name)):
        return re.sub(r"(?<=[._])", "<wbr>", as_text(name))
    return as_text(name)


def _excerpt(question, text):
    """A text as HTML with shared words marked, and their number; a long text begins shortly before the first."""
    pieces = re.split(r"([^\W_]+)", text)  # every second piece is a word, or several that camel case joins
    shared = [_shared_words(question, piece) if i % 2 else [] for i, piece in enumerate(pieces)]
    first = next((i for i, words in enumerate(shared) if words), 0)
    start = 0 if len(text) <= LONGEST else _start(pieces, first)
    shown, length = [], 0
    for piece, words in zip(pieces[start:], shared[start:]):
        if length + len(piece) > LONGEST:
            break
        shown.append(_marked(piece, words))
        length += len(piece)
    whole = start + len(shown) == len(pieces) and text.rstrip().endswith((".", "?", "!", ":", ";", ")", "…"))
    return ("… " if start else "") + "".join(shown) + ("" if whole else " …"), sum(map(bool, shared))


def _shared_words(question, piece):
    return [word for word in matched_words(question, piece) if word.lower() not in QUESTION_WORDS]


def _start(pieces, first):
    """Where to begin, so that the first shared word is near the front."""
    before, start = 0, first
    while start and before + len(pieces[start - 1]) < LONGEST // 3:
        start -= 1
        before += len(pieces[start])
    return start


def _marked(piece, words):
    """A piece of text as HTML, with the matched words in it marked."""
    shown = ""
    for word in words:
        before, _, piece = piece.partition(word)
        shown += f"{as_text(before)}<mark><b>{as_text(word)}</b></mark>"
    return shown + as_text(piece)


def _ordinal(place):
    return f"{place}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(place, 'th') }"

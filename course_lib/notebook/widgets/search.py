"""A search box over the learner's own texts, with several ways of searching side by side."""

import inspect
import re
from typing import Any

import ipywidgets

from course_lib.notebook.widgets.panel import Panel, as_text, field, note, redraw_on_change
from course_lib.search import Reranked, matched_words, nearest_sentence

SHOWN = 3  # columns that can be read side by side
LONGEST = 240  # characters of a text that are shown


def search_box(searchers: dict[str, Any], query: str = "", k: int = 5, cross_encoder: Any = None) -> Panel:
    """Put one question to several searchers and read their best texts next to each other.

    Words that a text shares with the question, as BM25 compares them, are marked. A long text is cut to where they are,
    or to its sentence nearest in meaning where there are none. A hit says which other searchers found it too.

    searchers: {name: whatever has .search(query, k) → [Hit(id, score, text), …]}, or a function without arguments that
        makes one when it is first needed. With more than three, check boxes choose which are shown.
    query: the first question.
    k: hits per searcher.
    cross_encoder: whatever has .predict(pairs); it adds a check box that re-ranks with it what each searcher finds.
    Returns a Panel. Raises ValueError without a searcher, TypeError for one that cannot search.
    """
    searchers = _checked(searchers)
    line = field(query, "Type a question and press Enter", "Question")
    button = ipywidgets.Button(description="Search", icon="search", tooltip="Search (or press Enter)")
    boxes = {name: ipywidgets.Checkbox(i < SHOWN, description=name, indent=False) for i, name in enumerate(searchers)}
    rerank = ipywidgets.Checkbox(False, description="re-ranked by the cross-encoder", indent=False)
    choices = (list(boxes.values()) if len(boxes) > SHOWN else []) + ([rerank] if cross_encoder is not None else [])
    status, results = ipywidgets.HTML(), ipywidgets.HTML()
    answered = []  # the question that the results are of, and what was chosen

    def search():
        question, state = line.value.strip(), [line.value.strip(), *(box.value for box in choices)]
        if answered == state:  # pressing the button leaves the field, which has asked already
            return
        asked = {}
        for name in (name for name, box in boxes.items() if box.value):
            status.value = note(f"Searching: {name} …")  # a re-ranker may take seconds
            if inspect.isfunction(searchers[name]):
                searchers[name] = searchers[name]()
            asked[name] = Reranked(searchers[name], cross_encoder) if rerank.value else searchers[name]
        results.value = _results(question, asked, k)
        status.value, answered[:] = "", state

    search()
    redraw_on_change([line, button, *choices], search, status)
    named = " and ".join(searchers)
    rows = [ipywidgets.HBox(choices, layout=ipywidgets.Layout(flex_flow="row wrap"))] if choices else []
    return Panel(
        f"Search box: {named}",
        [ipywidgets.HBox([line, button]), *rows, status, results],
        lambda: f"<p><b>Question:</b> {as_text(line.value.strip() or '…')}</p>{results.value}",
    )


def _results(question, searchers, k):
    if not question or not searchers:
        return note("Type a question to see what is found." if searchers else "Tick a search to see what it finds.")
    found = {name: searcher.search(question, k=k) for name, searcher in searchers.items()}
    encoders = {name: _encoder_of(searcher) for name, searcher in searchers.items()}
    return _table(question, found, encoders)


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


def _table(question, found, encoders):
    """One column per searcher, one row per rank."""
    cell = (
        f'align="left" style="text-align:left;vertical-align:top;width:{100 // len(found)}%;white-space:normal;'
        'line-height:1.35;padding:0.35em 0.8em 0.35em 0"'
    )
    head = "".join(f"<th {cell}>{as_text(name)}</th>" for name in found)
    rows = "".join(
        "<tr>"
        + "".join(f"<td {cell}>{_hit(question, name, place, found, encoders[name])}</td>" for name in found)
        + "</tr>"
        for place in range(max(map(len, found.values())))
    )
    nothing = "".join(note(f"{name} finds nothing: no text fits.") for name, hits in found.items() if not hits)
    return f'<table style="width:100%"><tr>{head}</tr>{rows}</table>{nothing}'


def _hit(question, name, place, found, encoder):
    """The hit at a place (from 0) of one searcher's list, as HTML; nothing where the list is shorter."""
    if place >= len(found[name]):
        return ""
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
    return f"{place + 1}. <b>{_breakable(hit.id)}</b> &nbsp; {hit.score:.2f}<br>{shown}" + (
        f"<br><small><i>{as_text('; '.join(remarks))}</i></small>" if remarks else ""
    )


def _breakable(name):
    """A hit's id as HTML; a long dotted one may break after its dots, where it would run into the next column."""
    if len(str(name)) > 24 and re.fullmatch(r"[\w.]+", str(name)):
        return re.sub(r"(?<=[._])", "<wbr>", as_text(name))
    return as_text(name)


def _excerpt(question, text):
    """A text as HTML with shared words marked, and their number; a long text begins shortly before the first."""
    pieces = re.split(r"([^\W_]+)", text)  # every second piece is a word, or several that camel case joins
    shared = [matched_words(question, piece) if i % 2 else [] for i, piece in enumerate(pieces)]
    first = next((i for i, words in enumerate(shared) if words), 0)
    start = 0 if len(text) <= LONGEST else _start(pieces, first)
    shown, length = [], 0
    for piece, words in zip(pieces[start:], shared[start:]):
        if length + len(piece) > LONGEST:
            shown.append(" …")
            break
        shown.append(_marked(piece, words))
        length += len(piece)
    return ("… " if start else "") + "".join(shown), sum(map(bool, shared))


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

"""Two searches judged side by side by a person who does not know which is which."""

import random
from collections.abc import Sequence
from typing import Any

import ipywidgets

from course_lib.evaluation import bootstrap_interval
from course_lib.notebook.widgets.panel import Panel, as_text, note, redraw_on_change

ANSWERS = {"left is better": 1, "no difference": 0, "right is better": -1}


class Judging(Panel):
    """The panel of `judge_searches`.

    verdicts: {query: 1 where the first search was preferred, −1 where the second was, 0 for no difference}.
    """

    def __init__(self, searchers: dict[str, Any], queries: Sequence[str], k: int, seed: int):
        self.verdicts: dict[str, int] = {}
        self._names, self._queries, chance = list(searchers), list(queries), random.Random(seed)
        self._found = {q: {name: s.search(q, k) for name, s in searchers.items()} for q in self._queries}
        chance.shuffle(self._queries)
        self._first_is_left = {query: chance.random() < 0.5 for query in self._queries}
        buttons = [ipywidgets.Button(description=answer) for answer in ANSWERS]
        back = ipywidgets.Button(description="back", icon="undo", tooltip="Take the last answer back")
        self._page, status = ipywidgets.HTML(), ipywidgets.HTML()
        for button in buttons:
            redraw_on_change([button], lambda value=ANSWERS[button.description]: self._answer(value), status)
        redraw_on_change([back], self._take_back, status)
        super().__init__(
            f"Judging: {' and '.join(self._names)}, side by side",
            [self._page, ipywidgets.HBox([*buttons, back]), status],
            lambda: self._page.value,
        )
        self._draw()

    @property
    def query(self) -> str | None:
        """The query that is judged now; None after the last."""
        return next((query for query in self._queries if query not in self.verdicts), None)

    def _answer(self, left):
        if (query := self.query) is not None:
            self.verdicts[query] = left if self._first_is_left[query] else -left
        self._draw()

    def _take_back(self):
        if self.verdicts:
            self.verdicts.popitem()
        self._draw()

    def _draw(self):
        self._page.value = self.conclusion() if self.query is None else self._columns(self.query)

    def _columns(self, query):
        names = self._names if self._first_is_left[query] else self._names[::-1]
        cells = (_column(self._found[query][name]) for name in names)
        columns = "".join(f'<td style="text-align:left;vertical-align:top;width:50%">{cell}</td>' for cell in cells)
        head = f"<p><b>{len(self.verdicts) + 1} of {len(self._queries)}:</b> {as_text(query)}</p>"
        return f'{head}<table style="width:100%"><tr><th>left</th><th>right</th></tr><tr>{columns}</tr></table>'

    def conclusion(self) -> str:
        """What the verdicts together say, as HTML: the mean preference with its interval."""
        first, second = self._names
        values = list(self.verdicts.values())
        counts = f"{values.count(1)} times {first}, {values.count(-1)} times {second}, {values.count(0)} times neither"
        if len(values) < 2:
            return note(f"{counts}; two queries or more say something")
        mean, low, high = bootstrap_interval(values)
        better = first if low > 0 else second if high < 0 else None
        said = f"{better} is preferred" if better else "these queries do not tell which is better"
        return f"<p><b>{as_text(said)}</b></p>" + note(
            f"{counts}; mean preference {mean:+.2f}, 95 % interval {low:+.2f} to {high:+.2f} "
            f"(+1: always {first}, −1: always {second})"
        )


def judge_searches(searchers: dict[str, Any], queries: Sequence[str], k: int = 3, seed: int = 0) -> Judging:
    """Judge two searches query by query without knowing which is which; the sides and the order are random.

    searchers: {name: whatever has .search(query, k)}, two of them, such as before and after an adaptation.
    queries: written before anything was searched, or they suit what was found.
    k: hits per search.
    seed: of sides and order.
    Returns a Panel with `.verdicts`.
    Raises ValueError for another number of searchers and without a query.
    """
    if len(searchers) != 2:
        raise ValueError(f"searchers holds {len(searchers)}; two are judged side by side")
    if not queries or len(set(queries)) < len(queries):
        raise ValueError("queries is empty or names one twice; pass some that differ")
    return Judging(searchers, queries, k, seed)


def _column(hits):
    """Hits as HTML, without anything that tells which search they are from."""
    return "".join(f"<p>{rank}. {_hit(hit.text)}</p>" for rank, hit in enumerate(hits, 1)) or note("nothing found")


def _hit(text):
    if not hasattr(text, "heading"):
        return as_text(text)
    return f"<b>{as_text(text.heading or text.file)}</b><br>{as_text(text.text)}"

"""What the widgets share: a box that can also be read without a kernel, and text that stays text."""

import html
import re
from collections.abc import Callable, Iterable

import ipywidgets

from course_lib.notebook.plots import Picture


class Panel(ipywidgets.VBox):
    """Widgets one below the other, which are also shown as HTML where no widget can be drawn.

    name: what it is, in words, for a terminal.
    children: the widgets.
    still: a function that returns the HTML of the present state.
    """

    def __init__(self, name: str, children: list[ipywidgets.Widget], still: Callable[[], str]):
        super().__init__(children)
        self.name, self.still = name, still

    def _repr_mimebundle_(self, **options):
        # a front end that knows widgets prefers them; `course_lib.notebook.build` commits the rest
        return super()._repr_mimebundle_(**options) | {"text/plain": self.name, "text/html": self.still()}


def as_text(text: object) -> str:
    """Escape a text, so that HTML shows it as it is.

    Markup stays text, and $…$, \\(…\\) and \\begin{…} are not typeset: MathJax reads no formula across an element, so
    each character that may begin one gets its own element.

    text: a string, or anything that `str` takes.
    Returns HTML.
    """
    return re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(str(text)))


def note(text: str) -> str:
    """A remark in small print, as HTML."""
    return f'<p style="margin:0.3em 0"><small>{as_text(text)}</small></p>'


def as_html(picture: Picture) -> str:
    """A Picture as HTML that is no wider than its widget."""
    return picture._repr_html_().replace("<img ", '<img style="max-width:100%" ', 1)


def field(text: str, hint: str, description: str = "") -> ipywidgets.Text:
    """A line to write in, as wide as the notebook; its value changes when Enter is pressed or the field is left.

    text: what it holds at first.
    hint: what it shows while it is empty.
    description: its label.
    """
    return ipywidgets.Text(
        text,
        placeholder=hint,
        description=description,
        continuous_update=False,
        layout=ipywidgets.Layout(width="auto", flex="1 1 auto"),
    )


def redraw_on_change(controls: Iterable[ipywidgets.Widget], redraw: Callable[[], None], area: ipywidgets.HTML) -> None:
    """Call redraw() when the value of a control changes, or when a button is pressed.

    area: shows an exception of redraw(); from inside a callback it would go to a log that nobody reads.
    """

    def answer(_):
        try:
            redraw()
        except Exception as error:
            area.value = f"<p><b>{as_text(type(error).__name__)}</b>: {as_text(error)}</p>"

    for control in controls:
        if isinstance(control, ipywidgets.Button):
            control.on_click(answer)
        else:
            control.observe(answer, "value")

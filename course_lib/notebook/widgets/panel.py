"""What the widgets share: a box that can also be read without a kernel, and text that stays text."""

import html
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator

import ipywidgets
from IPython.display import display

from course_lib.notebook.plots import Picture

# JupyterLab shows a widget whose kernel is gone as "model not found", although the output holds HTML too. There, the
# still form is an output of its own below the widget, and of the two the one that works is shown.
LIVE, STILL = "course-live", "course-still"
_OUTPUT = ".jp-OutputArea-child"
_ALIVE = f":has(.{LIVE}:not(.jupyter-widgets-disconnected))"
ONE_OF_TWO = (
    f"<style>{_OUTPUT}{_ALIVE} + {_OUTPUT}:has(.{STILL}), "
    f"{_OUTPUT}:not({_ALIVE}):has(+ {_OUTPUT} .{STILL}) {{ display: none }}</style>"
)


class Panel(ipywidgets.VBox):
    """Widgets one below the other, which are also shown as HTML where no widget can be drawn.

    JupyterLab saves that HTML after every change, so that it is what a reader sees who opens the notebook again.

    name: what it is, in words, for a terminal.
    children: the widgets.
    still: a function that returns the HTML of the present state.
    """

    def __init__(self, name: str, children: list[ipywidgets.Widget], still: Callable[[], str]):
        super().__init__(children)
        self.name, self.still, self._saved = name, still, None
        self.add_class(LIVE)
        for area in widgets_in(self, ipywidgets.HTML):
            area.observe(lambda _: self.save_still(), "value")

    def _repr_mimebundle_(self, **options):
        # a front end that knows widgets prefers them; `course_lib.notebook.build` commits the rest
        return super()._repr_mimebundle_(**options) | self._still_bundle()

    def _ipython_display_(self):
        if not in_jupyterlab():
            self._saved = display(self._repr_mimebundle_(), raw=True, display_id=True)
            return
        display(super()._repr_mimebundle_() | {"text/plain": self.name}, raw=True)
        self._saved = display(self._still_bundle(ONE_OF_TWO), raw=True, display_id=True)

    def save_still(self) -> None:
        """Write the present state into the notebook, for those who open it later."""
        if self._saved:
            bundle = self._still_bundle(ONE_OF_TWO) if in_jupyterlab() else self._repr_mimebundle_()
            self._saved.update(bundle, raw=True)

    def _still_bundle(self, style=""):
        remark = note("This is a picture of its last state. Run the cell to use it.")
        return {"text/plain": self.name, "text/html": f'{style}<div class="{STILL}">{self.still()}{remark}</div>'}


def in_jupyterlab() -> bool:
    """Whether a Jupyter server started this kernel, so that JupyterLab or Notebook 7 is what shows its outputs."""
    return "JPY_SESSION_NAME" in os.environ and "google.colab" not in sys.modules


def widgets_in(widget: ipywidgets.Widget, kind: type) -> Iterator[ipywidgets.Widget]:
    """Every widget of a kind inside a widget, itself included, from top to bottom."""
    if isinstance(widget, kind):
        yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_in(child, kind)


def as_text(text: object) -> str:
    """Escape a text, so that HTML shows it as it is.

    Markup stays text, and $…$, \\(…\\) and \\begin{…} are not typeset: MathJax reads no formula across an element, so
    each character that may begin one gets its own element.

    text: a string, or anything that `str` takes.
    Returns HTML.
    """
    return re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(str(text)))


def note(text: str) -> str:
    """A remark in small print, as HTML; a screen reader says it when it appears."""
    return f'<p role="status" style="margin:0.3em 0"><small>{as_text(text)}</small></p>'


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
        tooltip=hint,
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

"""What the widgets share: a box that can be read where nothing answers, and text that stays text."""

import html
import re

import ipywidgets


class Panel(ipywidgets.VBox):
    """Widgets one under the other, with what they show as HTML for where no widget can be drawn.

    name: what it is, in words, for a terminal. still: a function that returns the HTML of the present state.
    """

    def __init__(self, name, children, still):
        super().__init__(children)
        self.name, self.still = name, still

    def _repr_mimebundle_(self, **options):
        # a front end that knows widgets prefers them; `course_lib.notebook.build` commits the rest
        return super()._repr_mimebundle_(**options) | {"text/plain": self.name, "text/html": self.still()}


def as_text(text):
    """A text as HTML that shows it as it is: markup stays text, and $…$, \\(…\\) and \\begin{…} are not typeset.

    MathJax reads no formula across an element, so each character that may begin one gets an element of its own.
    """
    return re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(str(text)))


def note(text):
    """A remark in small print, as HTML."""
    return f'<p style="margin:0.3em 0"><small>{as_text(text)}</small></p>'


def as_html(picture):
    """A Picture as HTML that is no wider than its widget."""
    return picture._repr_html_().replace("<img ", '<img style="max-width:100%" ', 1)


def field(text, hint, description=""):
    """A line to write in, as wide as the notebook; its value changes when Enter is pressed or the field is left."""
    return ipywidgets.Text(
        text,
        placeholder=hint,
        description=description,
        continuous_update=False,
        layout=ipywidgets.Layout(width="auto", flex="1 1 auto"),
    )


def redraw_on_change(controls, redraw, area):
    """Call redraw() when the value of a control changes, or when a button is pressed.

    An exception is told in `area`, an HTML widget: from inside a callback it would go to a log that nobody reads.
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

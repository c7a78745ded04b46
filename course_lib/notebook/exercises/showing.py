"""What a learner sees of a check: text in a terminal, compact HTML in a notebook. Every text is escaped."""

import html
import itertools
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

SIGNS = {"right": "✓", "wrong": "✗", "raised": "!", "not attempted": "–"}
EDGES = {"right": "#009E73", "wrong": "#D55E00", "raised": "#E69F00", "not attempted": "#8c8c8c"}

MOST = 16  # entries shown of a list or dict


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    exercise, title: of the exercise.
    status: "not attempted", "raised", "wrong" or "right".
    message: what is wrong.
    hint: the next step.
    mistake: name of the recognised one, or None.
    difference: a Difference, or None.
    details: {what: text}, such as the inputs, the expected result and the learner's.
    notes: remarks that do not count, such as printed text.
    """

    exercise: str
    title: str
    status: str
    message: str
    hint: str = ""
    mistake: str | None = None
    difference: object = None
    details: dict = field(default_factory=dict)
    notes: tuple = ()

    @property
    def right(self) -> bool:
        """Whether the status is "right"."""
        return self.status == "right"

    def __repr__(self):
        parts = [f"{SIGNS[self.status]} {self.title}: {self.status}. {self.message}"]
        parts += [f"Hint: {self.hint}"] if self.hint else []
        lines = textwrap.fill(" ".join(parts), 100, subsequent_indent="  ", break_long_words=False).splitlines()
        for what, text in self.details.items():
            first, *rest = text.splitlines() or [""]
            lines += [f"    {what}: {first}", *(" " * (len(what) + 6) + line for line in rest)]
        return "\n".join(lines + [f"  Note: {note}" for note in self.notes])

    def _repr_html_(self):
        rows = "".join(
            f'<tr><td style="text-align:left;vertical-align:top;padding:0 1em 0 0">{inline(what)}</td>'
            f'<td style="text-align:left"><pre style="margin:0">{html.escape(text)}</pre></td></tr>'
            for what, text in self.details.items()
        )
        return box(
            f"<b>{SIGNS[self.status]} {html.escape(self.title)}: {self.status}.</b> {inline(self.message)}"
            + (f"<br><b>Hint:</b> {inline(self.hint)}" if self.hint else "")
            + (f'<table style="margin:0.3em 0">{rows}</table>' if rows else "")
            + "".join(f"<br><i>Note:</i> {inline(note)}" for note in self.notes),
            EDGES[self.status],
        )


@dataclass(frozen=True)
class Shown:
    """A text with its HTML: a hint, a solution, the table of progress."""

    text: str
    html: str

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        return self.html


def box(inner: str, edge: str = "#8c8c8c") -> str:
    """HTML in a box with a coloured edge; its classes keep a notebook from reading formulas between dollar signs."""
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="border-left:4px solid '
        f'{edge};padding:0.2em 0.8em;max-width:60em;overflow-x:auto">{inner}</div>'
    )


def inline(text: str) -> str:
    """Escape a text, as HTML, and set what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)).replace("\n", "<br>")


def code_block(source: str) -> str:
    """Source code as HTML."""
    return f'<pre style="margin:0.3em 0"><code>{html.escape(source)}</code></pre>'


# --------------------------------------------------------------------------- values as short texts


def values_apart(expected: Any, got: Any) -> tuple[str, str]:
    """Two values as texts, with enough digits to see that they differ."""
    for digits in (3, 5, 8):
        texts = show_value(expected, digits), show_value(got, digits)
        if texts[0] != texts[1]:
            break
    return texts


def show_value(value: Any, digits: int = 3) -> str:
    """A value in a few lines: a tensor with its shape and dtype, and without its middle where it is large.

    digits: after the decimal point.
    """
    try:
        text = _show(value, digits)
    except Exception:  # a learner's object may have a __repr__ that raises
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 900 else text[:900] + " …"


def _show(value, digits):
    if torch.is_tensor(value):
        dtype = str(value.dtype).removeprefix("torch.")
        value = value.detach().cpu()
        value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        return _show_array(value.numpy(), digits, f"tensor {dtype}")
    if isinstance(value, np.ndarray):
        return _show_array(value, digits, f"array {value.dtype}")
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.{digits + 1}g}"
    if isinstance(value, torch.Generator):
        return f"a generator with seed {value.initial_seed()}"
    if isinstance(value, Mapping):
        parts = [f"{_show(k, digits)}: {_show(v, digits)}" for k, v in itertools.islice(value.items(), MOST)]
        return _joined(parts, "a dict", "{}", len(value))
    if isinstance(value, (list, tuple)):
        parts = [_show(v, digits) for v in value[:MOST]]
        return _joined(parts, f"a {type(value).__name__}", "[]" if isinstance(value, list) else "()", len(value))
    if isinstance(value, nn.Module) or (callable(value) and not hasattr(value, "__name__")):
        return f"an object of type {type(value).__name__}"
    if callable(value):
        return f"the function {value.__name__}"
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _show_array(array, digits, kind):
    if array.ndim == 0:
        return f"{_show(array.item(), digits)} ({kind})"
    numbers = np.array2string(
        array,
        precision=digits,
        suppress_small=True,
        threshold=60,
        edgeitems=2,
        max_line_width=88,
        floatmode="maxprec",
        separator=", ",
    )
    lines = [line for line in numbers.splitlines() if line.strip()]
    return "\n".join([f"{kind}, shape {array.shape}", *lines])


def _joined(parts, kind, brackets, length):
    """On one line in brackets, or one below the other where some are tensors."""
    if any("\n" in part for part in parts):
        return "\n".join([f"{kind} of {length}:", *(textwrap.indent(part, "  ") for part in parts)])
    more = [f"… ({length} in all)"] if length > len(parts) else []
    return brackets[0] + ", ".join(parts + more) + brackets[1]

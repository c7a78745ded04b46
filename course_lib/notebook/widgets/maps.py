"""Maps of sentences that show the text under the pointer."""

import html
import json
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from IPython.display import display

from course_lib.models.encoder import SentenceEncoder
from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import as_text
from course_lib.search.exact import unit_embeddings

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")  # plotly's for plots.MARKERS
PLOTLY = "application/vnd.plotly.v1+json"


def sentence_map(
    encoders: Any, texts: Iterable[str], groups: Iterable[str], title: str = "Map of sentences"
) -> "SentenceMap":
    """Sentences on their two principal components, one panel per encoder; the pointer on a point shows its text.

    encoders: an encoder, or {panel title: an encoder, or (N, d) embeddings}, at most 3. An encoder's embeddings are
        L2-normalised.
    texts: N strings.
    groups: N names, at most 7 different, each with its own colour and marker.
    title: of the figure.
    Returns a SentenceMap. Raises ValueError as `plots.sentence_map` does.
    """
    if not isinstance(encoders, dict):
        encoders = {"": encoders}
    texts, groups = list(texts), [str(g) for g in groups]
    panels = {name: _embeddings(e, texts) if hasattr(e, "encode") else np.asarray(e) for name, e in encoders.items()}
    return SentenceMap(panels, texts, groups, title)


def _embeddings(encoder, texts):
    """Unit rows (N, d), with a progress bar where they take longer than a second."""
    rows, row_of = unit_embeddings(encoder, texts, progress=isinstance(encoder, SentenceEncoder) and len(texts) > 200)
    return rows[row_of]


class SentenceMap:
    """A map of sentences: `figure`, plotly's, which answers to the pointer, and `picture`, a still of it.

    A front end shows the first that it knows; neither needs a kernel.

    panels: {title: (N, d) embeddings}.
    texts, groups, title: as `sentence_map` takes them.
    """

    def __init__(self, panels: dict[str, np.ndarray], texts: list[str], groups: list[str], title: str):
        self.picture = plots.sentence_map(panels, groups, texts, title)
        self.figure = _figure(panels, texts, groups, title)

    def _ipython_display_(self):
        display(self._repr_mimebundle_(), raw=True)
        # plotly's figure says nothing to a screen reader
        words = f"<details><summary>This map in words</summary>{as_text(self.picture.alt)}</details>"
        display({"text/html": words, "text/plain": self.picture.alt}, raw=True)

    def _repr_mimebundle_(self, **options):
        still = self.picture._repr_html_()
        if "google.colab" in sys.modules:  # Colab knows plotly's figures only as HTML that fetches plotly itself
            still = self.figure.to_html(include_plotlyjs="cdn", full_html=False)
        return {PLOTLY: json.loads(self.figure.to_json()), "text/plain": self.picture.alt, "text/html": still}


def _figure(panels, texts, groups, title):
    import plotly.graph_objects as go  # here because it takes a while
    from plotly.subplots import make_subplots
    from sklearn.decomposition import PCA

    # not plotly's template, which would add 7 KB to every committed figure
    figure = make_subplots(
        cols=len(panels),
        subplot_titles=[_shown(name) for name in panels],
        figure=go.Figure(layout={"template": "none"}),
    )
    for column, x in enumerate(panels.values(), 1):
        flat = PCA(2, random_state=0).fit_transform(x).astype(float).round(4)
        for i, name in enumerate(dict.fromkeys(groups)):
            mine = [n for n, group in enumerate(groups) if group == name]
            figure.add_trace(
                go.Scatter(
                    x=flat[mine, 0].tolist(),
                    y=flat[mine, 1].tolist(),
                    mode="markers",
                    name=_shown(name),
                    legendgroup=name,
                    showlegend=column == 1,
                    hovertext=[_shown(texts[n], 60) for n in mine],
                    hovertemplate="%{hovertext}<extra>%{fullData.name}</extra>",
                    marker={"size": 9, "symbol": SYMBOLS[i], "color": plots.COLOURS[i], "opacity": 0.8},
                ),
                row=1,
                col=column,
            )
    bare = {"showticklabels": False, "zeroline": False, "showgrid": False, "mirror": True, "linecolor": plots.GREY}
    figure.update_xaxes(**bare).update_yaxes(**bare)
    figure.update_layout(
        title={"text": _shown(title), "x": 0.01},
        height=480,
        margin={"l": 10, "r": 10, "t": 80, "b": 10},
        font={"size": 14, "color": "black"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        # beside the points: below them, plotly draws it over them until the page is resized
        legend={"x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top"},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": "black"}},
    )
    return figure


def _shown(text, width=None):
    """A text escaped for plotly, which reads some HTML and, between dollar signs, formulas."""
    lines = textwrap.wrap(str(text), width, max_lines=12, placeholder=" …") if width else [str(text)]
    return "<br>".join(html.escape(line, quote=False).replace("$", "&#36;") for line in lines)

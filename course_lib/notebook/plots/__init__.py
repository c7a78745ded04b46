"""Figures in one style, readable at half size, each with a text that says what it shows.

Every function that draws returns a Picture, which a notebook shows as the value of a cell. Its alt text, `picture.alt`,
is computed from the same data as the picture. Text from a corpus is drawn as it is: `$` does not start a formula.
For a figure of your own: `with plots.style(): figure, axes = plt.subplots()`, then `plots.show(figure, alt)`.
"""

from course_lib.notebook.plots.comparing import quality_by_cost, ranks
from course_lib.notebook.plots.diagrams import loss_relations, pair_grids, pipeline, stages
from course_lib.notebook.plots.labels import words
from course_lib.notebook.plots.maps import sentence_map
from course_lib.notebook.plots.measuring import intervals, scatter, systems, wins
from course_lib.notebook.plots.noise import token_noise
from course_lib.notebook.plots.paths import alignment_uniformity, frontier
from course_lib.notebook.plots.picture import COLOURS, GREY, LINES, MARKERS, STYLE, Picture, show, style
from course_lib.notebook.plots.predictions import best_guesses, token_probabilities
from course_lib.notebook.plots.queries import judgement_bars, nuclei, pointer_map
from course_lib.notebook.plots.results import (
    bootstrap_distribution,
    comparison_bars,
    comparison_picture,
    gains,
    memory_bars,
)
from course_lib.notebook.plots.sweeps import sweep
from course_lib.notebook.plots.texts import attention_map, cosine_histogram, histogram, similarity_heatmap
from course_lib.notebook.plots.training import batch_bars, curves, learning_rates, training_curves

__all__ = [
    "COLOURS",
    "GREY",
    "LINES",
    "MARKERS",
    "STYLE",
    "Picture",
    "show",
    "style",
    "words",
    "alignment_uniformity",
    "attention_map",
    "batch_bars",
    "best_guesses",
    "bootstrap_distribution",
    "comparison_bars",
    "comparison_picture",
    "cosine_histogram",
    "curves",
    "frontier",
    "gains",
    "histogram",
    "intervals",
    "judgement_bars",
    "learning_rates",
    "loss_relations",
    "memory_bars",
    "nuclei",
    "pair_grids",
    "pipeline",
    "scatter",
    "pointer_map",
    "quality_by_cost",
    "ranks",
    "sentence_map",
    "similarity_heatmap",
    "stages",
    "sweep",
    "systems",
    "token_noise",
    "token_probabilities",
    "training_curves",
    "wins",
]

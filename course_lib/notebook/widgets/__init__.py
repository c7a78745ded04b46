"""Interactive widgets: each function returns something that is shown when it is the value of a cell.

Without a kernel (nbconvert, GitHub, a notebook opened without running it) a widget is shown as the HTML of its state
when it was drawn: the first results, the first figure. Text from a corpus or a learner is shown as it is, markup
included.
"""

from course_lib.notebook.widgets.dashboard import training_dashboard
from course_lib.notebook.widgets.maps import sentence_map
from course_lib.notebook.widgets.noise import noise_sliders
from course_lib.notebook.widgets.panel import Panel, as_text
from course_lib.notebook.widgets.search import search_box
from course_lib.notebook.widgets.similarity import similarity_playground
from course_lib.notebook.widgets.temperature import temperature_slider

__all__ = [
    "Panel",
    "as_text",
    "noise_sliders",
    "search_box",
    "sentence_map",
    "similarity_playground",
    "temperature_slider",
    "training_dashboard",
]

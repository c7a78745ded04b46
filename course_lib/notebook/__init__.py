"""What only a notebook needs: its first cell, exercises, plots and widgets."""

from course_lib.notebook.start import start

__all__ = ["start"]

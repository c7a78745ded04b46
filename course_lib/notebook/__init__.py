"""What only a notebook needs: the first cell, the profile, plots."""

from course_lib.notebook.start import start

__all__ = ["start"]

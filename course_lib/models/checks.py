"""Checks of settings, with the same error messages everywhere: each names the setting and its value."""

from collections.abc import Iterable


def check_choice(choices: Iterable, **settings) -> None:
    """Raise ValueError for a setting that is none of the choices."""
    for name, value in settings.items():
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(str, choices))}")


def check_positive(**settings: float) -> None:
    """Raise ValueError for a setting that is not above 0 and finite, such as a temperature."""
    for name, value in settings.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}; it must be above 0")

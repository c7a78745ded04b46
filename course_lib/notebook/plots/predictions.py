"""What a language model predicts: its best guesses for hidden words, and how probable the true ones were."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, short, words
from course_lib.notebook.plots.layout import headline
from course_lib.notebook.plots.picture import COLOURS, GREY, Picture, show, style


def best_guesses(guesses: dict, answers: Sequence[str], title: str = "Best guesses for the hidden word") -> Picture:
    """The most probable words for gaps, as bars: one panel per text, the true word in colour and with a tick.

    guesses: {text: [(word, probability), …]}, best first; at most 4 texts.
    answers: the true word of each text.
    title: of the figure.
    Returns a Picture. Raises ValueError for another number of answers.
    """
    guesses = mapping(guesses, "guesses", 4)
    if len(answers) != len(guesses):
        raise ValueError(f"answers holds {len(answers)} for {len(guesses)} texts; pass one for each")
    longest = max(p for found in guesses.values() for _, p in found)
    with style():
        figure = Figure(figsize=(1 + 3.4 * len(guesses), 3.8))
        for axes, (text, found), answer in zip(np.ravel(figure.subplots(1, len(guesses))), guesses.items(), answers):
            colours = [COLOURS[2] if word == answer else GREY for word, _ in found]
            bars = axes.barh(range(len(found)), [p for _, p in found], color=colours)
            axes.bar_label(bars, fmt=" %.2f")
            names = [words(f"✓ {word}" if word == answer else word, 16, 1) for word, _ in found]
            axes.set_yticks(range(len(found)), names)
            axes.set(xlabel="Probability", xlim=(0, 1.35 * longest), ylim=(len(found) - 0.4, -0.6))
            axes.set_title(words(text, 24), fontsize=12)
        headline(figure, title)
    told = [
        f"{plain(text)} {', '.join(f'{word} {p:.2f}' for word, p in found)} (true: {answer})"
        for (text, found), answer in zip(guesses.items(), answers)
    ]
    return show(figure, f"Bars, {plain(title)}, with probabilities. " + "; ".join(told) + ".")


def token_probabilities(tokens: Sequence[str], probabilities: ArrayLike, title: str = "Each token hidden") -> Picture:
    """A probability for every token of a sentence, as bars in the order of the sentence.

    tokens: T strings.
    probabilities: (T,).
    title: of the figure.
    Returns a Picture. Raises ValueError for another number of probabilities.
    """
    probabilities = numbers(probabilities, "probabilities", ndim=1)
    if len(tokens) != len(probabilities):
        raise ValueError(f"tokens holds {len(tokens)} for {len(probabilities)} probabilities; pass one for each")
    with style():
        figure = Figure(figsize=(min(11, max(4, 2 + 0.6 * len(tokens))), 3.8))
        axes = figure.subplots()
        bars = axes.bar(range(len(tokens)), probabilities, color=COLOURS[0])
        axes.bar_label(bars, fmt="%.2f", fontsize=12)
        axes.set_xticks(range(len(tokens)), [words(t, 16, 1) for t in tokens], rotation=90)
        axes.set(ylabel="Probability of\nthe true token", ylim=(0, 1.12))
        headline(figure, title)
    told = ", ".join(f"{plain(t)} {short(p)}" for t, p in zip(tokens, probabilities))
    return show(figure, f"Bars, {plain(title)}: probability of the true token. {told}.")

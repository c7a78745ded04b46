"""What TSDAE and masked language modelling do to the learner's own sentence before a model sees it."""

import ipywidgets
import torch

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.notebook.widgets.panel import Panel, as_text, field, note, redraw_on_change


def noise_sliders(
    encoder: SentenceEncoder, text: str, deletion: float | None = 0.6, masking: float | None = 0.15, seed: int = 0
) -> Panel:
    """A sentence token by token with the noise of TSDAE and of MLM, and a slider for each probability.

    With the same seed, a higher probability damages what a lower one did, and more.

    encoder: used for its tokenizer.
    text: the first sentence.
    deletion: probability of deleting a word, 0.6 as in Wang et al. (2021); None leaves TSDAE out.
    masking: probability of choosing a token, 0.15 as in Devlin et al. (2019); None leaves MLM out.
    seed: of the random draw; a button takes the next one.
    Returns a Panel. Raises ValueError for a number that is not a probability, and for masking with a tokenizer that has
    no mask token.
    """
    _check(encoder, deletion, masking)
    line = field(text, "Write a sentence and press Enter", "Sentence")
    starts = ((_deleted, deletion, "Delete words (TSDAE)"), (_masked, masking, "Mask tokens (MLM)"))
    sliders = {damage: _probability(start, label) for damage, start, label in starts if start is not None}
    again, area = ipywidgets.Button(description="Draw again", icon="refresh"), ipywidgets.HTML()
    seeds = [seed]

    def draw():
        tokens = encoder.tokenizer(line.value, truncation=True, max_length=encoder.max_length)
        parts = [_chips("Sentence", [as_text(name) for name in tokens.tokens()])]
        for damage, slider in sliders.items():
            parts.append(damage(encoder, tokens, slider.value, torch.Generator().manual_seed(seeds[0])))
        area.value = "".join(parts)

    def next_draw():
        seeds[0] += 1
        draw()

    draw()
    redraw_on_change([line, *sliders.values()], draw, area)
    redraw_on_change([again], next_draw, area)
    return Panel(
        "A sentence under noise", [line, ipywidgets.HBox([*sliders.values(), again]), area], lambda: area.value
    )


def _check(encoder, deletion, masking):
    for name, value in (("deletion", deletion), ("masking", masking)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it is a probability between 0 and 1, or None to leave it out")
    if masking is not None and encoder.tokenizer.mask_token_id is None:
        raise ValueError("this encoder's tokenizer has no mask token; pass masking=None")


def _probability(start, label):
    return ipywidgets.FloatSlider(
        start,
        min=0,
        max=1,
        step=0.05,
        description=label,
        layout=ipywidgets.Layout(width="30em"),
        style={"description_width": "initial"},
    )


def _deleted(encoder, tokens, probability, generator):
    """TSDAE's noise on a tokenised sentence, as HTML."""
    # deleting from the positions instead of the ids tells which of two equal tokens is gone
    positions = torch.arange(1, len(tokens.tokens()) + 1)[None]  # (1, T); 0 would be padding
    framing = set(encoder.tokenizer.all_special_ids) - {encoder.tokenizer.unk_token_id}
    special = functional.special_mask(torch.tensor([tokens["input_ids"]]), framing)
    word = torch.tensor([[number or 0 for number in tokens.word_ids()]])  # special tokens have none
    left, _ = functional.delete_tokens(positions, special, probability, generator, words=word)
    kept = torch.isin(positions, left)[0].tolist()
    chips = [as_text(name) if stays else _gone(name) for name, stays in zip(tokens.tokens(), kept)]
    return _chips("What TSDAE's encoder reads", chips) + note(
        f"{kept.count(False)} of {int((~special).sum())} tokens deleted. From the one vector of what is left, the "
        "decoder has to write the whole sentence."
    )


def _masked(encoder, tokens, probability, generator):
    """BERT's noise on a tokenised sentence, as HTML."""
    tokenizer, ids = encoder.tokenizer, torch.tensor([tokens["input_ids"]])  # (1, T)
    special = functional.special_mask(ids, tokenizer.all_special_ids)
    inputs, labels = functional.mask_tokens(
        ids, special, probability, tokenizer.mask_token_id, len(tokenizer), generator
    )
    chosen = labels != -100
    names = zip(tokenizer.convert_ids_to_tokens(inputs[0].tolist()), tokens.tokens(), chosen[0])
    chips = [_hidden(new, old) if hit else as_text(new) for new, old, hit in names]
    by_mask, same = (int((chosen & (inputs == other)).sum()) for other in (tokenizer.mask_token_id, ids))
    return _chips("What the masked language model reads", chips) + note(
        f"{int(chosen.sum())} of {int((~special).sum())} tokens chosen: {by_mask} became {tokenizer.mask_token}, "
        f"{int(chosen.sum()) - by_mask - same} a random token, {same} stayed. The model predicts what stands in "
        "parentheses."
    )


def _gone(name):
    return f'<del style="opacity:0.55">{as_text(name)}</del>'


def _hidden(new, old):
    return f"<mark><b>{as_text(new)}</b></mark> <small>({as_text(old)})</small>"


def _chips(title, chips):
    """Tokens, already HTML, each in its own frame, so that spaces and word pieces can be told apart."""
    frame = "border:1px solid #888;border-radius:4px;padding:1px 5px;margin:2px;display:inline-block;line-height:1.5"
    return (
        f'<p style="margin:0.5em 0 0.1em"><b>{as_text(title)}</b></p><p style="margin:0">'
        + " ".join(f'<span style="{frame}">{chip}</span>' for chip in chips)
        + "</p>"
    )

"""Nucleus sampling: text from a decoder, token by token, each drawn from the likely ones only."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from course_lib.texts.checks import check_texts

# Tokens looked at before all are sorted: a nucleus is rarely larger, and sorting all takes eight times as long.
PEAK = 512


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """The probabilities of the smallest set of likeliest tokens that together have at least `top_p`; 0 for the others.

    logits: (..., V).
    top_p: above 0, at most 1.
    Returns (..., V), each row with sum 1. Holtzman et al. (2020).
    """
    probabilities = logits.softmax(-1)
    likely, tokens = probabilities.topk(min(PEAK, logits.shape[-1]))
    if (likely.sum(-1) < top_p).any():
        likely, tokens = probabilities.sort(-1, descending=True)
    likelier = likely.cumsum(-1) - likely  # the probability of all tokens before this one
    likely = likely.masked_fill(likelier >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, tokens, likely / likely.sum(-1, keepdim=True))


def choose(logits: Tensor, uniform: Tensor, top_p: float, temperature: float) -> Tensor:
    """The next token of each row: the likeliest at temperature 0, else a draw from the nucleus.

    logits: (N, V).
    uniform: (N,), random numbers in [0, 1) that decide the draw.
    top_p: as in `nucleus`.
    temperature: at least 0; divides the logits.
    Returns (N,) token ids.
    """
    if temperature == 0:
        return logits.argmax(-1)
    # in double precision, the sum of thousands of probabilities leaves no gap at its end for `uniform` to fall into
    reached = nucleus(logits / temperature, top_p).double().cumsum(-1)  # (N, V)
    return torch.searchsorted(reached, uniform.double()[:, None] * reached[:, -1:], right=True).squeeze(-1)


@torch.inference_mode()
def generate_texts(
    model,
    texts: Sequence[str],
    copies: int = 3,
    top_p: float = 0.95,
    temperature: float = 1.0,
    max_new_tokens: int = 24,
    generator: torch.Generator | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> list[list[str]]:
    """Write `copies` texts about each text. No special token is chosen, and no text ends before its first token.

    model: any object with `tokenizer`, `device`, `begin_id`, `end_id` and `start(texts, copies)`, which reads the texts
        and returns step(ids (N, T)) → logits (N, V) of the token that follows, N = len(texts) · copies, text by text;
        it is called for T = 1, 2, … with what has been chosen so far.
    texts: strings.
    copies: texts written per text.
    top_p: as in `nucleus`.
    temperature: as in `choose`; at 0 all copies are the same.
    max_new_tokens: an unfinished text is cut at this length.
    generator: on the CPU; what is drawn for a text does not depend on `batch_size`.
    batch_size: texts read at once.
    progress: show a progress bar.
    Returns one list of strings per text, in the order given.
    Raises TypeError for anything but strings, ValueError for settings out of range.
    """
    check_texts(texts)
    check_settings(copies, top_p, temperature, max_new_tokens, batch_size)
    uniform = torch.rand(len(texts), copies, max_new_tokens, generator=generator)
    if model.device.type == "cuda":  # Apple's MPS has no double precision: there, tokens are drawn on the CPU
        uniform = uniform.to(model.device)

    def write(chosen):
        draws = uniform[chosen].flatten(0, 1)
        return _generate(model, [texts[i] for i in chosen], copies, draws, top_p, temperature)

    return write_in_batches(model.tokenizer, texts, copies, batch_size, progress, write)


def write_in_batches(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    copies: int,
    batch_size: int,
    progress: bool,
    write: Callable[[list[int]], Tensor],
) -> list[list[str]]:
    """Call `write` on batches of similar length, longest texts first, and decode what it returns.

    texts, copies, batch_size, progress: as in `generate_texts`.
    write: a function of the numbers of n texts that returns token ids (n · copies, T), text by text.
    Returns one list of `copies` strings per text, in the order given.
    """
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    written = [None] * len(texts)
    for start in tqdm(range(0, len(order), batch_size), desc="Generating", unit="batch", disable=not progress):
        chosen = order[start : start + batch_size]
        rows = tokenizer.batch_decode(write(chosen), skip_special_tokens=True)
        for place, i in enumerate(chosen):
            written[i] = [row.strip() for row in rows[place * copies : (place + 1) * copies]]
    return written


def _generate(model, texts, copies, uniform, top_p, temperature):
    """Token ids (N, T) without the beginning token: one row per text to be written, `end_id` after its end."""
    step = model.start(texts, copies)
    special = [i for i in model.tokenizer.all_special_ids if i != model.end_id]
    ids = torch.full((len(uniform), 1), model.begin_id, device=uniform.device)
    finished = torch.zeros(len(uniform), dtype=torch.bool, device=uniform.device)
    for position in range(uniform.shape[1]):
        logits = step(ids.to(model.device)).float().to(uniform.device)
        logits[:, special if position else [*special, model.end_id]] = float("-inf")
        token = choose(logits, uniform[:, position], top_p, temperature).masked_fill(finished, model.end_id)
        ids = torch.cat([ids, token[:, None]], 1)
        finished |= token == model.end_id
        if finished.all():
            break
    return ids[:, 1:]


def check_settings(copies: int, top_p: float, temperature: float, max_new_tokens: int, batch_size: int) -> None:
    """Raise ValueError, naming the setting and its value, for settings of `generate` that are out of range."""
    whole = {"queries_per_passage": copies, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    for name, value in whole.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it is a probability above 0, and 1 means every token may be drawn")
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}; it must be at least 0, and 0 means the likeliest token always")

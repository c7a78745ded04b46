"""Nucleus sampling: text from a decoder, token by token, each drawn from the likely ones only."""

import torch
from tqdm.auto import tqdm

from course_lib.texts.checks import check_texts

PEAK = (
    512  # tokens looked at before all are sorted: a nucleus is rarely larger, and sorting all takes eight times as long
)


def nucleus(logits, top_p):
    """The probabilities of the smallest set of likeliest tokens that together have at least `top_p`; 0 for the others.

    logits: (…, V). top_p: above 0, at most 1. Returns (…, V), each row with sum 1. Holtzman et al. (2020).
    """
    probabilities = logits.softmax(-1)
    likely, tokens = probabilities.topk(min(PEAK, logits.shape[-1]))
    if (likely.sum(-1) < top_p).any():
        likely, tokens = probabilities.sort(-1, descending=True)
    likelier = likely.cumsum(-1) - likely  # the probability of all tokens before this one
    likely = likely.masked_fill(likelier >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, tokens, likely / likely.sum(-1, keepdim=True))


def choose(logits, chance, top_p, temperature):
    """The next token of each row: the likeliest at temperature 0, else a draw from the nucleus.

    logits: (N, V). chance: (N,), uniform numbers in [0, 1), which decide. Returns (N,) token ids.
    """
    if temperature == 0:
        return logits.argmax(-1)
    # in double precision, the sum of thousands of probabilities leaves no gap at its end for `chance` to fall into
    reached = nucleus(logits / temperature, top_p).double().cumsum(-1)  # (N, V)
    return torch.searchsorted(reached, chance.double()[:, None] * reached[:, -1:], right=True).squeeze(-1)


@torch.inference_mode()
def generate_texts(
    model,
    texts,
    copies=3,
    top_p=0.95,
    temperature=1.0,
    max_new_tokens=24,
    generator=None,
    batch_size=32,
    progress=False,
):
    """Write `copies` texts about each of the texts: a list of lists of strings, in the order given.

    model: whatever has `tokenizer`, `device`, `begin_id`, `end_id` and `start(texts, copies)`, which reads the texts and
    returns step(ids (N, T)) → logits (N, V) of the token that follows, N = len(texts) · copies, text by text; it is
    called for T = 1, 2, … with what has been chosen so far.
    top_p, temperature: as in `nucleus`; temperature 0 is greedy, and all copies are the same. max_new_tokens: where an
    unfinished text is cut. generator: on the CPU; what is drawn for a text does not depend on `batch_size`.
    No special token is chosen, and none ends a text before its first. Raises ValueError for settings out of range.
    """
    check_texts(texts)
    _check(copies, top_p, temperature, max_new_tokens, batch_size)
    chance = torch.rand(len(texts), copies, max_new_tokens, generator=generator)
    if model.device.type == "cuda":  # Apple's MPS has no double precision: there, tokens are drawn on the CPU
        chance = chance.to(model.device)
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    written = [None] * len(texts)
    with tqdm(total=len(texts), desc="Generating", unit="text", disable=not progress) as bar:
        for start in range(0, len(texts), batch_size):
            chosen = order[start : start + batch_size]
            ids = _generate(model, [texts[i] for i in chosen], copies, chance[chosen].flatten(0, 1), top_p, temperature)
            rows = model.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for place, i in enumerate(chosen):
                written[i] = [row.strip() for row in rows[place * copies : (place + 1) * copies]]
            bar.update(len(chosen))
    return written


def _generate(model, texts, copies, chance, top_p, temperature):
    """Token ids (N, T), without what they begin with: one row a text to be written, `end_id` after its end."""
    step = model.start(texts, copies)
    special = [i for i in model.tokenizer.all_special_ids if i != model.end_id]
    ids = torch.full((len(chance), 1), model.begin_id, device=chance.device)
    finished = torch.zeros(len(chance), dtype=torch.bool, device=chance.device)
    for position in range(chance.shape[1]):
        logits = step(ids.to(model.device)).float().to(chance.device)
        logits[:, special if position else [*special, model.end_id]] = float("-inf")
        token = choose(logits, chance[:, position], top_p, temperature).masked_fill(finished, model.end_id)
        ids = torch.cat([ids, token[:, None]], 1)
        finished |= token == model.end_id
        if finished.all():
            break
    return ids[:, 1:]


def _check(copies, top_p, temperature, max_new_tokens, batch_size):
    for name, value in (
        ("queries_per_passage", copies),
        ("max_new_tokens", max_new_tokens),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it is a probability above 0, and 1 means every token may be drawn")
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}; it must be at least 0, and 0 means the likeliest token always")

"""Nucleus sampling: text from a decoder, token by token, each drawn from the likely ones only."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.models.checks import check_positive
from course_lib.models.encoder import Model, evaluation_mode, longest_first
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


def choose(logits: Tensor, uniform: Tensor, top_p: float, temperature: float, top_k: int | None = None) -> Tensor:
    """The next token of each row: the likeliest at temperature 0, else a draw from the nucleus.

    logits: (N, V).
    uniform: (N,), random numbers in [0, 1) that decide the draw.
    top_p: as in `nucleus`.
    temperature: at least 0; divides the logits.
    top_k: the nucleus is taken of so many likeliest tokens; None for all.
    Returns (N,) token ids.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None:
        last = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < last, float("-inf"))
    # in double precision, the sum of thousands of probabilities leaves no gap at its end for `uniform` to fall into
    reached = nucleus(logits / temperature, top_p).double().cumsum(-1)  # (N, V)
    return torch.searchsorted(reached, uniform.double()[:, None] * reached[:, -1:], right=True).squeeze(-1)


class QueryWriter(Model):
    """What all query generators share: `generate`. A subclass has `tokenizer` and `_writer`."""

    @torch.inference_mode()
    def generate(
        self,
        passages: Sequence[str],
        queries_per_passage: int = 3,
        top_p: float = 0.95,
        temperature: float = 1.0,
        max_new_tokens: int = 24,
        generator: torch.Generator | None = None,
        batch_size: int = 32,
        progress: bool = False,
        top_k: int | None = None,
    ) -> list[list[str]]:
        """Write queries for passages, by nucleus sampling and without dropout.

        No special token is chosen, and no query ends before its first token.

        passages: strings.
        queries_per_passage: queries written per passage; 3 as in GPL (Wang et al., 2022).
        top_p: as in `nucleus`; 0.95 as in GPL.
        temperature: as in `choose`; 1 as in GPL. At 0 all queries of a passage are the same.
        max_new_tokens: an unfinished query is cut at this length.
        generator: source of randomness, on the CPU; None for torch's global one. What a QueryGenerator draws for a
            passage does not depend on `batch_size`.
        batch_size: passages read at once.
        progress: show a progress bar.
        top_k: as in `choose`; None for all tokens. GPL has 25 together with its `top_p`.
        Returns one list of queries per passage, in the order given.
        Raises TypeError for anything but strings, ValueError for settings out of range.
        """
        check_texts(passages)
        check_positive(queries_per_passage=queries_per_passage, max_new_tokens=max_new_tokens)
        if top_k is not None:
            check_positive(top_k=top_k)
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p is {top_p}; it is a probability above 0, and 1 means every token may be drawn")
        if temperature < 0:
            raise ValueError(f"temperature is {temperature}; it must be at least 0, which takes the likeliest token")
        copies, written = queries_per_passage, [None] * len(passages)
        writer = self._writer(passages, copies, top_p, temperature, max_new_tokens, generator, top_k)
        with evaluation_mode(self), writer as write:
            for chosen in longest_first(passages, batch_size, "Generating", progress):
                rows = self.tokenizer.batch_decode(write(chosen), skip_special_tokens=True)
                for place, i in enumerate(chosen):
                    written[i] = [row.strip() for row in rows[place * copies : (place + 1) * copies]]
        return written

    def _writer(self, passages, queries_per_passage, top_p, temperature, max_new_tokens, generator, top_k):
        """A context that gives a function of the numbers of n passages.

        It returns token ids (n · queries_per_passage, T), passage by passage.
        """
        raise NotImplementedError


def sample(
    model: nn.Module, step: Callable, uniform: Tensor, top_p: float, temperature: float, top_k: int | None = None
) -> Tensor:
    """Choose tokens one by one.

    model: an object with `tokenizer`, `device`, `begin_id` and `end_id`.
    step: a function of ids (N, T), `begin_id` and what has been chosen so far, that returns the logits (N, V) of the
        token that follows; it is called for T = 1, 2, …
    uniform: (N, T), random numbers in [0, 1) that decide the draws; N texts of at most T tokens are written.
    top_p, temperature, top_k: as in `choose`.
    Returns ids (N, T) without the beginning token: one row per text, `end_id` after its end.
    """
    special, position = [i for i in model.tokenizer.all_special_ids if i != model.end_id], -1

    def next_token(logits):
        nonlocal position
        position += 1
        logits = logits.float().to(uniform.device)
        logits[:, special if position else [*special, model.end_id]] = float("-inf")
        return choose(logits, uniform[:, position], top_p, temperature, top_k)

    def step_there(ids):
        return step(ids.to(model.device))

    return write_tokens(step_there, next_token, *uniform.shape, model.begin_id, model.end_id, uniform.device)


def write_tokens(
    step: Callable, choose: Callable, count: int, most: int, begin: int, end: int, device: torch.device | None = None
) -> Tensor:
    """Write texts token by token, each after all tokens before it, until all have ended.

    step: a function of ids (count, T), `begin` and what has been chosen so far, that returns the logits (count, V) of
        the token that follows.
    choose: a function of these logits that returns the next token of each text, (count,).
    count: texts that are written side by side.
    most: tokens of a text.
    begin, end: ids of the token before a text and of the one that ends it.
    device: where the ids are kept; None for the CPU.
    Returns ids (count, T) without the beginning token; `end` is repeated after the end of a text.
    """
    ids = torch.full((count, 1), begin, device=device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    while ids.shape[1] <= most and not finished.all():
        token = choose(step(ids)).masked_fill(finished, end)
        ids = torch.cat([ids, token[:, None]], 1)
        finished |= token == end
    return ids[:, 1:]

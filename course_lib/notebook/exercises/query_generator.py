"""Exercises of notebook 08: the query generator's cross-attention, its pointer and its generation loop."""

import math

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.models.decoder import split_heads
from course_lib.models.sampling import write_tokens
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "08_genq"

# --------------------------------------------------------------------------- cross-attention


def _cross_attention(hidden, states, mask, query, key, value, heads):
    """What each token of a query takes from its passage: (B, T', d), (B, T, d), (B, T) → (B, T', d)."""
    return _attend(query(hidden), key(states), value(states), mask, heads)


def _attend(query, key, value, mask, heads):
    query, key, value = (split_heads(x, heads) for x in (query, key, value))
    return functional.attention(query, key, value, mask[:, None]).transpose(1, 2).flatten(2)


def _maps(size, seed):
    """Three linear maps with biases, and numbers large enough that the softmax is neither flat nor sure."""
    generator = torch.Generator().manual_seed(seed)

    def linear():
        weight, bias = (torch.randn(*shape, generator=generator) for shape in ((size, size), (size,)))
        return lambda x: x @ weight / size**0.25 + bias

    return [linear() for _ in range(3)]


def _queries_and_passages():
    generator = torch.Generator().manual_seed(0)

    def case(rows, query, passage, size, heads, lengths, loudness=1.0):
        hidden = torch.randn(rows, query, size, generator=generator)
        states = torch.randn(rows, passage, size, generator=generator)
        mask = (torch.arange(passage) < torch.tensor(lengths)[:, None]).long()
        states[mask == 0] *= loudness
        return hidden, states, mask, *_maps(size, rows + query), heads

    return {
        "as many tokens in the query as in the passage, and padding": case(2, 5, 5, 4, 2, [4, 2]),
        "a query shorter than its passage": case(3, 2, 7, 6, 3, [7, 7, 7]),
        "a query longer than its passage, whose padding has large vectors": case(2, 6, 5, 4, 2, [3, 2], 1000.0),
        "a single head": case(2, 3, 4, 4, 1, [3, 4]),
    }


def _scores_changed(change):
    """Cross-attention with something else done to the scores (B, heads, T', T) before the softmax over the last."""

    def attend(hidden, states, mask, query, key, value, heads):
        q, k, v = (split_heads(x, heads) for x in (query(hidden), key(states), value(states)))
        weights = change(q @ k.transpose(-2, -1), mask[:, None, None].bool(), q.shape[-1], hidden.shape[-1])
        return (weights @ v).transpose(1, 2).flatten(2)

    return attend


def _interleaved(hidden, states, mask, query, key, value, heads):
    def split(x):
        return x.reshape(len(x), heads, -1, x.shape[-1] // heads)  # cuts across the tokens

    q, k, v = split(query(hidden)), split(key(states)), split(value(states))
    return functional.attention(q, k, v, mask[:, None]).reshape(hidden.shape)


def _causal(scores, mask, head, size):
    later = torch.ones(scores.shape[-2:]).triu(1).bool()
    return (scores / head**0.5).masked_fill(~mask | later, -math.inf).softmax(-1)


def _over_queries(scores, mask, head, size):
    return (scores / head**0.5).softmax(-2) * mask


cross_attention = Exercise(
    "query_generator.cross_attention",
    "Cross-attention",
    "medium",
    15,
    _cross_attention,
    _queries_and_passages,
    [
        Mistake(
            "padding seen",
            _scores_changed(lambda s, mask, head, size: (s / head**0.5).softmax(-1)),
            "Padding of the passage is attended to: `mask` makes no difference.",
            "Set the scores of padding to −inf before the softmax: `masked_fill(mask[:, None, None] == 0, -inf)`.",
        ),
        Mistake(
            "zeros for padding",
            _scores_changed(lambda s, mask, head, size: (s / head**0.5 * mask).softmax(-1)),
            "The scores of padding are 0, which a softmax does not take for nothing.",
            "A score of −inf has a weight of 0 after the softmax; a score of 0 has not.",
        ),
        Mistake(
            "weights of padding dropped",
            _scores_changed(lambda s, mask, head, size: (s / head**0.5).softmax(-1) * mask),
            "The weights of padding are dropped after the softmax, so that the others no longer sum to 1.",
            "Mask before the softmax, with −inf.",
        ),
        Mistake(
            "mask turned",
            _scores_changed(
                lambda s, mask, head, size: (
                    (s / head**0.5).masked_fill(mask & ~mask.all(-1, True), -math.inf).softmax(-1)
                )
            ),
            "Only padding is attended to: the mask is the wrong way round.",
            "`mask` is 1 for a token; hide where it is 0.",
        ),
        Mistake(
            "causal",
            _scores_changed(_causal),
            "A causal mask hides later tokens of the passage.",
            "The passage is known whole: only the decoder's attention to itself is causal.",
        ),
        Mistake(
            "not scaled",
            _scores_changed(lambda s, mask, head, size: s.masked_fill(~mask, -math.inf).softmax(-1)),
            "The scores are not divided by a square root.",
            "Divide by the square root of the length of a head's vectors, `(d // heads) ** 0.5`.",
        ),
        Mistake(
            "scaled by all of d",
            _scores_changed(lambda s, mask, head, size: (s / size**0.5).masked_fill(~mask, -math.inf).softmax(-1)),
            "The scores are divided by the square root of `d`, as if there were one head.",
            "Each head compares vectors of length `d // heads`.",
        ),
        Mistake(
            "divided by the length",
            _scores_changed(lambda s, mask, head, size: (s / head).masked_fill(~mask, -math.inf).softmax(-1)),
            "The scores are divided by the length of a head's vectors, not by its square root.",
            "`(d // heads) ** 0.5`.",
        ),
        Mistake(
            "softmax over the query",
            _scores_changed(_over_queries),
            "The weights sum to 1 over the tokens of the query.",
            "Each token of the query spreads a weight of 1 over the passage: `softmax(-1)` of scores (…, T', T).",
        ),
        Mistake(
            "one head",
            lambda hidden, states, mask, query, key, value, heads: _cross_attention(
                hidden, states, mask, query, key, value, 1
            ),
            "`heads` makes no difference: all `d` numbers form one head.",
            "Split `d` into `heads` parts, (B, T, d) → (B, heads, T, d / heads), and attend in each.",
        ),
        Mistake(
            "heads cut across tokens",
            _interleaved,
            "A head holds parts of different tokens: the vectors were reshaped in the wrong order.",
            "First (B, T, heads, d / heads), then `transpose(1, 2)`; and the same way back.",
        ),
        Mistake(
            "query and passage exchanged",
            lambda hidden, states, mask, query, key, value, heads: _attend(
                query(states), key(hidden), value(hidden), mask[:, : hidden.shape[1]], heads
            ),
            "The passage asks and the query answers.",
            "Queries come from `hidden`, keys and values from `states`.",
        ),
        Mistake(
            "values of the query",
            lambda hidden, states, mask, query, key, value, heads: _attend(
                query(hidden), key(states), value(hidden), mask, heads
            ),
            "What is taken are the query's own tokens: the values come from `hidden`.",
            "Keys and values both come from the passage, `states`.",
        ),
        Mistake(
            "attention to itself",
            lambda hidden, states, mask, query, key, value, heads: _attend(
                query(hidden), key(hidden), value(hidden), mask[:, : hidden.shape[1]], heads
            ),
            "The passage plays no part: this is the query's attention to itself.",
            "Keys and values come from the passage, `states`.",
        ),
    ],
    [
        "It is the attention of notebook 01, except that queries come from one text and keys and values from another.",
        "`split(query(hidden))`, `split(key(states))`, `split(value(states))`, each (B, heads, tokens, d / heads).",
        "Scores (B, heads, T', T) over the square root of d / heads, −inf where `mask[:, None, None]` is 0, softmax, "
        "times the values; then put the heads side by side again.",
    ],
    """
    def my_cross_attention(hidden, states, mask, query, key, value, heads):
        def split(x):  # (B, tokens, d) → (B, heads, tokens, d / heads)
            return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

        q, k, v = split(query(hidden)), split(key(states)), split(value(states))
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5               # (B, heads, T', T)
        scores = scores.masked_fill(mask[:, None, None] == 0, -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(hidden.shape)
    """,
    "Every token of the query asks, and the tokens of the passage, without padding, are what it asks about.",
)

# --------------------------------------------------------------------------- the pointer


def _next_tokens():
    generator = torch.Generator().manual_seed(1)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator)

    ids = torch.tensor([[3, 1, 3, 0], [2, 2, 2, 4]])  # tokens that occur more than once
    return {
        "a token that stands in its passage twice": (numbers(2, 6), numbers(2), numbers(2, 4).softmax(-1), ids),
        "a gate that is nearly open": (numbers(2, 5), numbers(2) + 4, numbers(2, 4).softmax(-1), ids),
        "three tokens, a passage longer than the vocabulary": (
            *(numbers(3, 3), numbers(3), numbers(3, 5).softmax(-1)),
            torch.tensor([[0, 1, 2, 0, 1], [0, 1, 1, 2, 2], [1, 0, 1, 2, 1]]),
        ),
        "a single token": (numbers(1, 4) * 3, numbers(1), numbers(1, 2).softmax(-1), torch.tensor([[1, 3]])),
    }


def _mixed(own=lambda logits: logits.softmax(-1), gate=torch.sigmoid, add=True, copied=lambda a: a):
    def mix(logits, gate_logit, attention, ids):
        share = gate(gate_logit)[:, None]
        written, pointed = share * own(logits), (1 - share) * copied(attention)
        return (
            written.scatter_add(-1, ids, pointed)
            if add
            else written + torch.zeros_like(written).scatter(-1, ids, pointed)
        )

    return mix


def _copied_by_place(logits, gate, attention, ids):
    share, width = torch.sigmoid(gate)[:, None], logits.shape[-1]
    copied = F.pad(attention, (0, max(0, width - attention.shape[-1])))[:, :width]
    return share * logits.softmax(-1) + (1 - share) * copied


copy_or_write = Exercise(
    "query_generator.copy_or_write",
    "Copy or write",
    "medium",
    10,
    functional.copy_or_write,
    _next_tokens,
    [
        Mistake(
            "last place only",
            _mixed(add=False),
            "Of a token that stands in its passage more than once, only one place counts.",
            "Add up its shares: `scatter_add` where `scatter` keeps one.",
        ),
        Mistake(
            "gate turned",
            _mixed(gate=lambda g: torch.sigmoid(-g)),
            "The gate is the wrong way round: it is the share of writing, not of copying.",
            "g times what the decoder writes, 1 − g times what is copied.",
        ),
        Mistake(
            "gate without a sigmoid",
            _mixed(gate=lambda g: g),
            "`gate` is a logit, any number; a share is between 0 and 1.",
            "`torch.sigmoid(gate)`.",
        ),
        Mistake(
            "logits not normalised",
            _mixed(own=lambda logits: logits),
            "What the decoder writes has to be a distribution before it is mixed.",
            "`logits.softmax(-1)`.",
        ),
        Mistake(
            "attention normalised again",
            _mixed(copied=lambda attention: attention.softmax(-1)),
            "The attention went through a softmax a second time.",
            "Each of its rows sums to 1 already.",
        ),
        Mistake(
            "nothing copied",
            lambda logits, gate, attention, ids: logits.softmax(-1),
            "The passage makes no difference.",
            "Add (1 − g) times the attention of each place to the token that stands there.",
        ),
        Mistake(
            "always copied",
            lambda logits, gate, attention, ids: torch.zeros_like(logits).scatter_add(-1, ids, attention),
            "Everything is copied: the decoder's own words make no difference.",
            "g times what the decoder writes comes first.",
        ),
        Mistake(
            "not mixed",
            lambda logits, gate, attention, ids: logits.softmax(-1).scatter_add(-1, ids, attention),
            "Both ways count in full, so that the sum is 2.",
            "Weight them with g and 1 − g.",
        ),
        Mistake(
            "logits mixed",
            lambda *case: _mixed(own=lambda logits: logits)(*case).softmax(-1),
            "Logits and attention are mixed before the softmax.",
            "Mix two distributions: the softmax comes first.",
        ),
        Mistake(
            "by place",
            _copied_by_place,
            "What is copied is written to the place in the passage and not to the token that stands there.",
            "`ids` says which token stands at each place: `scatter_add(-1, ids, …)`.",
        ),
    ],
    [
        "Two distributions over the V tokens: what the decoder would write, and what the pointer would copy.",
        "`torch.sigmoid(gate)[:, None]` is g; the first distribution is `logits.softmax(-1)`.",
        "`(g * own).scatter_add(-1, ids, (1 - g) * attention)` adds each place's share to the token that stands there.",
    ],
    """
    def my_copy_or_write(logits, gate, attention, ids):
        g = torch.sigmoid(gate)[:, None]                                     # (M, 1)
        return (g * logits.softmax(-1)).scatter_add(-1, ids, (1 - g) * attention)
    """,
    "Both ways are distributions, and so is what g and 1 − g mix of them; a token that occurs twice gets both shares.",
)

# --------------------------------------------------------------------------- the generation loop

BEGIN, END = 0, 1


def _model(ends, size=9):
    """A `step` whose next token depends on all before; END is likeliest once, after `ends[n]` tokens of row n."""
    places = torch.arange(1, 40)

    def step(ids):
        length = ids.shape[1]
        likeliest = 2 + (ids * places[:length]).sum(1) % (size - 2)  # no special token
        over = torch.tensor([length == end + 1 for end in ends])
        likeliest = torch.where(over, torch.full_like(likeliest, END), likeliest)
        second = 2 + (likeliest + 3) % (size - 2)
        return F.one_hot(likeliest, size) * 2.0 + F.one_hot(second, size)

    return step


def _greedy(logits):
    return logits.argmax(-1)


def _second(logits):
    """The likeliest, but the second likeliest where no end is likeliest: what a draw might give."""
    first = logits.argmax(-1)
    return torch.where(first == END, first, logits.topk(2).indices[:, 1])


def _texts_to_write():
    return {
        "texts that end at different times": (_model([3, 1, 4]), _greedy, 3, 8, BEGIN, END),
        "a text that does not end in time": (_model([2, 30]), _greedy, 2, 5, BEGIN, END),
        "a draw that does not take the likeliest": (_model([4, 2, 6, 3]), _second, 4, 9, BEGIN, END),
        "a single text": (_model([5]), _greedy, 1, 12, BEGIN, END),
        "another beginning and another end": (_model([2, 30]), _greedy, 2, 10, 5, 8),
    }


def _loop(
    seen=lambda ids: ids,
    stop=lambda finished: finished.all(),
    after=lambda token, finished, end: token.masked_fill(finished, end),
    more=0,
    greedy=False,
    result=lambda ids, begin, end: ids[:, 1:],
    ends_with=None,
):
    def generate(step, choose, count, most, begin, end):
        ids = torch.full((count, 1), begin)
        finished = torch.zeros(count, dtype=torch.bool)
        while ids.shape[1] <= most + more and not stop(finished):
            logits = step(seen(ids))
            token = after(_greedy(logits) if greedy else choose(logits), finished, end)
            ids = torch.cat([ids, token[:, None]], 1)
            finished = finished | (token == (end if ends_with is None else ends_with))
        return result(ids, begin, end)

    return generate


generate = Exercise(
    "query_generator.generate",
    "The generation loop",
    "medium",
    12,
    write_tokens,
    _texts_to_write,
    [
        Mistake(
            "beginning kept",
            _loop(result=lambda ids, begin, end: ids),
            "The beginning token is part of the result.",
            "It is read by the decoder, but nobody wrote it: return `ids[:, 1:]`.",
        ),
        Mistake(
            "written on",
            _loop(after=lambda token, finished, end: token),
            "After its end a text is written on, as long as another one of the batch has not ended.",
            "Remember which rows have ended, and give them `end` in every later step.",
        ),
        Mistake(
            "stopped at the first end",
            _loop(stop=lambda finished: finished.any()),
            "Everything stops as soon as one text has ended.",
            "Stop when all rows have ended: `finished.all()`.",
        ),
        Mistake(
            "never stopped",
            _loop(stop=lambda finished: False),
            "It writes `most` tokens even where all texts have ended before.",
            "Leave the loop as soon as all rows have ended, which saves most of the time.",
        ),
        Mistake(
            "last token alone",
            _loop(seen=lambda ids: ids[:, -1:]),
            "The decoder is given the last token alone.",
            "It has no memory of its own: pass all tokens so far, the beginning included.",
        ),
        Mistake(
            "without the beginning",
            _loop(seen=lambda ids: ids[:, 1:] if ids.shape[1] > 1 else ids),
            "From the second step on, the beginning token is missing from what the decoder reads.",
            "Pass all of `ids`, and cut the beginning off at the very end.",
        ),
        Mistake(
            "one too few",
            _loop(more=-1),
            "An unfinished text has one token too few.",
            "`most` tokens may be written, and the beginning does not count.",
        ),
        Mistake(
            "one too many",
            _loop(more=1),
            "An unfinished text has one token too many.",
            "`most` tokens may be written: count without the beginning, from 0 to `most` − 1.",
        ),
        Mistake(
            "likeliest token",
            _loop(greedy=True),
            "The likeliest token is taken each time, whatever `choose` says.",
            "`token = choose(step(ids))`, (N,).",
        ),
        Mistake(
            "padded with the beginning",
            lambda step, choose, count, most, begin, end: _after_end(
                write_tokens(step, choose, count, most, begin, end), end, begin
            ),
            "What follows the end of a text is filled with the beginning token.",
            "Fill with `end`: it is what the tokenizer leaves out when it reads the ids.",
        ),
        Mistake(
            "always the same end",
            _loop(ends_with=END),
            "The end is not always token 1: `end` is an argument.",
            "A row has ended where `token == end`.",
        ),
    ],
    [
        "Begin with a column of `begin`, (N, 1), and add a column in every step, until `most` were added.",
        "`token = choose(step(ids))`, `end` for rows that have ended; then `torch.cat([ids, token[:, None]], 1)`.",
        "Keep a bool tensor `finished`, (N,): `finished |= token == end`. Stop when all of it is true.",
    ],
    """
    def my_generate(step, choose, count, most, begin, end):
        ids = torch.full((count, 1), begin)
        finished = torch.zeros(count, dtype=torch.bool)
        for _ in range(most):
            token = choose(step(ids)).masked_fill(finished, end)
            ids = torch.cat([ids, token[:, None]], 1)
            finished |= token == end
            if finished.all():
                break
        return ids[:, 1:]
    """,
    "Each token is chosen after all tokens before it, and a text that has ended stays as it is until the last one has.",
    gradients=False,
)


def _after_end(ids, end, filler):
    later = F.pad((ids == end).long().cumsum(1)[:, :-1], (1, 0)) > 0
    return ids.masked_fill(later, filler)

"""Exercises of notebook 04: the noise, the decoder's input and labels, its attention to tokens and to one vector."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "04_tsdae"

# --------------------------------------------------------------------------- the noise

CLS, SEP = 1, 2
CALLS = 200  # of the function, so that shares come out to a few per cent


def _texts():
    def text(words, probability, inside=()):
        ids = torch.tensor([CLS, *range(10, 10 + words), *inside, SEP])
        return ids, ids < 10, probability, torch.Generator().manual_seed(1)

    return {
        "a text of 40 words": text(40, 0.6),
        "a text of three words, of which hardly one should stay": text(3, 0.95),
        "a rate of 0.2, and a special token inside of the text": text(40, 0.2, inside=[SEP, 60, 61]),
    }


def _delete_tokens(ids, special, probability, generator):
    left, _ = functional.delete_tokens(ids[None], special[None], probability, generator, pad_id=-1)
    return left[0]


def _fates(call, ids, special, probability, generator):
    """What became of one text, over many calls."""
    text, words = ids.tolist(), set(ids[~special].tolist())
    results = [call(ids, special, probability, generator).tolist() for _ in range(CALLS)]
    left = torch.tensor([float(sum(token in words for token in result)) for result in results])
    long = len(words) > 10  # of three words one is left, most of the time
    return {
        "share of the words that is deleted": 1 - float(left.mean()) / len(words),
        "spread of this share from call to call": float(left.std()) / len(words) if long else 0.0,
        "calls in which a special token is gone": _share(
            sum(t < 10 for t in r) < special.sum().item() for r in results
        ),
        "calls in which no word is left": _share(n == 0 for n in left.tolist()),
        "calls in which something is in another place than before": _share(not _in_order(r, text) for r in results),
        "calls in which the first word is the only one": _share(result == [CLS, 10, SEP] for result in results),
        "calls with the same result as the call before": _share(a == b for a, b in zip(results, results[1:]))
        if long
        else 0.0,
    }


def _share(truths):
    truths = list(truths)
    return sum(truths) / len(truths)


def _in_order(result, text):
    rest = iter(text)
    return all(token in rest for token in result)


def _random(ids, special, generator, **_):
    return torch.rand(len(ids), generator=generator)


def _noise(stays=lambda uniform, probability: uniform >= probability, draw=_random, saved="any", result=None):
    """Deletion with one thing changed. saved: which word stays where all would go."""

    def delete_tokens(ids, special, probability, generator):
        kept = stays(draw(ids, special, generator, probability=probability), probability) | special
        words = (~special).nonzero().flatten()
        if saved and not kept[words].any():
            number = 0 if saved == "first" else int(torch.randint(len(words), (1,), generator=generator))
            kept[words[number]] = True
        return result(ids, kept, generator) if result else ids[kept]

    return delete_tokens


def _special_too(ids, special, probability, generator):
    kept = torch.rand(len(ids), generator=generator) >= probability
    if not kept[~special].any():
        kept[int(torch.randint(1, len(ids) - 1, (1,), generator=generator))] = True
    return ids[kept]


def _exact_number(ids, special, generator, probability):
    """Draws below `probability` for exactly this share of the words."""
    words = (~special).nonzero().flatten()
    uniform = torch.ones(len(ids))
    gone = torch.randperm(len(words), generator=generator)[: round(probability * len(words))]
    uniform[words[gone]] = 0.0
    return uniform


delete_tokens = Exercise(
    "tsdae.delete_tokens",
    "The noise",
    "medium",
    10,
    _delete_tokens,
    _texts,
    [
        Mistake(
            "kept instead of deleted",
            _noise(stays=lambda uniform, probability: uniform < probability),
            "It is the other way round: a share of `probability` stays, and the others are deleted.",
            "A uniform number is below 0.6 in 60 % of the cases, and these words must be deleted. (The examples of "
            "Sentence Transformers contain the same slip: they delete 40 %.)",
        ),
        Mistake(
            "half of them",
            _noise(stays=lambda uniform, probability: uniform >= 0.5),
            "`probability` makes no difference: half of the words are deleted.",
            "Compare each draw with `probability`.",
        ),
        Mistake(
            "special tokens deleted",
            _special_too,
            "[CLS] and [SEP] are deleted like words.",
            "Keep what `special` marks: `kept | special`.",
        ),
        Mistake(
            "ends alone kept",
            lambda ids, special, probability, generator: _noise()(
                ids, (torch.arange(len(ids)) % (len(ids) - 1)) == 0, probability, generator
            ),
            "The first and the last token stay, but a special token between them is deleted like a word.",
            "Keep what `special` marks, at any position: `kept | special`.",
        ),
        Mistake(
            "nothing left",
            _noise(saved=None),
            "In some calls no word of a short text is left.",
            "If all words would be deleted, keep one of them. Do not count [CLS] and [SEP], which always stay.",
        ),
        Mistake(
            "first word saved",
            _noise(saved="first"),
            "Where all words would be deleted, it is always the first that stays.",
            "Draw which one stays: `torch.randint(len(words), (1,), generator=generator)`.",
        ),
        Mistake(
            "masked",
            _noise(result=lambda ids, kept, generator: torch.where(kept, ids, 0)),
            "The deleted words leave a gap: the text is as long as before.",
            "Deletion closes the gap, so the encoder cannot count the missing words: `ids[kept]`.",
        ),
        Mistake(
            "shuffled",
            _noise(
                result=lambda ids, kept, generator: torch.cat(
                    [
                        ids[:1],
                        ids[1:-1][kept[1:-1]][torch.randperm(int(kept[1:-1].sum()), generator=generator)],
                        ids[-1:],
                    ]
                )
            ),
            "The words that are left are in another order.",
            "Select with a mask, `ids[kept]`, which keeps the order.",
        ),
        Mistake(
            "one draw for the text",
            _noise(
                draw=lambda ids, special, generator, **_: torch.rand(1, generator=generator).expand(len(ids)).clone()
            ),
            "Either all words are deleted or none: there is one draw for the whole text.",
            "Draw one number per word: `torch.rand(len(ids), generator=generator)`.",
        ),
        Mistake(
            "always the same number",
            _noise(draw=_exact_number),
            "Every call deletes the same number of words.",
            "Decide for every word separately; then the number varies from call to call.",
        ),
        Mistake(
            "the same every time",
            _noise(
                draw=lambda ids, special, generator, **_: torch.rand(
                    len(ids), generator=torch.Generator().manual_seed(0)
                )
            ),
            "The noise is the same at every call.",
            "Do not set a seed inside the function; draw from the `generator` that is passed. TSDAE needs new noise "
            "each time it reads a text.",
        ),
    ],
    [
        "Draw one uniform number per token; it decides whether the token is deleted. Special tokens are never "
        "deleted, and the last word that is left is not deleted either.",
        "`kept = (torch.rand(len(ids), generator=generator) >= probability) | special`, then `ids[kept]`.",
        "`kept[~special].any()` says whether a word is left. If none is, set `kept` to True at a random position of "
        "`(~special).nonzero()`.",
    ],
    """
    def my_delete_tokens(ids, special, probability, generator):
        kept = (torch.rand(len(ids), generator=generator) >= probability) | special
        if not kept[~special].any():
            words = (~special).nonzero().flatten()
            kept[words[torch.randint(len(words), (1,), generator=generator)]] = True
        return ids[kept]
    """,
    "Each word is deleted or kept by its own draw; the order, the special tokens and at least one word always stay.",
    measure=_fates,
    shapes=False,
    tolerance={
        "share of the words that is deleted": 0.05,
        "spread of this share from call to call": 0.04,
        "calls in which a special token is gone": 0.0,
        "calls in which no word is left": 0.0,
        "calls in which something is in another place than before": 0.0,
        "calls in which the first word is the only one": 0.2,
        "calls with the same result as the call before": 0.1,
    },
)

# --------------------------------------------------------------------------- input and labels


def _padded():
    return {
        "padding": (torch.tensor([[1, 7, 8, 9, 2], [1, 6, 2, 0, 0]]), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])),
        "padding with the number of a word, and a word with the number 0": (
            torch.tensor([[1, 0, 6, 2, 5, 5], [1, 5, 7, 5, 2, 5]]),
            torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]),
        ),
        "one text of three tokens": (torch.tensor([[1, 7, 2]]), torch.tensor([[1, 1, 1]])),
    }


def _hidden(labels, mask):
    return labels.masked_fill(mask == 0, -100)


next_token_targets = Exercise(
    "tsdae.next_token_targets",
    "What the decoder reads and predicts",
    "easy",
    6,
    functional.next_token_targets,
    _padded,
    [
        Mistake(
            "not shifted",
            lambda ids, mask: (ids[:, :-1], _hidden(ids[:, :-1], mask[:, :-1])),
            "The label at each position is the token that is read there, so the decoder only has to copy.",
            "The label at position t is the token at t + 1: `ids[:, 1:]`.",
        ),
        Mistake(
            "backwards",
            lambda ids, mask: (ids[:, 1:], _hidden(ids[:, :-1], mask[:, :-1])),
            "The decoder reads a token and has to predict the one *before* it.",
            "It reads all but the last token, `ids[:, :-1]`, and predicts all but the first.",
        ),
        Mistake(
            "two steps ahead",
            lambda ids, mask: (ids[:, :-2], _hidden(ids[:, 2:], mask[:, 2:])),
            "The label is the token after the next one.",
            "Shift by one: `ids[:, :-1]` and `ids[:, 1:]`.",
        ),
        Mistake(
            "padding answered",
            lambda ids, mask: (ids[:, :-1], ids[:, 1:]),
            "Padding has labels too, so short texts teach the decoder to predict [PAD].",
            "Where `mask[:, 1:]` is 0, the label must be −100, which cross-entropy leaves out.",
        ),
        Mistake(
            "mask of what is read",
            lambda ids, mask: (ids[:, :-1], _hidden(ids[:, 1:], mask[:, :-1])),
            "There is one label too many: after [SEP], the first padding token has one.",
            "The mask must be shifted like the labels: `mask[:, 1:]`.",
        ),
        Mistake(
            "mask upside down",
            lambda ids, mask: (ids[:, :-1], _hidden(ids[:, 1:], 1 - mask[:, 1:])),
            "The tokens have −100, and the padding has labels.",
            "The mask is 1 for a token; −100 belongs where `mask[:, 1:]` is 0.",
        ),
        Mistake(
            "padding by its number",
            lambda ids, mask: (ids[:, :-1], _hidden(ids[:, 1:], ids[:, 1:])),
            "Every token with the id 0 counts as padding.",
            "The id of padding differs from model to model; the mask says what is padding.",
        ),
        Mistake(
            "−100 read",
            lambda ids, mask: (_hidden(ids[:, :-1], mask[:, :-1]), _hidden(ids[:, 1:], mask[:, 1:])),
            "The decoder's input contains −100, and there is no embedding with that id.",
            "Only the labels are −100 at padding; `ids[:, :-1]` stays as it is.",
        ),
        Mistake(
            "full length",
            lambda ids, mask: (
                ids,
                torch.cat([_hidden(ids[:, 1:], mask[:, 1:]), torch.full_like(ids[:, :1], -100)], 1),
            ),
            "The decoder reads the last token too, after which there is nothing to predict.",
            "The loss would be right, but the last column is wasted work: leave it out of both.",
        ),
        Mistake(
            "labels alone cut",
            lambda ids, mask: (ids, _hidden(ids[:, 1:], mask[:, 1:])),
            "The input is one token longer than the labels.",
            "Each position needs both: the input is `ids[:, :-1]`.",
        ),
    ],
    [
        "Write the tokens of a text in a row, and below each token the next one. Which column has nothing below it?",
        "The input is `ids[:, :-1]`, the labels are `ids[:, 1:]`; where `mask[:, 1:]` is 0, `masked_fill` with −100.",
    ],
    """
    def my_next_token_targets(ids, mask):
        labels = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
        return ids[:, :-1], labels
    """,
    "At each position the decoder has read all tokens so far and predicts the next one; padding is never predicted.",
)

# --------------------------------------------------------------------------- causal attention


def _queries():
    generator = torch.Generator().manual_seed(3)
    query, key, value = torch.randn(3, 2, 5, 6, generator=generator)
    query[..., 0], key[..., 0] = 1 + query[..., 0].abs(), -3 - key[..., 0].abs()
    return {
        "four tokens, d = 3": tuple(torch.randn(3, 4, 3, generator=generator)),
        "two texts of three tokens": tuple(torch.randn(3, 2, 3, 2, generator=generator)),
        "two texts with two heads each": tuple(torch.randn(3, 2, 2, 5, 4, generator=generator)),
        "very negative scores": (20 * query, key, value),
    }


def _causal_attention(query, key, value):
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def _later(scores, diagonal=1):
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)


def _scores(query, key):
    return query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5


def _masked_attention(query, key, value, hidden, scores=_scores):
    scores = scores(query, key)
    return scores.masked_fill(hidden(scores), float("-inf")).softmax(-1) @ value


def _mask_after_softmax(query, key, value):
    weights = _scores(query, key).softmax(-1)
    return weights.masked_fill(_later(weights), 0.0) @ value


def _zero_for_infinity(query, key, value):
    scores = _scores(query, key)
    return scores.masked_fill(_later(scores), 0.0).softmax(-1) @ value


def _softmax_over_queries(query, key, value):
    scores = _scores(query, key)
    return scores.masked_fill(_later(scores), float("-inf")).softmax(-2) @ value


causal_attention = Exercise(
    "tsdae.causal_attention",
    "Never look ahead",
    "medium",
    8,
    _causal_attention,
    _queries,
    [
        Mistake(
            "sees everything",
            functional.attention,
            "Every token sees the later ones, so the answer is visible.",
            "Set the scores of later tokens to −∞ before the softmax.",
        ),
        Mistake(
            "sees only the future",
            lambda q, k, v: _masked_attention(q, k, v, lambda s: ~_later(s, 0)),
            "Each token sees itself and the *later* tokens.",
            "Row t holds what token t looks at; in it, the columns after t must be hidden: `triu(1)`.",
        ),
        Mistake(
            "blind to itself",
            lambda q, k, v: _masked_attention(q, k, v, lambda s: _later(s, 0)),
            "A token does not see itself, and the first one sees nothing at all, which makes it NaN.",
            "The diagonal stays: `triu(1)`, not `triu(0)`.",
        ),
        Mistake(
            "masked after the softmax",
            _mask_after_softmax,
            "The weights are masked after the softmax: the rest of a row no longer sums to 1.",
            "Mask the scores with −∞ before the softmax; then the weights that are left sum to 1.",
        ),
        Mistake(
            "zero for −∞",
            _zero_for_infinity,
            "Later tokens have the score 0, which still gives a weight after the softmax.",
            "exp(0) is 1. Only −∞ gives a weight of 0.",
        ),
        Mistake(
            "softmax over queries",
            _softmax_over_queries,
            "The softmax runs down the columns.",
            "A row holds the weights of one token's attention, and it sums to 1: `softmax(-1)`.",
        ),
        Mistake(
            "not scaled",
            lambda q, k, v: _masked_attention(q, k, v, _later, lambda q, k: q @ k.transpose(-2, -1)),
            "The scores are not divided by √d.",
            "Divide by `query.shape[-1] ** 0.5`.",
        ),
        Mistake(
            "divided by the root of T",
            lambda q, k, v: _masked_attention(
                q, k, v, _later, lambda q, k: q @ k.transpose(-2, -1) / q.shape[-2] ** 0.5
            ),
            "The scores are divided by √T, the root of the number of tokens.",
            "d is the length of a vector, the *last* axis: `query.shape[-1] ** 0.5`.",
        ),
        Mistake(
            "divided by d",
            lambda q, k, v: _masked_attention(q, k, v, _later, lambda q, k: q @ k.transpose(-2, -1) / q.shape[-1]),
            "The scores are divided by d instead of its root.",
            "Divide by `query.shape[-1] ** 0.5`.",
        ),
    ],
    [
        "It is attention as in notebook 01, but some scores must not count. Which half of the matrix is that?",
        "`torch.ones(T, T, dtype=torch.bool, device=query.device).triu(1)` is True above the diagonal: row t, columns "
        "after t.",
        "`scores.masked_fill(later, float('-inf'))`, then the softmax over the last axis, then the values.",
    ],
    """
    def my_causal_attention(query, key, value):
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(later, float("-inf")).softmax(-1) @ value
    """,
    "The scores of later tokens are −∞ before the softmax, so each row distributes its weight of 1 over the tokens "
    "read so far.",
)

# --------------------------------------------------------------------------- attention to one vector


def _layers():
    generator = torch.Generator().manual_seed(5)
    return {
        f"d = {d}": tuple(torch.randn(size, generator=generator) for size in ((d, d), (d,), (d, d), (d,)))
        for d in (4, 3, 6)
    }


def _linear_map(value_weight, value_bias, out_weight, out_bias):
    return out_weight @ value_weight, out_weight @ value_bias + out_bias


linear_map = Exercise(
    "tsdae.linear_map",
    "Attention to one vector is a linear map",
    "medium",
    8,
    _linear_map,
    _layers,
    [
        Mistake(
            "other order",
            lambda value_weight, value_bias, out_weight, out_bias: (
                value_weight @ out_weight,
                out_weight @ value_bias + out_bias,
            ),
            "The weights are multiplied in the other order.",
            "The vector meets `value_weight` first: out(value(s)) is `out_weight @ (value_weight @ s)`.",
        ),
        Mistake(
            "transposed",
            lambda value_weight, value_bias, out_weight, out_bias: (
                (out_weight @ value_weight).T,
                out_weight @ value_bias + out_bias,
            ),
            "The weight is transposed.",
            "As in `nn.Linear`, each row of the weight gives one number of the result: `F.linear(s, weight, bias)`.",
        ),
        Mistake(
            "element by element",
            lambda value_weight, value_bias, out_weight, out_bias: (
                out_weight * value_weight,
                out_weight @ value_bias + out_bias,
            ),
            "The weights are multiplied element by element.",
            "Two linear maps in a row are a matrix product: `@`.",
        ),
        Mistake(
            "bias of the value lost",
            lambda value_weight, value_bias, out_weight, out_bias: (out_weight @ value_weight, out_bias),
            "The bias of the value is lost.",
            "It goes through `out_weight` too: W(Vs + v) + w = WVs + Wv + w.",
        ),
        Mistake(
            "bias of the output lost",
            lambda value_weight, value_bias, out_weight, out_bias: (out_weight @ value_weight, out_weight @ value_bias),
            "The bias of the output is lost.",
            "It is added at the end: W(Vs + v) + w = WVs + Wv + w.",
        ),
        Mistake(
            "biases added",
            lambda value_weight, value_bias, out_weight, out_bias: (out_weight @ value_weight, value_bias + out_bias),
            "The biases are added as they are.",
            "That of the value goes through `out_weight` first: W(Vs + v) + w = WVs + Wv + w.",
        ),
        Mistake(
            "value alone",
            lambda value_weight, value_bias, out_weight, out_bias: (value_weight, value_bias),
            "This is the value layer alone; the output layer that follows attention is missing.",
            "Combine both layers: first `value`, then `out`.",
        ),
    ],
    [
        "A softmax over one score is 1, so attention returns the value itself, for every query. Which two layers does "
        "the sentence's vector s go through?",
        "The result is W(Vs + v) + w. Multiply it out: the factor of s is the weight, and the rest is the bias.",
    ],
    """
    def my_linear_map(value_weight, value_bias, out_weight, out_bias):
        return out_weight @ value_weight, out_weight @ value_bias + out_bias
    """,
    "W(Vs + v) + w is (WV)s + (Wv + w): one layer that gives the same result as the two, for every s.",
)

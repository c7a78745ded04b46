"""Exercises of notebook 01: LayerNorm, attention with a mask, heads, a transformer layer and pooling."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "01_sentence_encoder"

# --------------------------------------------------------------------------- attention


def _queries_keys_values():
    """Texts of several lengths; the padding holds numbers that would be noticed."""
    query = torch.tensor([[[1.0, 0.5], [-0.5, 1.5], [2.0, -1.0]], [[0.3, 1.0], [1.0, -2.0], [0.7, 0.2]]])
    key = torch.tensor([[[0.5, 1.0], [1.5, -0.5], [-1.0, 0.8]], [[2.0, 0.1], [-0.4, 0.9], [1.0, 1.0]]])
    value = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], [[5.0, 1.0], [2.0, 2.0], [0.0, 4.0]]])
    short = torch.tensor([[[1.0, 0.5, -0.5, 2.0], [0.3, -1.0, 1.0, 0.7]]])
    q, k, v = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(5) < torch.tensor([[5], [3], [4], [1]])).long()
    k[:, :, 0] = -3 - k[:, :, 0].abs()  # with queries that begin with a large number, all scores are far below 0
    q[:, :, 0] = 1 + q[:, :, 0].abs()
    padding = 1000.0 * (1 - mask[..., None])
    return {
        "padding on the right": (query, key, value, torch.tensor([[1, 1, 1], [1, 1, 0]])),
        "padding on the left": (query, key, value, torch.tensor([[0, 1, 1], [1, 1, 1]])),
        "no padding, and d = 4": (short, short.flip(-1), short.flip(1), torch.tensor([[1, 1]])),
        "four texts of five places, d = 6": (q / 3, k, v, mask),
        "very negative scores, and padding that holds ±1000": (20 * q, k + padding, v - padding, mask),
    }


def _attention(scale=lambda query: query.shape[-1] ** -0.5, hide=None, axis=-1, after=None):
    """Attention with one thing changed."""

    def attend(query, key, value, mask):
        scores = query @ key.transpose(-2, -1) * scale(query)
        scores = hide(scores, mask) if hide else scores.masked_fill(mask.unsqueeze(-2) == 0, float("-inf"))
        shares = scores.softmax(axis)
        return (after(shares, mask) if after else shares) @ value

    return attend


def _unmasked(scores, mask):
    return scores


attention = Exercise(
    "sentence_encoder.attention",
    "Attention with a mask",
    "medium",
    10,
    functional.attention,
    _queries_keys_values,
    [
        Mistake(
            "no root of d",
            _attention(scale=lambda query: 1),
            "The scores are not divided by √d.",
            "Divide them by `query.shape[-1] ** 0.5` before the softmax.",
        ),
        Mistake(
            "divided by d",
            _attention(scale=lambda query: 1 / query.shape[-1]),
            "The scores are divided by d; it should be √d.",
            "`query.shape[-1] ** 0.5`: a sum of d products spreads as √d.",
        ),
        Mistake(
            "divided by the root of T",
            _attention(scale=lambda query: query.shape[-2] ** -0.5),
            "The scores are divided by √T, the root of the number of places.",
            "d is the length of a vector, the *last* axis: `query.shape[-1]`.",
        ),
        Mistake(
            "multiplied by the root of d",
            _attention(scale=lambda query: query.shape[-1] ** 0.5),
            "The scores are multiplied by √d.",
            "Divide: the spread of the scores has to shrink.",
        ),
        Mistake(
            "mask forgotten",
            _attention(hide=_unmasked),
            "The padding is still looked at: the mask makes no difference.",
            "Set the scores of padded keys to −∞ before the softmax: `masked_fill`.",
        ),
        Mistake(
            "mask after the softmax",
            _attention(hide=_unmasked, after=lambda shares, mask: shares * mask.unsqueeze(-2)),
            "The shares of the padding are set to 0 *after* the softmax, so that the rest no longer adds up to 1.",
            "Mask the scores, not the shares: −∞ before the softmax.",
        ),
        Mistake(
            "mask added",
            _attention(hide=lambda scores, mask: scores + mask.unsqueeze(-2)),
            "The mask's ones are added to the scores, which makes the padding only a little less likely.",
            "What must be added is 0 for a token and −∞ for padding; `masked_fill` does that.",
        ),
        Mistake(
            "masked scores are 0",
            _attention(hide=lambda scores, mask: scores * mask.unsqueeze(-2)),
            "The scores of the padding are 0, and a score of 0 still gets a share.",
            "exp(0) is 1. Only −∞ gives a share of exactly 0.",
        ),
        Mistake(
            "mask upside down",
            _attention(hide=lambda scores, mask: scores.masked_fill(mask.unsqueeze(-2) == 1, float("-inf"))),
            "The tokens are hidden and the padding is seen; a text without padding sees nothing, and gives NaN.",
            "The mask is 1 for a token; hide where it is 0.",
        ),
        Mistake(
            "mask upside down, finite",
            _attention(hide=lambda scores, mask: scores.masked_fill(mask.unsqueeze(-2) == 1, -1e9)),
            "The tokens are hidden by a large negative score, and the padding is seen.",
            "The mask is 1 for a token; hide where it is 0.",
        ),
        Mistake(
            "queries masked, finite",
            _attention(hide=lambda scores, mask: scores.masked_fill(mask.unsqueeze(-1) == 0, -1e9)),
            "The mask hides queries: padded queries look everywhere alike, and padded keys are still seen.",
            "The keys are the last axis: `mask.unsqueeze(-2)` is (B, 1, T).",
        ),
        Mistake(
            "queries masked",
            _attention(hide=lambda scores, mask: scores.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))),
            "The mask hides queries, whole rows of −∞, whose softmax is NaN.",
            "The keys are the last axis: `mask.unsqueeze(-2)` is (B, 1, T).",
        ),
        Mistake(
            "softmax over the queries",
            _attention(axis=-2),
            "The softmax runs over the queries, so that the shares of one query do not add up to 1.",
            "Each query spreads its attention over the keys: `softmax(-1)`.",
        ),
    ],
    [
        "Four steps: scores (B, T, T), divided by √d; hide the padded keys; softmax over the keys; mix the values.",
        "`key.transpose(-2, -1)` turns (B, T, d) into (B, d, T). The keys are the last axis of the scores, so the mask "
        "needs a new axis in the middle: `mask.unsqueeze(-2)`.",
        '`scores.masked_fill(mask.unsqueeze(-2) == 0, float("-inf"))`, then `.softmax(-1) @ value`.',
    ],
    """
    def my_attention(query, key, value, mask):
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(mask.unsqueeze(-2) == 0, float("-inf"))
        return scores.softmax(-1) @ value
    """,
    "Every query spreads a share of 1 over the keys that are tokens, and −∞ leaves nothing for padding.",
)

# --------------------------------------------------------------------------- heads


def _to_split():
    return {
        "three heads of two numbers": (torch.arange(24.0).view(2, 2, 6), 3),
        "two heads of one number": (torch.arange(12.0).view(2, 3, 2), 2),
        "two heads of four numbers": (torch.arange(16.0).view(1, 2, 8), 2),
        "three texts, five places, four heads": (torch.arange(300.0).view(3, 5, 20), 4),
        "one head": (torch.arange(30.0).view(2, 5, 3), 1),
    }


def _split_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


split_heads = Exercise(
    "sentence_encoder.split_heads",
    "Split the heads",
    "medium",
    10,
    _split_heads,
    _to_split,
    [
        Mistake(
            "straight view",
            lambda x, heads: x.reshape(x.shape[0], heads, x.shape[1], -1),
            "A head now holds numbers of several tokens: the shape is right and the contents are mixed up.",
            "First cut the last axis into (h, d/h), then swap two axes.",
        ),
        Mistake(
            "axes not swapped",
            lambda x, heads: x.unflatten(-1, (heads, -1)),
            "The numbers are cut rightly, and the heads still stand behind the tokens: (B, T, h, d/h).",
            "Swap axes 1 and 2: `.transpose(1, 2)`.",
        ),
        Mistake(
            "every h-th number",
            lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2),
            "Each head has every h-th number of a token.",
            "Numbers that stand together belong to one head: cut the last axis into (h, d/h), in this order.",
        ),
        Mistake(
            "h numbers per head",
            lambda x, heads: x.unflatten(-1, (-1, heads)).transpose(1, 2),
            "There are d/h heads of h numbers each.",
            "`heads` is the number of heads; each has d/h numbers.",
        ),
        Mistake(
            "swapped last",
            lambda x, heads: x.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1),
            "Tokens and numbers are swapped inside each head: (B, h, d/h, T).",
            "The last axis stays the last; only the heads move in front of the tokens.",
        ),
    ],
    [
        "Two steps. The first cuts the last axis into (h, d/h), which gives (B, T, h, d/h).",
        "The second swaps axes 1 and 2. Test it with `torch.arange`: head 0 of token 0 is 0, 1, …",
    ],
    """
    def my_split_heads(x, heads):
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)
    """,
    "Each head holds neighbouring numbers of one token, and swapping two axes moves no number out of its token.",
)

# --------------------------------------------------------------------------- LayerNorm


def _to_normalise():
    x = torch.tensor([[[1.0, 2.0, 4.0], [0.05, -0.04, 0.02]], [[-3.0, 1.0, 0.5], [2.0, 2.5, 9.0]]])
    weight, bias = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, -1.0, 0.3])
    large, w, b = (torch.randn(size, generator=torch.Generator().manual_seed(2)) for size in ((1, 4, 5), (5,), (5,)))
    return {
        "a token of small numbers": (x, weight, bias, 0.001),
        "a token whose numbers are all equal": (
            torch.tensor([[[2.0, 2.0, 2.0], [1.0, 0.0, 5.0]]]),
            weight,
            bias,
            0.001,
        ),
        "a large `eps`": (x, weight, bias, 0.5),
        "a tiny `eps`, and five numbers in a token": (10 * large, w, b, 1e-12),
    }


def _layer_norm(x, weight, bias, eps):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def _standard(x, eps, axes=-1, unbiased=False):
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True, unbiased=unbiased) + eps).sqrt()


def _centred(x):
    return x - x.mean(-1, keepdim=True)


def _variance(x):
    return x.var(-1, keepdim=True, unbiased=False)


layer_norm = Exercise(
    "sentence_encoder.layer_norm",
    "LayerNorm",
    "medium",
    8,
    _layer_norm,
    _to_normalise,
    [
        Mistake(
            "divided by d − 1",
            lambda x, weight, bias, eps: _standard(x, eps, unbiased=True) * weight + bias,
            "The variance divides by d − 1.",
            "`var` does that by itself; LayerNorm divides by d: `unbiased=False`.",
        ),
        Mistake(
            "over the tokens",
            lambda x, weight, bias, eps: _standard(x, eps, axes=1) * weight + bias,
            "Mean and variance are taken over the tokens.",
            "Each token is normalised for itself, over its d numbers: axis −1.",
        ),
        Mistake(
            "over the batch",
            lambda x, weight, bias, eps: _standard(x, eps, axes=(0, 1)) * weight + bias,
            "Mean and variance are taken over the whole batch, as batch normalisation does.",
            "Each token is normalised for itself, over its d numbers: axis −1.",
        ),
        Mistake(
            "no root",
            lambda x, weight, bias, eps: _centred(x) / (_variance(x) + eps) * weight + bias,
            "The difference is divided by the variance; it should be its root.",
            "The standard deviation is `(var + eps).sqrt()`.",
        ),
        Mistake(
            "eps outside of the root",
            lambda x, weight, bias, eps: _centred(x) / (_variance(x).sqrt() + eps) * weight + bias,
            "`eps` is added after the root, which changes tokens of small variance.",
            "`(var + eps).sqrt()`.",
        ),
        Mistake(
            "eps forgotten",
            lambda x, weight, bias, eps: _centred(x) / _variance(x).sqrt() * weight + bias,
            "`eps` is missing: a token whose numbers are all equal is divided by 0.",
            "`(var + eps).sqrt()`.",
        ),
        Mistake(
            "eps of its own",
            lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias),
            "The `eps` that is passed makes no difference.",
            "Use the argument; `F.layer_norm` too has one for it, and takes 1e-5 without.",
        ),
        Mistake(
            "root mean square",
            lambda x, weight, bias, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight + bias,
            "The numbers are divided by their root mean square, and the mean is not subtracted: that is RMSNorm.",
            "Subtract `x.mean(-1, keepdim=True)` first.",
        ),
        Mistake(
            "mean left in",
            lambda x, weight, bias, eps: x / (_variance(x) + eps).sqrt() * weight + bias,
            "The mean is not subtracted.",
            "Subtract `x.mean(-1, keepdim=True)` first.",
        ),
        Mistake(
            "no weight, no bias",
            lambda x, weight, bias, eps: _standard(x, eps) + 0 * (weight + bias),
            "The learnt scale and shift are missing.",
            "Multiply by `weight`, then add `bias`, both (d,).",
        ),
        Mistake(
            "bias scaled too",
            lambda x, weight, bias, eps: (_standard(x, eps) + bias) * weight,
            "The bias is multiplied by the weight too.",
            "First times `weight`, then plus `bias`.",
        ),
    ],
    [
        "For each token: subtract the mean of its d numbers, divide by their standard deviation.",
        "`x.var(-1, keepdim=True, unbiased=False)` is the variance; `eps` is added to it under the root.",
    ],
    """
    def my_layer_norm(x, weight, bias, eps):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        return centred / (variance + eps).sqrt() * weight + bias
    """,
    "Each token is brought to mean 0 and variance 1 by its own numbers alone, before the learnt scale and shift.",
)

# --------------------------------------------------------------------------- a transformer layer


def mix_neighbours(x):
    return 0.5 * x.roll(1, dims=1) - 0.8 * x


def mix_everything(x):
    return 2.0 * x.mean(1, keepdim=True) + 0.3 * x


def bend(x):
    return torch.tanh(1.5 * x) - 0.4 * x


def square(x):
    return 0.3 * x * x + 0.5


def narrow_norm(x):
    return 0.5 * F.layer_norm(x, x.shape[-1:]) + 0.2


def wide_norm(x):
    return 1.7 * F.layer_norm(x, x.shape[-1:]) - 0.6


def _layers():
    """Inputs of a layer; the parts are small functions with two different norms, so that the order shows."""
    x, longer = (torch.randn(shape, generator=torch.Generator().manual_seed(5)) for shape in ((2, 3, 4), (1, 5, 6)))
    return {
        "two texts of three tokens": (x, mix_neighbours, bend, narrow_norm, wide_norm),
        "other parts, and the norms exchanged": (x, mix_everything, square, wide_norm, narrow_norm),
        "one text of five tokens, d = 6": (longer, mix_everything, bend, narrow_norm, wide_norm),
    }


def _block(x, attend, feed_forward, norm_1, norm_2):
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


def _no_first_residual(x, attend, feed_forward, norm_1, norm_2):
    x = norm_1(attend(x))
    return norm_2(x + feed_forward(x))


def _no_second_residual(x, attend, feed_forward, norm_1, norm_2):
    return norm_2(feed_forward(norm_1(x + attend(x))))


def _no_first_norm(x, attend, feed_forward, norm_1, norm_2):
    x = x + attend(x)
    return norm_2(x + feed_forward(x))


def _no_second_norm(x, attend, feed_forward, norm_1, norm_2):
    x = norm_1(x + attend(x))
    return x + feed_forward(x)


def _norm_of_the_input(x, attend, feed_forward, norm_1, norm_2):
    x = x + attend(norm_1(x))
    return x + feed_forward(norm_2(x))


def _norm_of_the_part(x, attend, feed_forward, norm_1, norm_2):
    x = x + norm_1(attend(x))
    return x + norm_2(feed_forward(x))


def _side_by_side(x, attend, feed_forward, norm_1, norm_2):
    return norm_2(norm_1(x + attend(x)) + feed_forward(x))


def _first_input_added_again(x, attend, feed_forward, norm_1, norm_2):
    return norm_2(x + feed_forward(norm_1(x + attend(x))))


block = Exercise(
    "sentence_encoder.block",
    "A transformer layer",
    "easy",
    5,
    _block,
    _layers,
    [
        Mistake(
            "no residuals",
            lambda x, attend, feed_forward, norm_1, norm_2: norm_2(feed_forward(norm_1(attend(x)))),
            "Both parts replace their input; nothing is added to it.",
            "Add the input to what each part returns, and normalise the sum: `norm_1(x + attend(x))`.",
        ),
        Mistake(
            "first residual forgotten",
            _no_first_residual,
            "The result of attention replaces `x`.",
            "Add them: `norm_1(x + attend(x))`.",
        ),
        Mistake(
            "second residual forgotten",
            _no_second_residual,
            "The result of the feed-forward part replaces its input.",
            "Add its input: `norm_2(x + feed_forward(x))`, where `x` is the result of the first line.",
        ),
        Mistake(
            "only attention",
            lambda x, attend, feed_forward, norm_1, norm_2: norm_1(x + attend(x)),
            "The second step is missing: nothing passes through the feed-forward part.",
            "Do the same with `feed_forward` and `norm_2`, on the result of the first step.",
        ),
        Mistake(
            "only feed-forward",
            lambda x, attend, feed_forward, norm_1, norm_2: norm_2(x + feed_forward(x)),
            "The result of attention is lost.",
            "Give it a name and pass it on: `x = norm_1(x + attend(x))`.",
        ),
        Mistake(
            "first norm forgotten",
            _no_first_norm,
            "The sum of `x` and attention is not normalised.",
            "Put `norm_1` around the first sum.",
        ),
        Mistake(
            "second norm forgotten",
            _no_second_norm,
            "The second sum is not normalised.",
            "Put `norm_2` around the second sum.",
        ),
        Mistake(
            "pre-norm",
            _norm_of_the_input,
            "Each part reads a normalised input. That is pre-norm, the order of GPT-2 and of most newer models.",
            "BERT normalises after the sum: `norm_1(x + attend(x))`.",
        ),
        Mistake(
            "norm of the part alone",
            _norm_of_the_part,
            "The result of each part is normalised and then added.",
            "First the sum, then the norm of the sum: `norm_1(x + attend(x))`.",
        ),
        Mistake(
            "side by side",
            _side_by_side,
            "The feed-forward part reads the layer's input; it should read the result of the first step.",
            "Give the result of the first step a name, and pass it on: `x = norm_1(x + attend(x))`.",
        ),
        Mistake(
            "first input added again",
            _first_input_added_again,
            "The second sum adds the input of the layer; it should add the result of the first step.",
            "What is added is what the part has read: `norm_2(x + feed_forward(x))`, with the new `x`.",
        ),
        Mistake(
            "norms exchanged",
            lambda x, attend, feed_forward, norm_1, norm_2: _block(x, attend, feed_forward, norm_2, norm_1),
            "`norm_1` and `norm_2` are exchanged.",
            "`norm_1` follows attention, `norm_2` the feed-forward part.",
        ),
        Mistake(
            "one norm for both",
            lambda x, attend, feed_forward, norm_1, norm_2: _block(x, attend, feed_forward, norm_1, norm_1),
            "`norm_1` is used for both sums.",
            "Each has learned weights of its own: `norm_2` follows the feed-forward part.",
        ),
        Mistake(
            "feed-forward first",
            lambda x, attend, feed_forward, norm_1, norm_2: _block(x, feed_forward, attend, norm_1, norm_2),
            "The feed-forward part comes before attention.",
            "Attention first: it is what lets the feed-forward part see other tokens.",
        ),
    ],
    [
        "Two lines, one per part. Each adds what the part returns to what it has read, and normalises the sum.",
        "The first line is `x = norm_1(x + attend(x))`.",
    ],
    """
    def my_block(x, attend, feed_forward, norm_1, norm_2):
        x = norm_1(x + attend(x))
        return norm_2(x + feed_forward(x))
    """,
    "Each part only adds to the token vectors, and the norm of the sum is what the next part reads.",
)

# --------------------------------------------------------------------------- pooling


def _hidden():
    return torch.tensor(
        [
            [[1.0, -2.0], [3.0, 0.5], [5.0, 2.0]],
            [[-1.0, -3.0], [-2.0, -0.5], [9.0, 9.0]],
            [[7.0, -7.0], [4.0, 2.0], [1.0, 3.0]],
        ]
    )


def _to_pool():
    hidden = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 0, 0, 0]])
    padding = 1000.0 * (1 - mask[..., None])
    return {
        "padding on the right, and in one text on the left": (
            _hidden(),
            torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1]]),
        ),
        "padding that holds 1000": (hidden + padding, mask),
        "padding that holds −1000": (hidden - padding, mask),
    }


def _to_average():
    return _to_pool() | {"a text without any token": (_hidden()[:2], torch.tensor([[1, 0, 0], [0, 0, 0]]))}


def _to_maximise():
    hidden, mask = _to_pool()["padding that holds 1000"]
    return _to_pool() | {"tokens with very negative numbers": (hidden - 900.0, mask)}


def _tokens(hidden, mask):
    return hidden * mask.unsqueeze(-1)


def _count(mask):
    return mask.sum(1, keepdim=True)


def _farthest_from_zero(hidden, mask):
    tokens = _tokens(hidden, mask)
    return tokens.gather(1, tokens.abs().argmax(1, keepdim=True)).squeeze(1)


def _first_places(hidden, mask):
    places = torch.arange(hidden.shape[1])[None] < _count(mask)
    return functional.mean_pool(hidden, places)


mean_pool = Exercise(
    "sentence_encoder.mean_pool",
    "Mean pooling with the mask",
    "easy",
    5,
    functional.mean_pool,
    _to_average,
    [
        Mistake(
            "padding in the mean",
            lambda hidden, mask: hidden.mean(1),
            "The padding is in the mean: the mask makes no difference.",
            "Multiply by the mask before you sum: `mask.unsqueeze(-1)` is (B, T, 1).",
        ),
        Mistake(
            "divided by T",
            lambda hidden, mask: _tokens(hidden, mask).mean(1),
            "The sum is right, and it is divided by T, the padding included.",
            "Divide by the number of tokens of each row, `mask.sum(1)`.",
        ),
        Mistake(
            "sum for mean",
            lambda hidden, mask: _tokens(hidden, mask).sum(1),
            "This is the sum; longer texts get longer vectors.",
            "Divide by the number of tokens of each row.",
        ),
        Mistake(
            "divided by all tokens",
            lambda hidden, mask: _tokens(hidden, mask).sum(1) / mask.sum(),
            "Each row is divided by the number of tokens of the whole batch.",
            "`mask.sum(1, keepdim=True)` counts row by row, (B, 1).",
        ),
        Mistake(
            "mask upside down",
            lambda hidden, mask: functional.mean_pool(hidden, 1 - mask),
            "This is the mean of the padding.",
            "The mask is 1 for a token and 0 for padding.",
        ),
        Mistake(
            "first places",
            _first_places,
            "The first n places are taken, and padding may stand on the left.",
            "Do not cut the row by its length; weigh each place by its mask.",
        ),
        Mistake(
            "division by zero",
            lambda hidden, mask: _tokens(hidden, mask).sum(1) / _count(mask),
            "A row without a token is divided by zero and gives NaN.",
            "The library gives zeros: `.clamp(min=1e-9)` on the number of tokens.",
        ),
    ],
    [
        "Multiply before you sum: `mask.unsqueeze(-1)` is (B, T, 1) and spreads over d.",
        "The divisor is the number of ones in each row, `mask.sum(1, keepdim=True)`. What if that is 0?",
    ],
    """
    def my_mean_pool(hidden, mask):
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    """,
    "Padding adds nothing to the sum and nothing to the count, so that its length does not change a vector.",
)

max_pool = Exercise(
    "sentence_encoder.max_pool",
    "Max pooling with the mask",
    "easy",
    5,
    functional.max_pool,
    _to_maximise,
    [
        Mistake(
            "padding included",
            lambda hidden, mask: hidden.amax(1),
            "The padding may win: the mask makes no difference.",
            "Hide the padding first, with a value that can never be the largest.",
        ),
        Mistake(
            "padding as 0",
            lambda hidden, mask: _tokens(hidden, mask).amax(1),
            "The padding is set to 0, and 0 is larger than a negative number.",
            'Fill the padding with −∞: `masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))`.',
        ),
        Mistake(
            "largest absolute value",
            _farthest_from_zero,
            "The number farthest from 0 is taken, with its sign.",
            "The largest is asked for, not the largest absolute value.",
        ),
        Mistake(
            "positions",
            lambda hidden, mask: hidden.masked_fill(mask.unsqueeze(-1) == 0, -1e9).argmax(1),
            "These are the places of the largest numbers, not the numbers.",
            "`.max(1)` returns values and indices; take the values, or use `.amax(1)`.",
        ),
        Mistake(
            "over the dimensions",
            lambda hidden, mask: hidden.amax(2).masked_fill(mask == 0, float("-inf")),
            "The maximum runs over the d numbers of each token.",
            "It runs over the tokens, axis 1, for each dimension: (B, T, d) → (B, d).",
        ),
    ],
    [
        "Which number can padding hold so that it never wins?",
        '`hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))`, then the maximum over axis 1.',
    ],
    """
    def my_max_pool(hidden, mask):
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)
    """,
    "−∞ is never the largest, so that padding cannot win, not even against negative numbers.",
)

"""The mathematics of the course: pure tensor functions, no models, no files."""

import torch
import torch.nn.functional as F

# --------------------------------------------------------------------------- attention and pooling


def attention(query, key, value, mask=None):
    """Scaled dot-product attention: each position's mixture of the values, weighted by softmax(q·k / √d).

    query, key, value: (…, T, d). mask: (…, T) or broadcastable, 1 where a key may be looked at, 0 where it is padding.
    Returns (…, T, d). Vaswani et al. (2017), eq. 1.
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (…, T, T)
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(-2) == 0, float("-inf"))
    return scores.softmax(-1) @ value


def mean_pool(hidden, mask):
    """Average the token vectors that are not padding.

    hidden: (B, T, d). mask: (B, T), 1 for a token, 0 for padding. Returns (B, d); a row with no token gives zeros.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def cls_pool(hidden, mask):
    """The vector of each row's first token that is not padding, on whichever side the padding stands.

    hidden: (B, T, d). mask: (B, T). Returns (B, d).
    """
    first = mask.long().argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), first]


def max_pool(hidden, mask):
    """The largest value of each dimension over the tokens that are not padding.

    hidden: (B, T, d). mask: (B, T). Returns (B, d).
    """
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def cosine(a, b):
    """Cosine of every row of `a` with every row of `b`: (N, d), (M, d) → (N, M)."""
    # autocast would multiply in bf16, whose 8 bits are too coarse for cosines that are divided by 0.05 next
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


# --------------------------------------------------------------------------- masked language modelling


def special_mask(ids, special):
    """True where a token must be left alone.

    ids: (B, T). special: a (B, T) mask, or a collection of token ids (padding, [CLS], [SEP] …). Returns (B, T) bool.
    """
    if torch.is_tensor(special) and special.shape == ids.shape:
        return special.bool()
    special = torch.as_tensor(list(special) if not torch.is_tensor(special) else special, device=ids.device)
    return torch.isin(ids, special.to(ids.dtype))


def mask_tokens(ids, special, probability, mask_id, vocab_size, generator=None):
    """Hide some tokens and say which: BERT's noise.

    Each ordinary token is chosen with `probability`; of the chosen, 80 % become `mask_id`, 10 % a random token and 10 %
    stay as they are. ids: (B, T). special: what is never chosen, as in `special_mask`. generator: on the ids' device.
    Returns inputs (B, T) and labels (B, T), which are −100 where nothing was chosen. Devlin et al. (2019), section 3.1.
    """
    chosen = draw(ids.shape, generator, ids.device) < probability
    return replace_tokens(ids, chosen & ~special_mask(ids, special), mask_id, vocab_size, generator)


def replace_tokens(ids, chosen, mask_id, vocab_size, generator=None):
    """The second half of `mask_tokens`: damage the chosen (B, T) tokens 80/10/10 and label them."""
    fate = draw(ids.shape, generator, ids.device)
    strangers = torch.randint(vocab_size, ids.shape, generator=generator, device=ids.device, dtype=ids.dtype)
    inputs = torch.where(chosen & (fate < 0.8), torch.full_like(ids, mask_id), ids)
    inputs = torch.where(chosen & (fate >= 0.9), strangers, inputs)
    return inputs, torch.where(chosen, ids, torch.full_like(ids, -100))


def draw(shape, generator=None, device=None):
    """Uniform numbers in [0, 1) of the given shape."""
    return torch.rand(shape, generator=generator, device=device)


def masked_lm_loss(logits, targets):
    """Mean cross-entropy of the hidden tokens.

    logits: (M, V), one row a hidden token. targets: (M,) token ids. Returns a scalar in nats; 0 where M is 0.
    """
    if len(targets) == 0:
        return logits.sum() * 0.0  # a batch in which chance hid nothing: no loss, and no NaN
    return F.cross_entropy(logits.float(), targets)


# --------------------------------------------------------------------------- denoising auto-encoder


def delete_tokens(ids, special, probability, generator=None, pad_id=0, words=None):
    """Drop some tokens and close the gaps: TSDAE's noise.

    Each ordinary token is dropped with `probability`; where chance would drop all of a row, one stays, each with the
    same chance. ids: (B, T). special: what is never dropped, as in `special_mask`. generator: on the ids' device.
    words: (B, T), the number of the word that a token belongs to, below T, so that the pieces of a word share their
    fate, as in the paper, which deletes words; None drops token by token.
    Returns ids and attention_mask, each (B, T'), padded on the right with `pad_id`, which is padding in `ids` too.
    Wang et al. (2021), section 3: probability 0.6.
    """
    padding = ids == pad_id
    ordinary = ~(special_mask(ids, special) | padding)
    fate = draw(ids.shape, generator, ids.device)
    if words is not None:
        fate = fate.gather(1, words)
    fate = fate.masked_fill(~ordinary, -1.0)
    # the largest draw stays whatever the probability: among equal draws, that is a fair choice
    kept = ordinary & (fate >= fate.amax(1, keepdim=True).clamp(max=probability))
    return close_gaps(ids, kept | ~(ordinary | padding), pad_id)


def close_gaps(ids, kept, pad_id=0):
    """Move the kept (B, T) tokens of each row together, in order: ids and attention_mask, each (B, T')."""
    lengths = kept.sum(1)
    width = int(lengths.max()) if len(lengths) else 0
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    mask = torch.arange(width, device=ids.device) < lengths[:, None]
    return ids.gather(1, order).masked_fill(~mask, pad_id), mask.long()


def next_token_targets(ids, mask):
    """What a decoder reads and what it must answer: at each position, the token after it.

    ids, mask: (B, T), padded on the right. Returns decoder_input_ids and labels, each (B, T − 1); labels are −100 at
    padding.
    """
    return ids[:, :-1], ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)


def copy_or_write(logits, gate, attention, ids):
    """Probabilities of the next token, which is either a word of one's own or copied from a passage.

    logits: (…, V), of what is written. gate: (…), the logit of writing rather than copying. attention: (…, T), each row
    with sum 1, to the passage's tokens ids (…, T). A token that stands in the passage several times has the sum of them.
    Returns (…, V), each row with sum 1. The pointer-generator of See et al. (2017), eq. 9.
    """
    written = torch.sigmoid(gate.float())[..., None]
    return (written * logits.float().softmax(-1)).scatter_add(-1, ids, (1 - written) * attention.float())


# --------------------------------------------------------------------------- contrastive losses


def info_nce(a, b, temperature):
    """Cross-entropy of each row of `a` picking its own row of `b` by cosine; every row of `b` is a candidate.

    a: (B, d). b: (C, d) with C ≥ B, row i of `b` belonging to row i of `a`. temperature: > 0, divides the cosines.
    Returns a scalar in nats. Van den Oord et al. (2018), eq. 4; SimCSE (Gao et al., 2021), eq. 1.
    """
    similarity = cosine(a, b) / temperature  # (B, C)
    return F.cross_entropy(similarity.float(), torch.arange(len(a), device=a.device))


def sample_pairs(count, negatives_per_positive, generator=None):
    """Pair the texts of a batch for Contrastive Tension: some with themselves, the others with a stranger.

    Of `count` texts, about one in 1 + `negatives_per_positive` becomes a positive; the others, at least two, stand in a
    circle in random order, and each is paired with the next. So each tower reads each text once, no text of a negative
    is in a positive, and no text is its own negative. generator: on the CPU.
    Returns first and second, the texts of a pair by number, and labels, 1 or 0; each (count,). Raises ValueError for
    fewer than 3 texts.
    """
    if count < 3:
        raise ValueError(f"count is {count}; a positive and a pair of strangers need at least 3 texts")
    positives = min(max(1, round(count / (1 + negatives_per_positive))), count - 2)
    order = torch.randperm(count, generator=generator)
    strangers = torch.cat([order[:positives], order[positives:].roll(-1)])
    return order, strangers, (torch.arange(count) < positives).long()


def contrastive_tension(a, b, labels, reduction="sum"):
    """Cross-entropy of telling from a dot product whether two texts are the same one.

    a, b: (N, d), the two towers' vectors of N pairs, not normalised. labels: (N,), 1 for the same text, 0 for another.
    reduction: "sum" as in Sentence Transformers, "mean" as in the authors' code, or "none".
    Returns a scalar in nats, or (N,). Carlsson et al. (2021), section 3.
    """
    scores = (a.float() * b.float()).sum(-1)  # (N,)
    return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction=reduction)


def stepwise_decay(step, steps):
    """The share of the peak learning rate with which Contrastive Tension's authors trained: 1, 0.8, 0.6, 0.4, then 0.2.

    step: from 0. steps: of the whole run. The first four shares last a tenth of the run each: 500 of the authors' 5,000
    steps.
    """
    return 1 - 0.2 * min(4, 10 * step // steps)


def in_batch_contrastive_tension(a, b, scale, duplicates=None):
    """Cross-entropy of each text finding itself in the other tower, among all of the batch; both ways, averaged.

    a, b: (B, d), the two towers' vectors of the same texts. scale: number or tensor, multiplies the cosines; 20 in
    Sentence Transformers, where it is learned. duplicates: (B, B), true where two texts are the same one, so that they
    are no negatives of each other; the diagonal does not count. Returns a scalar in nats.
    """
    scores = cosine(a, b).float() * scale  # (B, B)
    if duplicates is not None:
        others = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
        scores = scores.masked_fill(duplicates.bool() & others, float("-inf"))
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def multiple_negatives_ranking(queries, positives, negatives=None, scale=20.0, duplicates=None):
    """Cross-entropy of each query picking its own positive by cosine, among the positives and negatives of the batch.

    queries, positives: (B, d). negatives: (N, d), hard negatives of whichever query, or None. scale: > 0, multiplies the
    cosines; 20 in Sentence Transformers, a temperature of 0.05. duplicates: (B, B + N), true where a candidate, positives
    first, answers the query too and is no negative of it; a query's own positive stays. Returns a scalar in nats.
    Henderson et al. (2017).
    """
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = cosine(queries, candidates).float() * scale  # (B, B + N)
    if duplicates is not None:
        own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(duplicates.bool() & ~own, float("-inf"))
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def margin_mse(queries, positives, negatives, margins):
    """Mean squared error between how much further a query's positive scores than its negative, and how much it should.

    queries, positives, negatives: (B, d), scored by dot product, not normalised. margins: (B,), a cross-encoder's logit
    for the positive minus that for the negative. Returns a scalar. Raises ValueError for margins of another shape, which
    would be compared with every query's. Hofstätter et al. (2020); GPL (Wang et al., 2022).
    """
    if margins.shape != queries.shape[:1]:
        raise ValueError(f"margins has the shape {tuple(margins.shape)}; it must be one a query, ({len(queries)},)")
    queries, positives, negatives = queries.float(), positives.float(), negatives.float()
    own = (queries * positives).sum(-1) - (queries * negatives).sum(-1)  # (B,)
    return F.mse_loss(own, margins.to(own.dtype))


# --------------------------------------------------------------------------- geometry


def alignment(a, b):
    """Mean squared distance between the two members of a pair, on L2-normalised rows; small is good.

    a, b: (N, d). Returns a scalar between 0 and 4. Wang and Isola (2020), section 4.1, with α = 2.
    """
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).pow(2).sum(-1).mean()


def uniformity(x):
    """Log of the mean Gaussian potential of all pairs of rows, L2-normalised; low means spread over the sphere.

    x: (N, d), N ≥ 2. Returns a scalar between −8 and 0. Wang and Isola (2020), section 4.1, with t = 2.
    """
    return torch.pdist(F.normalize(x, dim=-1)).pow(2).mul(-2).exp().mean().log()

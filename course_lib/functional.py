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


# --------------------------------------------------------------------------- contrastive losses


def info_nce(a, b, temperature):
    """Cross-entropy of each row of `a` picking its own row of `b` by cosine; every row of `b` is a candidate.

    a: (B, d). b: (C, d) with C ≥ B, row i of `b` belonging to row i of `a`. temperature: > 0, divides the cosines.
    Returns a scalar in nats. Van den Oord et al. (2018), eq. 4; SimCSE (Gao et al., 2021), eq. 1.
    """
    similarity = cosine(a, b) / temperature  # (B, C)
    return F.cross_entropy(similarity.float(), torch.arange(len(a), device=a.device))


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

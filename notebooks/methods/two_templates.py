"""Two templates as two views: a method in one file, for notebook 11 and `course compare --method`.

PromptBERT (Jiang et al., 2022) puts a sentence into a template and takes the vector of [MASK]; two templates make the
two views. Here, too, each view stands in a template of its own. But the vector is the mean over the sentence's own
tokens, because the encoder that is kept reads sentences without a template, and no template's bias is subtracted.
"""

import torch

from course_lib import functional
from course_lib.objectives import Objective
from course_lib.objectives.examples import add_prefix, strip_prefix

TITLE = "SimCSE, two templates"  # in tables
RECIPE = {"temperature": 0.05}
TEMPLATES = (('this sentence : "', '" means [MASK] .'), ('the meaning of "', '" is [MASK] .'))  # before and after


class TwoTemplates(Objective):
    """Pull a sentence in one template and the same sentence in another together, push the rest of the batch away."""

    smallest_batch = 2
    similarity = "cosine"
    in_batch_negatives = True  # no sentence twice in one batch

    def __init__(self, encoder, temperature=0.05):
        super().__init__(encoder)
        self.temperature = temperature
        pieces = [[encoder.tokenizer.encode(part, add_special_tokens=False) for part in pair] for pair in TEMPLATES]
        self._templates = pieces  # token ids

    def view(self, rows, template):
        """Token ids of B sentences, [CLS] … [SEP] → the tensors of them in a template, and which tokens are theirs."""
        before, after = template
        batch = self.encoder.tokenize([[ids[0], *before, *ids[1:-1], *after, ids[-1]] for ids in rows])
        lengths = torch.tensor([len(ids) - 2 for ids in rows])[:, None]
        places = torch.arange(batch["input_ids"].shape[1]) - 1 - len(before)  # 0 at the sentence's first token
        return batch | {"own": ((places >= 0) & (places < lengths)).long()}  # (B, T)

    def collate(self, examples, generator):
        """Token ids of B sentences → the tensors of both views, on the CPU."""
        rows = self.prepare(examples)
        first, second = (self.view(rows, template) for template in self._templates)
        return first | add_prefix("other", second)

    def forward(self, batch):
        """The batch → the loss, a scalar: each sentence finds its other view among all. Dropout differs, too."""
        views = (batch, strip_prefix("other", batch))
        first, second = (functional.mean_pool(self.encoder.token_embeddings(v), v["own"]) for v in views)  # (B, d)
        return functional.info_nce(first, second, self.temperature)

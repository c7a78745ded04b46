"""The model card of an adapted encoder: what it is made of, how, and what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from course_lib.experiments.proxies import Gain

CARD = "README.md"
FRONT = {"library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity"}
TAGS = ["sentence-transformers", "sentence-similarity", "feature-extraction"]


def licence_of(folder: str | Path) -> str:
    """The licence in the model card of a model's folder, as the hub spells it; "unknown" without one."""
    path = Path(folder) / CARD
    try:
        _, front, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        return str(yaml.safe_load(front)["license"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return "unknown"


def model_card(name: str, start: str, licence: str, facts: Mapping[str, str], found: Sequence[Gain], said: str) -> str:
    """The text of the card, in Markdown.

    name: of the model.
    start: what it was trained from.
    licence: of the start.
    facts: {what: value}, the rows of the table of how it was made. Nothing in them tells anybody's folders.
    found: from `proxies.gains`.
    said: from `proxies.conclusion`.
    """
    front = yaml.safe_dump(
        {"license": licence, **({"base_model": start} if "/" in start else {}), **FRONT, "tags": TAGS}
    )
    rows = "\n".join(f"| {what} | {value} |" for what, value in facts.items())
    return f"""---
{front}---

# {name}

A sentence encoder, {start} trained further on a private text without labels, with `course adapt`.

| | |
| --- | --- |
{rows}

## What was measured

{gains_table(found)}{said}.

The two tasks are made of the text's own structure, on documents that were kept out of training; nobody judged an
answer. Intervals (95 %) come from resampling the queries of one training; another seed may differ. Cropping trains on
nearly what first half → second half asks, so heading → passage tells more.

## Use

```python
from sentence_transformers import SentenceTransformer

encoder = SentenceTransformer("path/to/this/folder")
vectors = encoder.encode(["a query", "a passage"])
print(encoder.similarity(vectors[:1], vectors[1:]))
```

## Licence

The weights begin as those of {start}, whose licence is {licence}. Whoever passes this model on should also ask
whether the text that it was trained on allows that.
"""


def gains_table(found: Sequence[Gain]) -> str:
    """A Markdown table of what a training changed; "" without a task."""
    if not found:
        return ""
    lines = ["| nDCG@10 | queries | before | after | difference | |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for gain in found:
        change = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain.difference[:3])
        lines.append(
            f"| {gain.task} | {gain.queries} | {gain.before:.3f} | {gain.after:.3f} | {change} | {gain.verdict} |"
        )
    return "\n".join(lines) + "\n\n"

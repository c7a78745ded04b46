"""What `test_several_processes.py` starts under torchrun, and runs alone to compare: the same trainings, as numbers."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from course_lib import objectives
from course_lib.models import CrossEncoder, SentenceEncoder
from course_lib.search import encode_to_file
from course_lib.storage import in_chunks
from course_lib.training import TrainingConfig, train

BASE = Path(__file__).parents[2] / "data" / "base-encoder"
TASKS = [f"{verb} the {thing}" for verb in ("Sort", "Count", "Find") for thing in ("words", "rows", "mean")]
PLACES = ("a long list of numbers", "a table", "an array", "two files, one of which is empty")
TEXTS = [f"{task} of {place}" for task in TASKS for place in PLACES]
TRIPLES = [(t, TEXTS[(i + 1) % len(TEXTS)], TEXTS[(i * i + 2) % len(TEXTS)]) for i, t in enumerate(TEXTS)]
MARGINS = [(*texts, float(i % 5)) for i, texts in enumerate(TRIPLES)]
CONFIG = TrainingConfig(steps=3, batch_size=4, gradient_accumulation_steps=2, learning_rate=1e-3, precision="fp32")

# without dropout these give the same on any number of processes
SAME = {
    "SimCSE": (lambda e: objectives.SimCSE(e, dropout=0), TEXTS),
    "InBatchContrastiveTension": (lambda e: objectives.InBatchContrastiveTension(e, mask_duplicates=True), TEXTS),
    "MultipleNegativesRanking": (objectives.MultipleNegativesRanking, TRIPLES),
    "pairs": (objectives.MultipleNegativesRanking, [texts[:2] for texts in TRIPLES]),
    "MarginMSE": (objectives.MarginMSE, MARGINS),
}
# these draw other random numbers in every process
RANDOM = {
    "MaskedLanguageModel": (objectives.MaskedLanguageModel, TEXTS),
    "DenoisingAutoEncoder": (objectives.DenoisingAutoEncoder, TEXTS),
    "ContrastiveTension": (lambda e: objectives.ContrastiveTension(e, negatives_per_positive=3), TEXTS),
    "Cropping": (objectives.Cropping, TEXTS),
    "Relevance": (lambda e: objectives.Relevance(CrossEncoder(e)), TRIPLES),
}


def encoder():
    """One layer of the base encoder, without dropout."""
    model = SentenceEncoder.from_pretrained(str(BASE), device="cpu")
    model.transformer.encoder.layer = model.transformer.encoder.layer[:1]
    model.transformer.config.num_hidden_layers = 1
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def trained(make, examples, config, **options):
    """The losses and gradient norms of a training, and some of the weights after it."""
    torch.manual_seed(0)  # of weights that start random
    objective = make(encoder())
    record = train(objective, examples, config, progress=False, **options)
    # the bias of the keys changes no attention: its gradient is rounding, which AdamW makes as large as any other
    named = [p for name, p in objective.named_parameters() if not name.endswith("key.bias")]
    weights = torch.cat([p.detach().flatten()[:5] for p in named])
    return {"losses": record.losses, "norms": [s["gradient_norm"] for s in record.steps], "weights": weights.tolist()}


class Broken(objectives.SimCSE):
    """SimCSE whose loss is no number, in the last process alone."""

    def compare(self, batch, first, second):
        loss = super().compare(batch, first, second)
        return loss * float("nan") if int(os.environ["RANK"]) else loss


def message(error, work):
    try:
        work()
    except error as found:
        return str(found)


def everything(folder: Path, config: TrainingConfig) -> dict:
    """Every training by name; `folder` keeps the checkpoint of one that is interrupted after its second step."""
    found = {name: trained(*of, config) for name, of in SAME.items()}
    found["in pieces"] = trained(*SAME["MultipleNegativesRanking"], replace(config, gradient_cache=3))
    for name, of in RANDOM.items():
        found[name] = trained(*of, config)

    calls = []

    def stop(encoder):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"score": 0.0}

    stopped = replace(config, evaluate_every=1)
    found["stopped"] = trained(*SAME["SimCSE"], stopped, output=folder, evaluate=stop)
    return found


if __name__ == "__main__":
    rank, what, folder = int(os.environ["RANK"]), sys.argv[1], Path(sys.argv[2])
    if what == "die":
        train(
            objectives.SimCSE(encoder(), dropout=0),
            TEXTS,
            CONFIG,
            evaluate=lambda _: os._exit(3) if rank else {"score": 0.0},
        )
    else:
        found = everything(folder / "checkpoint", CONFIG)
        made = []
        found["lengths"] = in_chunks(
            "lengths", TEXTS, lambda t, n: made.append(n) or [*map(len, t)], 0, 5, folder, False
        )
        found["made"] = made
        found["encoded"] = encode_to_file(encoder(), TEXTS, folder / "vectors", chunk=5, progress=False).tolist()
        found["broken"] = message(FloatingPointError, lambda: trained(lambda e: Broken(e, dropout=0), TEXTS, CONFIG))
        (folder / f"{rank}.json").write_text(json.dumps(found))

"""A learner's function, handed to an objective or a loop as its notebook does, is what trains the model."""

import ast
import copy
import functools
import math
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import TrainingConfig, functional, objectives, train
from course_lib.experiments import PROFILES
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.models.decoder import split_heads
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.notebook.exercises import (
    contrastive_tension,
    gpl,
    in_batch_contrastive_tension,
    masked_language_model,
    query_generator,
    simcse,
    tsdae,
)
from course_lib.objectives import MaskedLanguageModel, QueryGeneration, SimCSE
from course_lib.objectives.examples import strip_prefix

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
TEXTS = ["Sort an array.", "Join two tables.", "Draw a line in a figure.", "Read a file.", "Count words.", "Invert it."]


class MySimCSE(SimCSE):
    """SimCSE made of two functions, as in the notebook."""

    def __init__(self, encoder, info_nce, two_views):
        super().__init__(encoder)
        self.info_nce, self.two_views = info_nce, two_views

    def forward(self, batch):
        first, second, labels = self.two_views(self.encoder, batch)
        return self.info_nce(first, second[labels], self.temperature)


def my_info_nce(a, b, temperature):
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
    return -(a @ b.T / temperature).log_softmax(1).diagonal().mean()


def my_two_views(encoder, batch):
    both = encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()})
    return both[: len(both) // 2], both[len(both) // 2 :], torch.arange(len(both) // 2)


def hotter(a, b, temperature):
    return functional.info_nce(a, b, 2 * temperature)


def the_same_view(encoder, batch):
    first, second, labels = simcse.two_views.reference(encoder, batch)
    return first, first, labels


def counted(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        wrapper.calls += 1
        return function(*arguments)

    wrapper.calls = 0
    return wrapper


@pytest.fixture(scope="module")
def curve(shallow):
    """A function that trains for three steps and gives the losses."""

    def losses(make, **functions):
        config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32", seed=0)
        return train(make(shallow(), **functions), TEXTS, config, progress=False).losses

    return losses


@pytest.fixture(scope="module")
def library(curve):
    return curve(SimCSE)


@pytest.mark.parametrize(
    "exercise, mine, other", [(simcse.info_nce, my_info_nce, hotter), (simcse.two_views, my_two_views, the_same_view)]
)
def test_the_learners_function_trains(curve, library, exercise, mine, other):
    name = exercise.name.split(".")[1]
    functions = {"info_nce": simcse.info_nce.reference, "two_views": simcse.two_views.reference}
    mine = counted(mine)
    used = exercise.use(mine)
    mine.calls = 0
    assert curve(MySimCSE, **functions | {name: used}) == pytest.approx(library, rel=1e-4)
    assert mine.calls == 3
    assert curve(MySimCSE, **functions | {name: other}) != pytest.approx(library, rel=1e-2)
    exercise.reset()
    assert exercise.use(mine) is functions[name]


class MyGenerator(QueryGenerator):
    """The query generator made of two functions, as in notebook 08."""

    def __init__(self, encoder, cross_attention, copy_or_write):
        super().__init__(encoder)
        self.cross_attention, self.copy_or_write = cross_attention, copy_or_write

    def forward(self, batch):
        states, mask = self.encoder.token_embeddings(batch), batch["attention_mask"]
        embed = self.encoder.transformer.embeddings
        hidden = embed(input_ids=batch["decoder_input_ids"])
        for layer in self.decoder.layers:
            hidden, maps = layer.attend(hidden), layer.cross_attention
            taken = self.cross_attention(hidden, states, mask, maps.query, maps.key, maps.value, layer.heads)
            hidden = layer.feed_forward(layer.cross_norm(hidden + layer.dropout(maps.out(taken))))
        attention, gate = self.pointer(
            hidden, self.pointer.read(states, embed.word_embeddings(batch["input_ids"])), mask
        )
        there, ids = functional.answered(batch), batch["input_ids"][:, None].expand_as(attention)
        return self.copy_or_write(self.head(hidden[there]), gate[there], attention[there], ids[there]).log()


def without_mask(hidden, states, mask, *maps_and_heads):
    return query_generator.cross_attention.reference(hidden, states, torch.ones_like(mask), *maps_and_heads)


def never_copied(logits, gate, attention, ids):
    return functional.copy_or_write(logits, gate + 20, attention, ids)


@pytest.mark.parametrize(
    "exercise, other, calls",
    [(query_generator.cross_attention, without_mask, 6), (query_generator.copy_or_write, never_copied, 3)],
)
def test_the_learners_function_trains_a_query_generator(shallow, exercise, other, calls):
    name, functions = (
        exercise.name.split(".")[1],
        {"cross_attention": query_generator.cross_attention.reference, "copy_or_write": functional.copy_or_write},
    )
    config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32", seed=0)
    pairs = [(f"{text} {text}" if i % 2 else text, text) for i, text in enumerate(TEXTS)]

    def losses(**changed):
        torch.manual_seed(0)
        return train(
            QueryGeneration(MyGenerator(shallow(2), **functions | changed)), pairs, config, progress=False
        ).losses

    mine = counted(functions[name])
    assert losses(**{name: mine}) == losses() and mine.calls == calls
    assert losses(**{name: other}) != pytest.approx(losses(), rel=1e-3)


# --------------------------------------------------------------------------- 03: the notebook's own loop and objective


def my_mask_tokens(ids, special, probability, mask_id, vocab_size):
    return functional.mask_tokens(ids, special, probability, mask_id, vocab_size)


def my_masked_cross_entropy(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def hide_all(ids, special, probability, mask_id, vocab_size):
    return torch.where(special, ids, mask_id), torch.where(special, -100, ids)


def doubled(logits, labels):
    return 2 * my_masked_cross_entropy(logits, labels)


@pytest.fixture(scope="module")
def notebook_losses(shallow):
    """A function that runs the cells of notebook 03 that define its training, and trains by its loop or by `train`."""
    sources = [
        c.source
        for c in nbformat.read(NOTEBOOKS / "03_masked_language_model.ipynb", as_version=4).cells
        if c.cell_type == "code"
    ]

    def cell(part):
        return next(source for source in sources if part in source)

    def losses(way, mask_tokens, masked_cross_entropy):
        model = MaskedLanguageModel(shallow())
        names = {"functional": functional, "torch": torch, "MaskedLanguageModel": MaskedLanguageModel}
        names |= {"shipped": model, "tokenizer": model.encoder.tokenizer, "V": len(model.encoder.tokenizer)}
        names |= {"mask_tokens": mask_tokens, "masked_cross_entropy": masked_cross_entropy}
        exec("def hidden_batch" + cell("def hidden_batch").split("def hidden_batch")[1].split("\ntorch.")[0], names)
        exec(cell("def train_mlm"), names)
        exec(cell("class MyMaskedLanguageModel").split("\nmine =")[0], names)
        if way == "loop":
            torch.manual_seed(0)
            return names["train_mlm"](model, TEXTS, 3, mask_tokens, batch_size=4, learning_rate=1e-3)
        config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32")
        return train(names["MyMaskedLanguageModel"](model.encoder), TEXTS, config, progress=False).losses

    return losses


@pytest.mark.parametrize("way", ["loop", "train"])
def test_the_learners_functions_train_in_notebook_03(notebook_losses, way):
    exercises = (masked_language_model.mask_tokens, masked_language_model.masked_cross_entropy)
    references = [exercise.reference for exercise in exercises]
    library = notebook_losses(way, *references)
    mine = [counted(my_mask_tokens), counted(my_masked_cross_entropy)]
    assert all(exercise.check(function).right for exercise, function in zip(exercises, mine))
    used = [exercise.use(function) for exercise, function in zip(exercises, mine)]
    for function in mine:
        function.calls = 0
    assert notebook_losses(way, *used) == pytest.approx(library, rel=1e-4)
    assert [function.calls for function in mine] == [3, 3]
    for changed in ([hide_all, references[1]], [references[0], doubled]):
        assert notebook_losses(way, *changed) != pytest.approx(library, rel=1e-2)
    for exercise in exercises:
        exercise.reset()


# --------------------------------------------------------------------------- 04


def defined_in(notebook, **names):
    """The functions and classes of a notebook, in a namespace that holds `names`; nothing else in it is run."""
    for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        read = cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", [])  # that one is no Python
        parts = ast.parse(cell.source).body if read else []
        kept = [part for part in parts if isinstance(part, ast.ClassDef | ast.FunctionDef)]
        exec(compile(ast.Module(kept, []), notebook, "exec"), names)  # noqa: S102
    return names


TSDAE = {
    "delete": tsdae.delete_tokens,
    "next_token_targets": tsdae.next_token_targets,
    "causal_attention": tsdae.causal_attention,
    "linear_map": tsdae.linear_map,
}
CHANGED = {
    "delete": lambda ids, special, probability, generator: ids,
    "next_token_targets": lambda ids, mask: (ids[:, :-1], ids[:, :-1].masked_fill(mask[:, :-1] == 0, -100)),
    "causal_attention": functional.attention,
    "linear_map": lambda value_weight, value_bias, out_weight, out_bias: (value_weight * 0, out_bias),
}


@pytest.fixture(scope="module")
def my_tsdae(shallow):
    """A function that trains notebook 04's own class for three steps and gives the losses."""

    def losses(**functions):
        encoder = shallow(pooling="cls")
        used = {"nn": nn, "F": F, "objectives": objectives, "functional": functional, "split_heads": split_heads}
        used |= {"MaskedLanguageHead": MaskedLanguageHead, "tokenizer": encoder.tokenizer}
        used |= {"torch": torch, "config": TrainingConfig()} | functions
        torch.manual_seed(0)
        objective = defined_in("04_tsdae", **used)["MyTSDAE"](encoder)
        config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-2, precision="fp32", seed=0)
        return train(objective, TEXTS, config, progress=False).losses

    return losses


def test_every_function_of_notebook_04_trains(my_tsdae):
    references = {name: exercise.reference for name, exercise in TSDAE.items()}
    mine = {name: counted(function) for name, function in references.items()}
    library = my_tsdae(**references)
    assert my_tsdae(**mine) == library
    # three steps with 4, 2 and 4 sentences and one layer
    assert {name: function.calls for name, function in mine.items()} == {
        "delete": 10,
        "next_token_targets": 3,
        "causal_attention": 3,
        "linear_map": 3,
    }
    for name, other in CHANGED.items():
        assert my_tsdae(**references | {name: other}) != pytest.approx(library, rel=1e-3), name


# --------------------------------------------------------------------------- 06 and 07

TWO_TOWERS = {
    "MyContrastiveTension": (
        "06_contrastive_tension",
        objectives.ContrastiveTension,
        {"draw": contrastive_tension.sample_pairs, "loss": contrastive_tension.contrastive_tension},
        {
            "draw": lambda count, k, generator: (*[torch.arange(count)] * 2, torch.ones(count)),
            "loss": lambda a, b, labels: functional.contrastive_tension(a, -b, labels),
        },
    ),
    "MyInBatchCT": (
        "07_ct_in_batch_negatives",
        objectives.InBatchContrastiveTension,
        {
            "in_batch": in_batch_contrastive_tension.in_batch_contrastive_tension,
            "clamp": in_batch_contrastive_tension.clamp_scale,
        },
        {
            "in_batch": lambda a, b, scale: functional.in_batch_contrastive_tension(a, b, scale / 2),
            "clamp": lambda logit_scale, max_scale: logit_scale.clamp(max=1.0),
        },
    ),
}


@pytest.mark.parametrize("kind", TWO_TOWERS)
def test_every_function_of_the_two_towers_trains(kind, shallow, sentences):
    notebook, in_library, exercises, changed = TWO_TOWERS[kind]

    def losses(make):
        config = TrainingConfig(steps=3, batch_size=8, learning_rate=1e-3, precision="fp32", seed=0)
        return train(make(shallow()), sentences[:24], config, progress=False).losses

    def of_notebook(**functions):
        used = {"copy": copy, "math": math, "nn": nn, "F": F, "torch": torch, "objectives": objectives}
        used |= {"functional": functional, "config": TrainingConfig()} | functions
        return losses(defined_in(notebook, **used)[kind])

    references = {name: exercise.reference for name, exercise in exercises.items()}
    mine = {name: counted(function) for name, function in references.items()}
    assert of_notebook(**mine) == pytest.approx(losses(in_library), rel=1e-4)
    assert [function.calls for function in mine.values()] == [3, 3]
    for name, other in changed.items():
        assert of_notebook(**references | {name: other}) != pytest.approx(losses(in_library), rel=1e-3), name


# --------------------------------------------------------------------------- 09


def of_notebook_09(encoder, **functions):
    """The classes of notebook 09, made of these functions."""
    names = {"nn": nn, "F": F, "torch": torch, "objectives": objectives, "profile": PROFILES["smoke"]}
    names |= {"strip_prefix": strip_prefix, "encoder": encoder}
    return defined_in("09_gpl", **names | functions)


def test_the_cross_encoder_of_notebook_09_reads_what_the_librarys_reads(shallow):
    library = CrossEncoder(shallow())
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[2], " ".join(TEXTS)), (" ".join(TEXTS), TEXTS[4])]
    mine = of_notebook_09(library, pair_ids=gpl.pair_ids.reference)["MyCrossEncoder"](shallow(), max_length=13).eval()
    tokens = library.tokenizer([q for q, _ in pairs], [t for _, t in pairs], truncation="longest_first", max_length=13)
    seen = []
    hook = mine.transformer.register_forward_pre_hook(lambda module, args, batch: seen.append(batch), with_kwargs=True)
    assert mine(pairs).shape == (3,)
    hook.remove()
    kept = [row[row != 0].tolist() for row in seen[0]["input_ids"]]
    assert kept == tokens["input_ids"]
    for row, mask, types in zip(seen[0]["token_type_ids"], seen[0]["attention_mask"], tokens["token_type_ids"]):
        assert row[mask.bool()].tolist() == types


def test_the_learners_margin_mse_trains_in_notebook_09(shallow):
    triples = [(TEXTS[i], TEXTS[i], TEXTS[(i + 1) % 6], 3.0 - i) for i in range(6)]
    config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32", seed=0)

    def losses(mse):
        objective = of_notebook_09(None, mse=mse)["MyGPL"](shallow(), length=20**0.5)
        return train(objective, triples, config, progress=False).losses

    mine = counted(gpl.margin_mse.reference)
    library = train(objectives.MarginMSE(shallow(), length=20**0.5), triples, config, progress=False).losses
    assert losses(mine) == pytest.approx(library, rel=1e-4) and mine.calls == 3
    assert losses(lambda q, p, n, margins: functional.margin_mse(q, n, p, margins)) != pytest.approx(library, rel=1e-2)

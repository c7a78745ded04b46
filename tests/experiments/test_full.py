"""The full profile labels as GPL's paper did; here with small models in the hub's layout, and without a network."""

import dataclasses
from math import ceil
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder as LibraryCrossEncoder

from course_lib.experiments import PROFILES, as_run, load_or_run, stages
from course_lib.experiments.starts import weights_digest
from course_lib.models import CrossEncoder

PAPER = PROFILES["full"].pseudo_labelling
RECIPES = {
    name: dataclasses.replace(r, steps=2, batch_size=8, texts=None) for name, r in PROFILES["smoke"].recipes.items()
}


@pytest.fixture(scope="module")
def models(t5, shallow, tmp_path_factory):
    """The folders of a query generator, a cross-encoder and two encoders: {setting: value}."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    cross_encoder = CrossEncoder(shallow(1, max_length=48))
    with torch.no_grad():
        cross_encoder.model.classifier.weight.mul_(100)
    cross_encoder.save(folder / "cross-encoder")
    retrievers = tuple(str(folder / f"encoder-{layers}") for layers in (1, 2))
    for layers, path in enumerate(retrievers, 1):
        shallow(layers).save(path)
    made_by = {"query_generator": str(t5), "cross_encoder": str(folder / "cross-encoder"), "retrievers": retrievers}
    return made_by | {"sampling": PAPER.sampling | {"max_new_tokens": 6}, "total_queries": 20, "negatives": 3}


def run(models, stage="gpl", **changes):
    labelling = dataclasses.replace(PAPER, **{**models, **changes})
    small = dataclasses.replace(PROFILES["smoke"], recipes=RECIPES, queries=5, target_passages=4)
    return as_run(stage, dataclasses.replace(small, pseudo_labelling=labelling), domain="target")


def test_the_papers_settings():
    full, sampling = PROFILES["full"], PAPER.sampling
    assert (sampling["top_p"], sampling["top_k"], sampling["temperature"]) == (0.95, 25, 1.0)
    gpl, genq = full.recipes["gpl"], full.recipes["genq"]
    assert PAPER.negatives == ceil(gpl.steps * gpl.batch_size / PAPER.total_queries)  # a new one in every step
    assert genq.steps * genq.batch_size == pytest.approx(PAPER.total_queries, rel=0.001)  # one epoch
    assert gpl.options == {} and not PAPER.random_negatives and "bm25" not in PAPER.retrievers


def test_labels_are_made_as_in_the_paper(models):
    labels = stages.pseudo_labels(run(models), progress=False)
    per_passage = [sum(i == passage for _, i in labels.pairs) for passage in {i for _, i in labels.pairs}]
    assert len(per_passage) == 4 and max(per_passage) == 5  # 20 queries of 4 passages
    finders = {name for found in labels.mined for ranks in found.values() for name in ranks}
    assert finders == set(models["retrievers"])
    mined = {}
    for (query, _), found in zip(labels.pairs, labels.mined):
        mined.setdefault(query, set()).update(labels.passages[i] for i in found)
    assert len(labels.margins) == 3 * len(labels.pairs)
    assert all(negative in mined[query] for query, _, negative, _ in labels.margins)  # none at random
    library = LibraryCrossEncoder(models["cross_encoder"], device="cpu", max_length=48)
    for query, positive, negative, margin in labels.margins[::9]:
        first, second = library.predict([(query, positive), (query, negative)], activation_fn=torch.nn.Identity())
        assert margin == pytest.approx(float(first - second), abs=1e-3)


def test_a_run_is_known_by_what_labelled_for_it(models, base_encoder_folder):
    changes = (
        *({}, {"sampling": models["sampling"] | {"top_k": 20}}, {"query_generator": str(base_encoder_folder)}),
        *({"retrievers": ("bm25",)}, {"cross_encoder": str(base_encoder_folder)}, {"negatives": 2}),
    )
    assert len({run(models, "gpl", **change).training_key for change in changes}) == 6
    assert len({run(models, "genq", **change).training_key for change in changes}) == 3  # scores nothing
    mining = dataclasses.replace(RECIPES["source"], steps=3)
    other = dataclasses.replace(run(models).profile, recipes=RECIPES | {"source": mining})
    assert dataclasses.replace(run(models), profile=other).training_key == run(models).training_key


def test_the_whole_pipeline_runs_without_a_network(models):
    record = load_or_run(run(models), progress=False)
    assert record.results["see_also"]["per_query"] and len(record.training["steps"]) == 2
    (settings,) = record.configuration["stages"]
    assert settings["sampling"]["top_k"] == 25 and settings["total_queries"] == 20
    assert record.data["query_generator"] == weights_digest(models["query_generator"])
    pairs = stages.pseudo_labels(run(models), progress=False).pairs
    assert [query for query, _ in run(models, "genq").examples(progress=False)] == [query for query, _ in pairs]


@pytest.mark.parametrize("name", ["smoke", "cpu", "gpu"])
def test_the_other_profiles_need_no_hub(name):
    profile = PROFILES[name]
    labelling = profile.pseudo_labelling
    for folder in (profile.base_encoder, labelling.query_generator, labelling.cross_encoder):
        assert (Path(folder) / "model.safetensors").is_file()
    assert set(labelling.retrievers) == {"bm25", "dense"}


def test_the_gpu_profile_trains_ten_times_as_long():
    gpu, cpu = PROFILES["gpu"], PROFILES["cpu"]
    assert gpu.base_encoder == cpu.base_encoder
    for stage, recipe in gpu.recipes.items():
        assert dataclasses.replace(recipe, steps=recipe.steps // 10) == cpu.recipes[stage]

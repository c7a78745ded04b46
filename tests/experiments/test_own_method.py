"""A method of your own: one file with `collate` and `forward` enters the comparison."""

import dataclasses

import pytest
import torch
from typer.testing import CliRunner

from course_lib import functional
from course_lib.cli import app
from course_lib.experiments import (
    PROFILES,
    STAGES,
    add_method,
    as_run,
    compare,
    compare_with,
    load_shipped,
    runs,
    stages,
)
from course_lib.recipes.reading_path import NOTEBOOKS
from course_lib.recipes.recorded_runs import EXAMPLES, Row

TOY = '''
from course_lib import functional
from course_lib.objectives import Objective

TITLE = "Toy"
RECIPE = {"temperature": 0.1}


class Toy(Objective):
    """A sentence and the same sentence without its last tokens."""

    def __init__(self, encoder, temperature):
        super().__init__(encoder)
        self.temperature = temperature

    def collate(self, examples, generator):
        cut = [ids[: 1 + len(ids) // 2] + ids[-1:] for ids in examples]
        whole, part = self.encoder.tokenize(examples), self.encoder.tokenize(cut)
        return {**whole, "part_input_ids": part["input_ids"], "part_attention_mask": part["attention_mask"]}

    def forward(self, batch):
        part = {"input_ids": batch["part_input_ids"], "attention_mask": batch["part_attention_mask"]}
        return functional.info_nce(self.encoder(batch), self.encoder(part), self.temperature)
'''


@pytest.fixture(scope="module", autouse=True)
def as_before(docs, tmp_path_factory):
    """A cache of its own, few sentences and queries; afterwards no stage more than before."""
    names, runs_here = set(STAGES), tmp_path_factory.mktemp("runs")
    few = dataclasses.replace(stages.DOMAINS["python"], sentences=lambda: docs.train.sentences[:500])
    small = {n: dataclasses.replace(r, steps=2, batch_size=8) for n, r in PROFILES["smoke"].recipes.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stages.DOMAINS, "python", few)
        patch.setattr(runs, "runs_folder", lambda: runs_here)
        patch.setitem(PROFILES, "smoke", dataclasses.replace(PROFILES["smoke"], recipes=small, queries=5))
        yield
        for name in set(STAGES) - names:
            del STAGES[name]
            for profile in PROFILES.values():
                profile.recipes.pop(name, None)


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    return path


def test_a_toy_method_gets_a_row_like_the_others(toy):
    (record,) = compare_with(toy, PROFILES["smoke"], progress=False)
    assert (record.method, record.title, len(record.training["steps"])) == ("toy", "Toy", 2)
    assert record.training["objective"]["name"] == "Toy" and record.training["objective"]["temperature"] == 0.1
    (base,) = compare(PROFILES["smoke"], ["base"], progress=False, say=lambda line: None)
    assert record.results.keys() == base.results.keys()
    assert record.results["questions"]["per_query"].keys() == base.results["questions"]["per_query"].keys()
    shown = compare(PROFILES["smoke"], ["base"], progress=False, say=lambda line: None, own="toy")
    assert [r.title for r in shown] == ["Base encoder", "Toy"] and shown[1] == record
    assert as_run("toy", PROFILES["smoke"]).is_trained()


def test_only_a_changed_file_is_trained_again(toy, monkeypatch):
    first = compare_with(toy, PROFILES["smoke"], progress=False)
    key = as_run("toy", PROFILES["smoke"]).training_key
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", lambda *a, **k: pytest.fail("trained again"))
        toy.write_bytes(TOY.replace("\n", "\r\n").encode())
        assert compare_with(toy, PROFILES["smoke"], progress=False) == first
    toy.write_text(TOY.replace("1 + len(ids) // 2", "2"))
    add_method(toy)
    assert as_run("toy", PROFILES["smoke"]).training_key != key


def test_the_command_line_takes_a_file(toy, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    result = CliRunner().invoke(app, ["compare", "bm25", "--method", str(toy)])
    assert result.exit_code == 0 and "Toy" in result.output and "BM25" in result.output, result.output
    result = CliRunner().invoke(app, ["compare", "--method", "nowhere.py"])
    assert result.exit_code == 2 and "there is no file nowhere.py" in result.output


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("simcse.py", TOY, "not like a stage: 'simcse'"),
        ("My-Method.py", TOY, "small letters, digits and _"),
        ("none.py", "TITLE = 'x'", "must define one subclass .* it has none"),
        ("two.py", TOY + "\n\nclass Other(Toy):\n    pass\n", "it has Toy, Other"),
        ("no_loss.py", "from course_lib.objectives import Objective\n\n\nclass A(Objective):\n    pass\n", "A needs"),
        ("pairs.py", TOY + "\n    example = 'pair'\n", "Toy.example is 'pair'"),
    ],
)
def test_a_file_that_is_no_method_is_told_why(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        add_method(path)


def test_a_method_may_read_passages(tmp_path, docs):
    path = tmp_path / "of_passages.py"
    path.write_text(TOY + "\n    example = 'passage'\n")
    run = as_run(add_method(path), PROFILES["smoke"])
    assert set(run.examples()) <= set(docs.train.passages)


TEXTS = ["Sort an array in place and return nothing.", "Join two tables on a column that both have."]


def example(name, encoder, **options):
    """The objective of an example that ships."""
    Row(name).runs()
    return STAGES[name].objective(encoder, **options)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_trains_and_has_a_record(name, shallow):
    assert len((NOTEBOOKS / "methods" / f"{name}.py").read_text().splitlines()) < 120
    objective = example(name, shallow()).train()
    loss = objective(objective.collate(TEXTS, torch.Generator().manual_seed(0)))
    loss.backward()
    assert loss > 0 and all(p.grad is not None for p in objective.encoder.transformer.encoder.parameters())
    assert load_shipped(name)


def test_the_queue_holds_the_last_batches_of_a_slow_encoder(shallow):
    objective = example("momentum_queue", shallow(), length=3, momentum=0.9).train()
    start = [p.clone() for p in objective.slow.parameters()]
    with torch.no_grad():
        for p in objective.encoder.parameters():
            p.add_(1.0)
        first, second = (objective.collate([text], None) for text in TEXTS)
        objective(first)
        assert int(objective.filled) == 1
        for p, before in zip(objective.slow.parameters(), start):
            torch.testing.assert_close(p, before + 0.1)
        objective(second)
        objective.slow.eval()
        newest = objective.queue[0].clone()
        torch.testing.assert_close(newest, objective.slow(second)[0])
        plain = functional.info_nce(*(objective.encoder.eval()(first) for _ in range(2)), 0.05)
        assert objective.eval()(first) > plain == 0  # one text alone has no negative but those of the queue
        for _ in range(4):
            objective.train()(second)
        assert int(objective.filled) == 3 and len(objective.queue) == 3


def test_a_template_is_around_each_sentence_and_not_in_its_vector(shallow):
    objective = example("two_templates", shallow())
    batch = objective.collate(TEXTS, None)
    for prefix in ("", "other_"):
        ids, own = batch[f"{prefix}input_ids"], batch[f"{prefix}own"]
        for row, mask, text in zip(ids, own, TEXTS):
            assert row[mask.bool()].tolist() == objective.encoder.tokenizer.encode(text)[1:-1]
            assert objective.encoder.tokenizer.mask_token_id in row.tolist()
    assert not torch.equal(batch["input_ids"], batch["other_input_ids"])


def test_the_example_repeats_tokens_of_one_view(shallow):
    objective = example("word_repetition", shallow())
    batches = [objective.collate(TEXTS, torch.Generator().manual_seed(seed)) for seed in range(20)]
    lengths = {int(b["repeated_attention_mask"][0].sum() - b["attention_mask"][0].sum()) for b in batches}
    inner = int(batches[0]["attention_mask"][0].sum()) - 2
    assert lengths == set(range(max(2, int(0.32 * inner)) + 1))
    for batch in batches:
        ids, repeated = (batch[name][0][batch[name][0] > 0].tolist() for name in ("input_ids", "repeated_input_ids"))
        without = [t for place, t in enumerate(repeated) if not place or t != repeated[place - 1]]
        assert without == ids  # each repeated token stands beside its copy

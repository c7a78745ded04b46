"""The query generator: its loss against Transformers, its sampling, its cache, its folder; T5 by the same call."""

import pytest
import torch
import transformers
from transformers import TopKLogitsWarper, TopPLogitsWarper

from course_lib import functional
from course_lib.models import QueryGenerator
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.sampling import PEAK, choose, nucleus
from course_lib.objectives import QueryGeneration
from course_lib.training import TrainingConfig, train

LAYERS = 2


@pytest.fixture(scope="module")
def pairs(docs):
    """(description, summary) of real documents."""
    found = [d for d in docs.validation.documents if len(d.summary.split()) > 4 and len(d.body.split()) > 20]
    return [(d.body, d.summary) for d in {d.summary: d for d in found}.values()][:24]


@pytest.fixture(params=[False, True], ids=["plain", "pointer"])
def generator(shallow, request):
    torch.manual_seed(0)
    return QueryGenerator(shallow(LAYERS, max_length=32), pointer=request.param)


@pytest.fixture
def confident(generator):
    """A generator whose distributions are neither flat nor sure, as after training."""
    with torch.no_grad():
        generator.head.norm.weight.mul_(2.0)
    return generator.eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --------------------------------------------------------------------------- the loss, against transformers


def reference_decoder(generator):
    """Transformers' BERT as a decoder with cross-attention, around the generator's weights."""
    transformer = generator.decoder.transformer
    config = transformers.BertConfig(
        **{**transformer.config.to_dict(), "is_decoder": True, "add_cross_attention": True}
    )
    model = transformers.BertLMHeadModel(config)
    model.bert.load_state_dict(transformer.state_dict(), strict=False)
    for own, theirs in zip(generator.decoder.layers, model.bert.encoder.layer):
        cross = theirs.crossattention
        for name, part in (
            ("query", cross.self.query),
            ("key", cross.self.key),
            ("value", cross.self.value),
            ("out", cross.output.dense),
        ):
            part.load_state_dict(getattr(own.cross_attention, name).state_dict())
        cross.output.LayerNorm.load_state_dict(own.cross_norm.state_dict())
    head = model.cls.predictions
    head.transform.dense.load_state_dict(generator.head.dense.state_dict())
    head.transform.LayerNorm.load_state_dict(generator.head.norm.state_dict())
    with torch.no_grad():
        head.bias.copy_(generator.head.bias)
    model.tie_weights()
    return model


def test_loss_and_gradients_are_those_of_a_bert_decoder(shallow, pairs):
    generator = QueryGenerator(shallow(LAYERS, max_length=32), pointer=False).eval()
    with torch.no_grad():  # as if trained: weights that start equal or at zero would agree too easily
        for layer in generator.decoder.layers:
            for weight in (*layer.cross_attention.parameters(), *layer.cross_norm.parameters()):
                weight.add_(torch.randn(weight.shape, generator=seeded(len(weight))), alpha=0.05)
    reference = reference_decoder(generator).eval()
    objective = QueryGeneration(generator).eval()
    batch = objective.collate(pairs[:8], None)
    loss = objective(batch)
    loss.backward()
    states = generator.encoder.token_embeddings(batch).detach()
    logits = reference(
        input_ids=batch["decoder_input_ids"],
        encoder_hidden_states=states,
        encoder_attention_mask=batch["attention_mask"],
    ).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    for own, theirs in zip(generator.decoder.layers, reference.bert.encoder.layer):
        for name, part in (("query", theirs.crossattention.self.query), ("out", theirs.crossattention.output.dense)):
            grad = getattr(own.cross_attention, name).weight.grad
            torch.testing.assert_close(grad, part.weight.grad, atol=1e-5, rtol=1e-4)
            assert float(grad.norm()) > 1e-4


def test_the_decoder_cannot_look_ahead_and_sees_all_of_its_passage_but_padding(generator, pairs):
    generator.eval()
    batch = QueryGeneration(generator).collate(pairs[:4], None)
    with torch.no_grad():
        states = generator.encoder.token_embeddings(batch)

        def hidden(ids=batch["decoder_input_ids"], states=states):
            return generator.decoder(ids, (states, batch["attention_mask"]))

        plain, later = hidden(), batch["decoder_input_ids"].clone()
        later[:, 4] = 100
        assert torch.equal(hidden(later)[:, :4], plain[:, :4]) and not torch.equal(hidden(later)[:, 4], plain[:, 4])
        lengths = batch["attention_mask"].sum(1)
        for row, length in enumerate(lengths.tolist()):
            for position in (0, length // 2, length - 1):
                other = states.clone()
                other[row, position] += torch.linspace(-1, 1, other.shape[-1])
                assert not torch.allclose(hidden(states=other)[row], plain[row], atol=1e-4)
        padded = states.clone()
        padded[batch["attention_mask"] == 0] = 7.0
        torch.testing.assert_close(hidden(states=padded), plain)


def test_tied_weights_are_one_and_untied_ones_are_not(shallow, pairs):
    tied, untied = (
        QueryGenerator(shallow(LAYERS, max_length=32), tie_weights=tie, pointer=False) for tie in (True, False)
    )
    batch = QueryGeneration(tied).collate(pairs, None)
    torch.testing.assert_close(tied.eval()(batch), untied.eval()(batch))
    count = [sum(p.numel() for p in g.parameters()) for g in (tied, untied)]
    of_encoder = sum(p.numel() for p in tied.encoder.parameters())
    size = tied.encoder.dimension
    new = LAYERS * (4 * (size + 1) + 2) * size + (size + 3) * size + tied.encoder.transformer.config.vocab_size
    assert count == [of_encoder + new, 2 * of_encoder + new]


@pytest.mark.parametrize("tie_weights", [True, False])
def test_a_decoder_of_fewer_layers(shallow, pairs, tie_weights):
    """Its decoder equals that of an encoder with as few layers; only the states that it reads differ."""
    deep, flat = (QueryGenerator(shallow(n, max_length=32), tie_weights, 1, pointer=False).eval() for n in (LAYERS, 1))
    new = [
        sum(p.numel() for p in g.parameters()) - sum(p.numel() for p in g.encoder.parameters()) for g in (deep, flat)
    ]
    assert new[0] == new[1] and deep.settings()["decoder_layers"] == 1
    batch = QueryGeneration(deep).collate(pairs[:4], None)
    with torch.no_grad():
        states = flat.encoder.token_embeddings(batch)
        source = (states, batch["attention_mask"])
        assert torch.equal(*(g.decoder(batch["decoder_input_ids"], source) for g in (deep, flat)))
        assert not torch.equal(deep(batch), flat(batch))
    with pytest.raises(ValueError, match="decoder_layers is 3; this encoder has 1 to 2"):
        QueryGenerator(shallow(LAYERS), decoder_layers=3)


def test_training_makes_the_queries_likelier(shallow, pairs):
    generator = QueryGenerator(shallow(1, max_length=24))
    config = TrainingConfig(steps=20, batch_size=8, learning_rate=1e-3, precision="fp32")
    record = train(QueryGeneration(generator), pairs, config, progress=False)
    assert sum(record.losses[-5:]) < 0.6 * sum(record.losses[:5])
    greedy = generator.generate([p for p, _ in pairs], 1, temperature=0, max_new_tokens=8)
    openings = {query.split()[0].lower() for _, query in pairs}
    assert sum(rows[0].split()[0] in openings for rows in greedy) > len(pairs) / 2  # it learned how queries begin


# --------------------------------------------------------------------------- copying


def test_copying_and_writing_mix_as_computed_by_hand():
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    mixed = functional.copy_or_write(
        logits, torch.tensor([0.0]), torch.tensor([[0.6, 0.1, 0.3]]), torch.tensor([[1, 0, 1]])
    )
    torch.testing.assert_close(mixed, torch.tensor([[0.1 + 0.05, 0.25 + 0.45, 0.15]]))
    attention = torch.tensor([[0.6, 0.1, 0.3]])
    for gate, expected in ((60.0, logits.exp()), (-60.0, torch.tensor([[0.1, 0.9, 0.0]]))):
        torch.testing.assert_close(
            functional.copy_or_write(logits, torch.tensor([gate]), attention, torch.tensor([[1, 0, 1]])), expected
        )


def test_the_pointer_ignores_padding_and_uses_the_token_before(shallow, pairs):
    generator = QueryGenerator(shallow(1, max_length=32)).eval()
    batch = QueryGeneration(generator).collate(pairs[:6], None)
    with torch.no_grad():
        generator.pointer.query.weight.copy_(torch.eye(generator.encoder.dimension))
        for part in (generator.pointer.key.weight, generator.pointer.key.bias, generator.pointer.query.bias):
            part.zero_()
        generator.pointer.before.weight.copy_(torch.eye(generator.encoder.dimension))
        embedded = generator.encoder.transformer.embeddings.word_embeddings(batch["input_ids"])
        keys = generator.pointer.read(torch.zeros_like(embedded), embedded)
        wanted = torch.nn.functional.layer_norm(
            embedded, embedded.shape[-1:]
        )  # as a decoder that has just written these
        attention, _ = generator.pointer(wanted, keys, batch["attention_mask"])
    assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)
    assert (attention.masked_select(batch["attention_mask"][:, None] == 0) == 0).all()
    for ids, row, length in zip(batch["input_ids"], attention, batch["attention_mask"].sum(1).tolist()):
        assert all(
            ids[row[place].argmax() - 1] == ids[place] for place in range(length - 1)
        )  # it points behind the token


def test_a_pointer_learns_to_copy(shallow, docs):
    """In a few steps a generator with a pointer writes what it reads; without one it cannot yet."""
    sentences = [(s, s) for s in docs.train.sentences if 5 < len(s.split()) < 12][:320]
    loss = {}
    for pointer in (False, True):
        torch.manual_seed(0)
        generator = QueryGenerator(shallow(1, max_length=24), pointer=pointer)
        config = TrainingConfig(steps=30, batch_size=16, learning_rate=1e-3, precision="fp32")
        loss[pointer] = sum(train(QueryGeneration(generator), sentences, config, progress=False).losses[-5:]) / 5
    assert loss[True] < 0.6 * loss[False]


# --------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("size, spread", [(50, 3.0), (4 * PEAK, 3.0), (4 * PEAK, 0.1)])
def test_the_nucleus_is_transformers_own(top_p, size, spread):
    """The last case is so flat that the nucleus is larger than what is looked at first."""
    logits = torch.randn(20, size, generator=seeded(size)) * spread
    expected = TopPLogitsWarper(top_p)(None, logits).softmax(-1) if top_p < 1 else logits.softmax(-1)
    torch.testing.assert_close(nucleus(logits, top_p), expected, atol=1e-6, rtol=1e-4)


def test_a_nucleus_by_hand():
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    for top_p, expected in ((0.4, [0, 1, 0, 0]), (0.5, [0, 1, 0, 0]), (0.51, [0, 0.625, 0.375, 0])):
        torch.testing.assert_close(nucleus(logits, top_p), torch.tensor(expected, dtype=torch.float32))


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits, draws = torch.randn(12, generator=seeded(3)) * 2, 20_000
    uniform = torch.rand(draws, generator=seeded(4))
    tokens = choose(logits.expand(draws, -1), uniform, 0.9, temperature=2.0)
    share = torch.bincount(tokens, minlength=12) / draws
    expected = nucleus(logits / 2.0, 0.9)
    assert ((share - expected).abs() <= 4.5 * (expected * (1 - expected) / draws).sqrt()).all()
    assert share[expected == 0].sum() == 0 and (expected == 0).any()
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert (expected[choose(logits.expand(2, -1), ends, 0.9, 2.0)] > 0).all()
    assert choose(logits[None], torch.tensor([0.99]), 0.9, temperature=0) == logits.argmax()


def test_top_k_and_top_p_together_are_transformers_own():
    logits, draws = torch.randn(40, generator=seeded(5)) * 2, 20_000
    uniform = torch.rand(draws, generator=seeded(6))
    tokens = choose(logits.expand(draws, -1), uniform, 0.95, temperature=1.5, top_k=10)
    share = torch.bincount(tokens, minlength=40) / draws
    expected = TopPLogitsWarper(0.95)(None, TopKLogitsWarper(10)(None, logits[None] / 1.5)).softmax(-1)[0]
    assert 0 < (expected > 0).sum() < 10 < (nucleus(logits / 1.5, 0.95) > 0).sum()
    assert share[expected == 0].sum() == 0
    assert ((share - expected).abs() <= 4.5 * (expected * (1 - expected) / draws).sqrt()).all()


# --------------------------------------------------------------------------- generating


def scores_of_all(generator, ids, batch):
    """(N, T', V), written from the parts without the cache: what follows each of the tokens ids (N, T')."""
    states, mask = generator.encoder.token_embeddings(batch), batch["attention_mask"]
    hidden = generator.decoder(ids, (states, mask))
    logits = generator.head(hidden)
    if generator.pointer is None:
        return logits
    embedded = generator.encoder.transformer.embeddings.word_embeddings(batch["input_ids"])
    attention, gate = generator.pointer(hidden, generator.pointer.read(states, embedded), mask)
    mixed = gate.sigmoid()[..., None] * logits.softmax(-1)
    for place, tokens in enumerate(batch["input_ids"].T):
        for row, token in enumerate(tokens.tolist()):
            mixed[row, :, token] += (1 - gate[row].sigmoid()) * attention[row, :, place]
    return mixed.log()


def test_steps_with_the_cache_give_what_the_whole_gives(confident, pairs):
    passages = [p for p, _ in pairs[:3]]
    ids = confident.encoder.tokenize([q for _, q in pairs[:6]])["input_ids"][:, :6]  # 2 queries a passage
    batch = confident.encoder.tokenize(passages)
    with torch.no_grad():
        whole = scores_of_all(confident, ids, {k: v.repeat_interleave(2, 0) for k, v in batch.items()})
        step = confident.start(passages, 2)
        for length in range(1, 7):
            torch.testing.assert_close(step(ids[:, :length]), whole[:, length - 1], atol=1e-4, rtol=1e-4)


def test_the_same_seed_writes_the_same_queries_whatever_the_batches(confident, pairs):
    passages = [p for p, _ in pairs[:7]]

    def generate(seed, **options):
        return confident.generate(passages, 2, max_new_tokens=6, generator=seeded(seed), **options)

    queries = generate(0)
    assert generate(0, batch_size=2) == queries and generate(0, batch_size=1) == queries
    assert generate(1) != queries
    assert [len(rows) for rows in queries] == [2] * 7 and all(query for rows in queries for query in rows)
    assert any(a != b for a, b in queries)
    alone = confident.generate(passages[:1], 2, max_new_tokens=6, generator=seeded(0))
    assert alone == queries[:1]


def test_greedy_is_the_likeliest_token_every_time(confident, pairs):
    (passage, _), *_ = pairs
    ((query, again),) = confident.generate([passage], 2, temperature=0, max_new_tokens=5)
    ids = [confident.begin_id]
    special = [i for i in confident.tokenizer.all_special_ids if i != confident.end_id]
    batch = confident.encoder.tokenize([passage])
    with torch.no_grad():
        for position in range(5):
            logits = scores_of_all(confident, torch.tensor([ids]), batch)[0, -1]
            logits[special + ([confident.end_id] if position == 0 else [])] = -1e9
            ids.append(int(logits.argmax()))
            if ids[-1] == confident.end_id:
                break
    assert query == again == confident.tokenizer.decode(ids, skip_special_tokens=True)


def test_an_end_ends_a_query(confident, pairs):
    passages = [p for p, _ in pairs[:3]]
    with torch.no_grad():
        confident.head.bias[confident.end_id] = 100.0
    words = confident.generate(passages, 1, max_new_tokens=9, temperature=0)
    assert all(len(confident.tokenizer.tokenize(row)) == 1 for rows in words for row in rows)
    assert confident.generate([], 2) == []
    assert not confident.training and confident.train().generate(passages[:1]) and confident.training


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("queries_per_passage", 0, "queries_per_passage is 0"),
        ("top_p", 0, "top_p is 0; it is a probability above 0"),
        ("top_p", 1.5, "top_p is 1.5"),
        ("temperature", -1, "temperature is -1"),
        ("max_new_tokens", 0, "max_new_tokens is 0"),
        ("batch_size", 0, "batch_size is 0"),
    ],
)
def test_settings_out_of_range(generator, option, value, message):
    with pytest.raises(ValueError, match=message):
        generator.generate(["Sort an array."], **{option: value})
    with pytest.raises(TypeError, match="`texts` is a str"):
        generator.generate("Sort an array.")


# --------------------------------------------------------------------------- to disk and back


@pytest.mark.parametrize("tie_weights, decoder_layers", [(True, None), (True, 1), (False, 1)])
def test_what_is_saved_is_loaded(shallow, pairs, tmp_path, tie_weights, decoder_layers):
    generator = QueryGenerator(shallow(LAYERS, pooling="cls", max_length=32), tie_weights, decoder_layers)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(torch.randn(weight.shape, generator=seeded(len(weight))), alpha=0.02)
    generator.eval().save(tmp_path)
    loaded = QueryGenerator.from_pretrained(tmp_path, device="cpu")
    assert loaded.settings() == generator.settings() and not loaded.training
    batch = QueryGeneration(generator).collate(pairs[:4], None)
    with torch.no_grad():
        assert torch.equal(loaded(batch), generator(batch))
    encoder = SentenceEncoder.from_pretrained(tmp_path, device="cpu", pooling="mean", max_length=32)
    assert (
        encoder.encode([p for p, _ in pairs[:4]])
        == SentenceEncoder(generator.encoder.transformer, encoder.tokenizer, max_length=32).encode(
            [p for p, _ in pairs[:4]]
        )
    ).all()


def test_half_precision_halves_the_file(generator, pairs, tmp_path):
    generator.eval().save(tmp_path / "half", torch.float16)
    generator.save(tmp_path / "full")
    half, full = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full"))
    weights = sum(p.numel() for p in generator.parameters())  # each once, shared or not
    assert 2 * weights < half < 2 * weights + 10_000 and full > 1.99 * half
    batch = QueryGeneration(generator).collate(pairs[:4], None)
    loaded = QueryGenerator.from_pretrained(tmp_path / "half", device="cpu")
    with torch.no_grad():
        assert float(QueryGeneration(loaded)(batch)) == pytest.approx(
            float(QueryGeneration(generator)(batch)), abs=0.02
        )
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_a_damaged_folder(generator, tmp_path):
    generator.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        QueryGenerator.from_pretrained(tmp_path)


def test_bad_examples(generator):
    with pytest.raises(ValueError, match=r"`texts`\[0\] is a str; each example must be \(passage, query\)"):
        QueryGeneration(generator).prepare(["Sort an array."])


# --------------------------------------------------------------------------- T5


def test_greedy_t5_is_transformers_own(t5, pairs):
    passages = [p for p, _ in pairs[:6]]
    ours = QueryGenerator.from_pretrained(t5, device="cpu")
    queries = ours.generate(passages, 1, temperature=0, max_new_tokens=10, batch_size=4)
    inputs = ours.tokenizer(passages, padding=True, truncation=True, max_length=350, return_tensors="pt")
    theirs = ours.model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=10,
        min_new_tokens=1,
        do_sample=False,
        num_beams=1,
        suppress_tokens=[0, 2],
    )
    assert [rows[0] for rows in queries] == [
        t.strip() for t in ours.tokenizer.batch_decode(theirs, skip_special_tokens=True)
    ]
    assert len({rows[0] for rows in queries}) > 1


def test_t5_samples_with_the_same_call(t5, pairs):
    passages = [p for p, _ in pairs[:5]]
    generator = QueryGenerator.from_pretrained(t5, device="cpu")
    state = torch.get_rng_state()
    queries = generator.generate(passages, 3, generator=seeded(0), max_new_tokens=8, batch_size=2)
    assert queries == generator.generate(passages, 3, generator=seeded(0), max_new_tokens=8, batch_size=2)
    assert queries != generator.generate(passages, 3, generator=seeded(1), max_new_tokens=8, batch_size=2)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers stay as they are
    assert [len(rows) for rows in queries] == [3] * 5 and all(query for rows in queries for query in rows)
    assert len({query for rows in queries for query in rows}) > 10


def test_the_likeliest_token_alone_is_greedy(t5, confident, pairs):
    passages = [p for p, _ in pairs[:4]]
    for generator in (QueryGenerator.from_pretrained(t5, device="cpu"), confident):
        greedy = generator.generate(passages, 2, temperature=0, max_new_tokens=6)
        assert generator.generate(passages, 2, generator=seeded(0), max_new_tokens=6, top_k=1) == greedy
        with pytest.raises(ValueError, match="top_k"):
            generator.generate(passages, top_k=0)


def test_models_that_cannot_write_text_are_refused(base_encoder_folder):
    with pytest.raises(ValueError, match=r"a bert model writes no text.*train a QueryGenerator"):
        QueryGenerator.from_pretrained(base_encoder_folder)
    with pytest.raises(FileNotFoundError, match="no folder 'no/such-generator'"):
        QueryGenerator.from_pretrained("no/such-generator")

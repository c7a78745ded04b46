"""How each method makes its batch and its loss."""

import math

import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib import functional
from course_lib.models import CrossEncoder, QueryGenerator, SentenceEncoder
from course_lib.objectives import (
    ContrastiveTension,
    Cropping,
    DenoisingAutoEncoder,
    InBatchContrastiveTension,
    MarginMSE,
    MaskedLanguageModel,
    MultipleNegativesRanking,
    QueryGeneration,
    Relevance,
    SimCSE,
)
from course_lib.objectives.multiple_negatives_ranking import duplicates
from course_lib.training import TrainingConfig, train

SIZES = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
FAMILIES = {
    "bert": (transformers.BertConfig, SIZES),
    "roberta": (transformers.RobertaConfig, SIZES),
    "mpnet": (transformers.MPNetConfig, SIZES),
    "distilbert": (transformers.DistilBertConfig, dict(dim=24, n_layers=1, n_heads=2, hidden_dim=48)),
    "modernbert": (transformers.ModernBertConfig, SIZES),
    "modernbert with biases": (
        transformers.ModernBertConfig,
        {**SIZES, "classifier_bias": True, "norm_bias": True, "classifier_activation": "relu", "norm_eps": 0.1},
    ),
    "electra": (transformers.ElectraConfig, {**SIZES, "embedding_size": 16}),
    "albert": (transformers.AlbertConfig, {**SIZES, "embedding_size": 16}),
    "deberta": (transformers.DebertaConfig, SIZES),
    "deberta as published": (transformers.DebertaV2Config, {**SIZES, "legacy": False}),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mlm(shallow):
    return MaskedLanguageModel(shallow())


# --------------------------------------------------------------------------- masked language model


@pytest.mark.parametrize("whole_word", [False, True])
def test_an_mlm_batch_hides_ordinary_tokens_and_labels_them(shallow, sentences, whole_word):
    mlm = MaskedLanguageModel(shallow(), whole_word=whole_word)
    plain, batch = mlm.encoder.tokenize(sentences), mlm.collate(sentences, seeded())
    hidden = batch["labels"] != -100
    assert torch.equal(batch["attention_mask"], plain["attention_mask"])
    assert torch.equal(batch["labels"][hidden], plain["input_ids"][hidden])
    assert torch.equal(batch["input_ids"][~hidden], plain["input_ids"][~hidden])
    special = torch.isin(plain["input_ids"], torch.tensor(mlm.encoder.tokenizer.all_special_ids))
    assert hidden.any() and not hidden[special].any()


@pytest.mark.parametrize("whole_word", [False, True])
def test_the_noise_comes_from_the_generator_alone(shallow, sentences, whole_word):
    mlm = MaskedLanguageModel(shallow(), whole_word=whole_word)
    one, again, other = (mlm.collate(sentences, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["labels"], other["labels"])


def test_vocabulary_logits_are_computed_only_where_a_token_is_hidden(mlm, sentences):
    seen = []
    mlm.head.register_forward_hook(lambda head, inputs, logits: seen.append((inputs[0].shape, logits.shape)))
    batch = mlm.collate(sentences, seeded())
    mlm(batch)
    rows = int((batch["labels"] != -100).sum())
    vocabulary = mlm.encoder.transformer.config.vocab_size
    assert seen == [((rows, mlm.encoder.dimension), (rows, vocabulary))]
    assert 0 < rows < batch["attention_mask"].sum() / 4


def test_the_output_matrix_is_the_word_embedding(mlm, sentences):
    embedding = mlm.encoder.transformer.get_input_embeddings().weight
    assert mlm.head.embeddings.weight is embedding
    assert sum(p is embedding for p in mlm.parameters()) == 1
    mlm(mlm.collate(sentences, seeded())).backward()
    assert (embedding.grad.abs().sum(1) > 0).all()  # as output matrix every word has a gradient, read or not


def test_without_hidden_tokens_the_loss_is_zero(mlm):
    batch = mlm.encoder.tokenize(["", ""])
    loss = mlm({**batch, "labels": torch.full_like(batch["input_ids"], -100)})
    loss.backward()
    assert loss == 0 and all(p.grad is None or p.grad.isfinite().all() for p in mlm.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_s_head_gives_its_logits(family, base_encoder_folder, sentences, tmp_path):
    """Also with untypical biases and norms, as after training: a head that starts from zero would agree too easily."""
    torch.manual_seed(0)
    config_class, sizes = FAMILIES[family]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_encoder_folder)
    config = config_class(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    theirs = transformers.AutoModelForMaskedLM.from_config(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    mlm = MaskedLanguageModel(SentenceEncoder.from_pretrained(tmp_path, "mean", device="cpu")).eval()
    assert mlm.head.load(mlm.encoder.source)
    batch = mlm.encoder.tokenize(sentences)
    with torch.no_grad():
        ours = mlm.head(mlm.encoder.token_embeddings(batch))
        expected = theirs(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-5)  # logits of 10 to 100


def test_a_checkpoint_without_a_head_leaves_it_random_and_says_so(shallow, tmp_path, recwarn):
    shallow().save(tmp_path)
    encoder = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    for kind in (MaskedLanguageModel, DenoisingAutoEncoder, QueryGenerator):
        with pytest.warns(UserWarning, match="no masked-language head for this bert model was found in .*random"):
            mlm = kind(encoder)
    mlm = MaskedLanguageModel(SentenceEncoder(encoder.transformer, encoder.tokenizer))
    recwarn.clear()
    assert not mlm.head.load(None) and not recwarn.list  # an encoder that comes from no checkpoint has none to miss
    assert float(mlm.head.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.1) and not mlm.head.bias.any()


def test_the_shipped_encoder_brings_its_head(mlm, sentences):
    mlm.eval()
    assert mlm.head.load(mlm.encoder.source)
    assert mlm.head.bias.any()


# --------------------------------------------------------------------------- whole words


def test_whole_words_are_hidden_or_left_whole(shallow, docs):
    texts = docs.validation.sentences[:800]
    mlm = MaskedLanguageModel(shallow(max_length=64), whole_word=True)
    labels = mlm.collate(texts, seeded())["labels"] != -100
    encoded = mlm.encoder.tokenizer(texts, truncation=True, max_length=64)
    whole = broken = chosen = words = 0
    for row in range(len(texts)):
        of_word = {}
        for position, word in enumerate(encoded.word_ids(row)):
            if word is not None and encoded["input_ids"][row][position] != mlm.encoder.tokenizer.unk_token_id:
                of_word.setdefault(word, []).append(bool(labels[row, position]))
        words += len(of_word)
        chosen += sum(pieces[0] for pieces in of_word.values())
        whole += sum(len(p) > 1 and all(p) for p in of_word.values())
        broken += sum(len(set(p)) == 2 for p in of_word.values())
    assert broken == 0 and whole > 20
    assert abs(chosen - 0.15 * words) < 4.5 * math.sqrt(0.15 * 0.85 * words)


def test_single_tokens_do_break_words(shallow, docs):
    """What the test above would see without whole_word."""
    texts = docs.validation.sentences[:400]
    mlm = MaskedLanguageModel(shallow(max_length=64))
    labels = mlm.collate(texts, seeded())["labels"] != -100
    encoded = mlm.encoder.tokenizer(texts, truncation=True, max_length=64)
    hidden = [{w for w, h in zip(encoded.word_ids(i), labels[i].tolist()) if h} for i in range(len(texts))]
    left = [{w for w, h in zip(encoded.word_ids(i), labels[i].tolist()) if not h} for i in range(len(texts))]
    assert sum(len(a & b - {None}) for a, b in zip(hidden, left)) > 20


def test_whole_words_of_a_byte_level_tokenizer(docs):
    texts = docs.validation.sentences[:200]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, 500, special_tokens=["<s>", "<pad>", "</s>", "<mask>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, pad_token="<pad>", mask_token="<mask>", model_max_length=64
    )
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=66,
    )
    mlm = MaskedLanguageModel(SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer), whole_word=True)
    labels = mlm.collate(texts, seeded())["labels"] != -100
    hidden = 0
    for row, ids in enumerate(mlm.encoder.token_ids(texts)):
        words = []
        for piece, chosen in zip(tokenizer.convert_ids_to_tokens(ids), labels[row].tolist()):
            if piece.startswith("Ġ") or not words:
                words.append([])
            words[-1].append(chosen)
        assert all(len(set(w)) == 1 for w in words)
        hidden += sum(w[0] for w in words if len(w) > 1)
    assert hidden > 20


def test_whole_word_needs_a_tokenizer_that_marks_words():
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "array": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token="[MASK]")
    config = transformers.BertConfig(vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    encoder = SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer)
    with pytest.raises(ValueError, match="whole_word=True needs a tokenizer that marks where words begin"):
        MaskedLanguageModel(encoder, whole_word=True)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="no mask token"):
        MaskedLanguageModel(encoder)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 15])
def test_a_mask_probability_out_of_range(shallow, probability):
    with pytest.raises(ValueError, match=f"mask_probability is {probability}; it must lie between 0 and 1"):
        MaskedLanguageModel(shallow(), mask_probability=probability)


# --------------------------------------------------------------------------- SimCSE


def test_the_two_views_of_simcse_differ_by_dropout_alone(shallow, sentences):
    simcse = SimCSE(shallow())
    batch = simcse.collate(sentences, None)
    views = []
    simcse.encoder.register_forward_hook(lambda encoder, inputs, vectors: views.append(vectors.detach().chunk(2)))
    simcse.train()
    simcse(batch)
    simcse.eval()
    with torch.no_grad():
        still = simcse(batch)
    assert len(views) == 2  # both views in one pass
    assert (functional.cosine(*views[0]).diagonal() < 0.9999).all()
    assert torch.allclose(*views[1], atol=1e-5)
    assert still == pytest.approx(float(functional.info_nce(*views[1], 0.05)))


def test_the_temperature_divides_the_cosines(shallow, sentences):
    encoder = shallow()
    with torch.no_grad():
        vectors = encoder(encoder.tokenize(sentences))
        for temperature in (0.05, 1.0):
            simcse = SimCSE(encoder, temperature).eval()
            assert simcse(simcse.collate(sentences, None)) == pytest.approx(
                float(functional.info_nce(vectors, vectors, temperature)), rel=1e-4
            )


@pytest.mark.parametrize(
    "config",
    [
        transformers.ModernBertConfig(vocab_size=15_000, **SIZES),
        transformers.BertConfig(vocab_size=15_000, hidden_dropout_prob=0, attention_probs_dropout_prob=0, **SIZES),
    ],
    ids=["modernbert", "bert"],
)
def test_simcse_refuses_a_model_without_dropout(shallow, sentences, config):
    config.pad_token_id = 0
    simcse = SimCSE(SentenceEncoder(transformers.AutoModel.from_config(config), shallow().tokenizer))
    batch = simcse.collate(sentences, None)
    assert simcse.eval()(batch).isfinite()  # in evaluation mode no model has dropout
    with pytest.raises(
        ValueError, match=f"two views of a text are equal: this {config.model_type} model has no dropout"
    ):
        simcse.train()(batch)
    with pytest.raises(ValueError, match="has no dropout"):
        train(simcse, sentences, TrainingConfig(steps=1, batch_size=8), progress=False)


def test_simcse_sets_the_dropout_it_is_asked_for(shallow, sentences):
    """On every layer, attention's too; with 0 the two views are equal, which is then no mistake."""
    for dropout, same in ((None, False), (0.3, False), (0.0, True)):
        simcse, views = SimCSE(shallow(), dropout=dropout), []
        simcse.encoder.register_forward_hook(lambda *a, kept=views: kept.extend(a[2].detach().chunk(2)))
        layers = [layer for layer in simcse.modules() if isinstance(layer, torch.nn.Dropout)]
        simcse.train()(simcse.collate(sentences, None)).backward()
        assert {layer.p for layer in layers} == {0.1 if dropout is None else dropout} and len(layers) > 3
        assert torch.equal(*views) is same
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match="dropout is .*from 0 to below 1"):
            SimCSE(shallow(), dropout=wrong)


def test_one_text_is_not_enough_for_simcse(shallow):
    simcse = SimCSE(shallow())
    with pytest.raises(ValueError, match=r"holds 1 text\(s\); SimCSE compares"):
        simcse(simcse.collate(["alone"], None))
    for temperature in (0, -1):
        with pytest.raises(ValueError, match=f"temperature is {temperature}"):
            SimCSE(shallow(), temperature)


# --------------------------------------------------------------------------- every objective


@pytest.mark.parametrize("make", [SimCSE, MaskedLanguageModel])
def test_prepared_texts_make_the_same_batch(shallow, sentences, make):
    objective = make(shallow())
    prepared = objective.prepare(sentences)
    assert [len(p) for p in prepared] == objective.encoder.tokenize(sentences)["attention_mask"].sum(1).tolist()
    one, other = objective.collate(sentences, seeded()), objective.collate(prepared, seeded())
    assert all(torch.equal(one[k], other[k]) for k in one)
    with pytest.raises(TypeError, match=r"`texts`\[1\] is None"):
        objective.prepare(["a", None])


def test_settings_tell_how_an_objective_was_made(shallow):
    assert SimCSE(shallow(max_length=16), 0.1).settings() == {
        "name": "SimCSE",
        "temperature": 0.1,
        "dropout": None,
        "pooling": "mean",
        "max_length": 16,
        "normalize": False,
        "source": "base-encoder",
    }
    assert MaskedLanguageModel(shallow(pooling="cls", max_length=16), 0.3, True).settings() == {
        "name": "MaskedLanguageModel",
        "mask_probability": 0.3,
        "whole_word": True,
        "pooling": "cls",
        "max_length": 16,
        "normalize": False,
        "source": "base-encoder",
    }


def test_settings_include_none(shallow, docs, tmp_path):
    """A run is not resumed with another loss, also where one of the two settings is None."""
    encoder, (a, b, c) = shallow(max_length=16), docs.validation.sentences[:3]
    assert MarginMSE(encoder).settings()["length"] is None
    assert InBatchContrastiveTension(encoder).settings()["max_scale"] is None
    config = TrainingConfig(steps=3, batch_size=2, precision="fp32", checkpoint_every=1)
    objective = MarginMSE(encoder, length=4.47)
    collate, calls = objective.collate, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return collate(*arguments)

    objective.collate = stops
    assert train(objective, [(a, b, c, 1.0)] * 4, config, tmp_path, progress=False).outcome == "interrupted"
    with pytest.raises(ValueError, match="length was 4.47 and is None"):
        train(MarginMSE(encoder), [(a, b, c, 1.0)] * 4, config, tmp_path, resume=True, progress=False)


def test_settings_of_the_objectives_of_other_models(shallow):
    encoder = shallow(max_length=16)
    assert Relevance(CrossEncoder(encoder), "softmax").settings() == {
        "name": "Relevance",
        "loss": "softmax",
        "max_length": 16,
    }
    assert QueryGeneration(QueryGenerator(encoder, pointer=False)).settings() == {
        "name": "QueryGeneration",
        "tie_weights": True,
        "decoder_layers": 1,
        "pointer": False,
        "pooling": "mean",
        "max_length": 16,
    }


def test_what_training_keeps_is_the_whole_model(shallow, docs, tmp_path):
    first, second, third = (docs.validation.sentences[i : i + 8] for i in (0, 8, 16))
    config = TrainingConfig(steps=1, batch_size=4, precision="fp32")
    for objective, examples in (
        (Relevance(CrossEncoder(shallow())), list(zip(first, second, third))),
        (QueryGeneration(QueryGenerator(shallow())), list(zip(first, second))),
        (SimCSE(shallow()), first),
    ):
        model, folder = objective.encoder, tmp_path / type(objective).__name__
        train(objective, examples, config, folder, progress=False)
        loaded = type(model).from_pretrained(folder, device="cpu")
        weights = dict(model.named_parameters())
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(weight, weights[name]) for name, weight in loaded.named_parameters())


def test_margins_without_a_length_are_searched_by_dot_product(shallow, tmp_path):
    for length, similarity in ((None, "dot"), (4.47, "cosine")):
        MarginMSE(shallow(), length).save(tmp_path / similarity)
        assert SentenceEncoder.from_pretrained(tmp_path / similarity, device="cpu").similarity == similarity


@pytest.mark.parametrize("kind", [SimCSE, ContrastiveTension, InBatchContrastiveTension, Cropping])
def test_equal_texts_have_a_common_key(shallow, kind):
    objective = kind(shallow(max_length=8))
    one, same, cut, other = (
        set(objective.exclusive(example))
        for example in objective.prepare(["Sort it.", "sort it .", "sort it . " * 9, "sort it . " * 10])
    )
    assert one == same != cut == other and len(one) == 1 and not one & cut


def test_equal_queries_and_equal_positives_have_a_common_key(shallow):
    objective = MultipleNegativesRanking(shallow())
    pairs = [("a", "b"), ("a", "c"), ("d", "b"), ("b", "a")]
    first, *others = (set(objective.exclusive(example)) for example in objective.prepare(pairs))
    assert [len(first & other) for other in others] == [1, 1, 0]  # a query may equal another one's positive
    triples = MultipleNegativesRanking(shallow()).prepare([("a", "b", "c")])
    assert set(objective.exclusive(triples[0])) == first


def test_without_in_batch_negatives_there_are_no_keys(shallow):
    objective = MaskedLanguageModel(shallow())
    assert not list(objective.exclusive(objective.prepare(["a"])[0]))


def test_duplicates_equal_a_comparison_of_all_pairs_of_texts():
    generator = torch.Generator().manual_seed(0)
    for kind in (str, lambda number: [int(number), 7]):
        queries, positives, negatives = (
            [kind(n) for n in torch.randint(6, (12,), generator=generator).tolist()] for _ in range(3)
        )
        for candidates in (positives, positives + negatives):
            found = duplicates(queries, positives, candidates)
            for i, row in enumerate(found.tolist()):
                for j, same in enumerate(row):
                    of_an_equal = j < 12 and queries[i] == queries[j]
                    assert same == (positives[i] == candidates[j] or of_an_equal)
    assert duplicates([], [], []).shape == (0, 0)


# --------------------------------------------------------------------------- cropping


def test_crops_are_spans_of_their_passage(docs, shallow):
    objective = Cropping(shallow(max_length=64), shortest=0.2, longest=0.5)
    passages = objective.prepare(docs.validation.passages[:40])
    batch = objective.collate(passages, seeded())
    pad = objective.encoder.tokenizer.pad_token_id
    spans, starts = {"first": [], "second": []}, set()
    for name, rows in (("first", batch["query_input_ids"]), ("second", batch["input_ids"])):
        for passage, row in zip(passages, rows.tolist()):
            span = [token for token in row if token != pad]
            inner, found = (
                span[1:-1],
                [i for i in range(1, len(passage) - 1) if passage[i : i + len(span) - 2] == span[1:-1]],
            )
            assert (span[0], span[-1]) == (passage[0], passage[-1]) and found
            assert 0.2 * (len(passage) - 2) - 0.51 <= len(inner) <= 0.5 * (len(passage) - 2) + 0.51
            spans[name].append(span)
            starts.add(found[0] == 1)
    assert spans["first"] != spans["second"] and starts == {True, False}
    again, other = objective.collate(passages, seeded()), objective.collate(passages, seeded(1))
    assert (
        torch.equal(again["input_ids"], batch["input_ids"])
        and again["input_ids"].tolist() != other["input_ids"].tolist()
    )
    everything = Cropping(shallow(max_length=64), shortest=1.0, longest=1.0).collate(passages, seeded())
    assert torch.equal(everything["input_ids"], objective.encoder.tokenize(passages)["input_ids"])


def test_the_loss_of_crops_is_the_ranking_loss_of_their_pairs(docs, shallow):
    objective = Cropping(shallow(max_length=32), scale=10.0).eval()
    batch = objective.collate(docs.validation.passages[:8], seeded())
    queries = objective.encoder(
        {"input_ids": batch["query_input_ids"], "attention_mask": batch["query_attention_mask"]}
    )
    expected = functional.multiple_negatives_ranking(queries, objective.encoder(batch), scale=10.0)
    torch.testing.assert_close(objective(batch), expected)


def test_cropping_needs_two_passages_and_shares(shallow):
    with pytest.raises(ValueError, match=r"holds 1 passage\(s\); Cropping"):
        Cropping(shallow()).collate(["Sort an array."], None)
    for shortest, longest in ((0.0, 0.5), (0.5, 0.1), (0.5, 1.5)):
        with pytest.raises(ValueError, match=f"shortest is {shortest} and longest {longest}"):
            Cropping(shallow(), shortest=shortest, longest=longest)

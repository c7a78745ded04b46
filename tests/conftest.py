"""What several tests share."""

import signal
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from course_lib.models.encoder import SentenceEncoder
from course_lib.texts import python_docs

# pytest-xdist's workers and a shell's background jobs ignore Ctrl-C, which some tests here are about
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


SLOW = (
    "experiments",
    "recipes",
    "notebook",
    "oracle",
    "test_query_generator.py",
    "test_cli.py",
    "test_packaging.py",
    "test_harvest.py",
)


def pytest_collection_modifyitems(items):
    """Mark what takes a browser, a kernel, a pipeline or another library; `make quick` leaves it out."""
    for item in items:
        if not set(SLOW).isdisjoint(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def docs():
    """The embedded corpus; the first test on a machine waits for its harvest (about 40 s on two cores)."""
    return python_docs.load(progress=False)


@pytest.fixture(scope="session")
def examples(docs):
    """A function that gives forty examples of the kind that an objective takes, by the objective's name."""
    first, second, third = (docs.train.sentences[start : start + 40] for start in (0, 40, 80))

    def of(kind):
        if kind in ("MultipleNegativesRanking", "QueryGeneration"):
            return list(zip(first, second))
        if kind == "Relevance":
            return list(zip(first, second, third))
        return [(*texts, 3.0) for texts in zip(first, second, third)] if kind == "MarginMSE" else first

    return of


@pytest.fixture(scope="session")
def base_encoder_folder():
    """The base encoder that the course ships."""
    return Path(__file__).parents[1] / "data" / "base-encoder"


@pytest.fixture(scope="session")
def shallow(base_encoder_folder):
    """A function that gives a fresh encoder: the base encoder's first layers, enough to train and fast."""

    def make(layers=1, **options):
        options = {"pooling": "mean", **options}
        encoder = SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu", **options)
        encoder.transformer.encoder.layer = encoder.transformer.encoder.layer[:layers]
        encoder.transformer.config.num_hidden_layers = layers
        return encoder

    return make


@pytest.fixture(scope="module")
def generator(shallow):
    """An untrained query generator, which writes nonsense, for GenQ and GPL; and few passages to mine negatives in."""
    from course_lib.experiments import stages
    from course_lib.models import QueryGenerator

    torch.manual_seed(0)
    generator = QueryGenerator(shallow(1, max_length=64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "load_generator", lambda name: generator)
        patch.setattr(stages, "MINED_IN", 5)
        yield generator


@pytest.fixture(scope="session")
def sentences(docs):
    """Real sentences, short and long mixed, that nothing is trained on in earnest."""
    return docs.validation.sentences[:32]


@pytest.fixture(scope="session")
def t5(docs, tmp_path_factory):
    """A folder with a tiny random T5 and a tokenizer made of the corpus."""
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        docs.validation.sentences[:400],
        trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>"),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=400,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        initializer_factor=3.0,
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder

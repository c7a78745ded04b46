"""What several tests share."""

import signal
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def sentences(docs):
    """Real sentences, short and long mixed, that nothing is trained on in earnest."""
    return docs.validation.sentences[:32]

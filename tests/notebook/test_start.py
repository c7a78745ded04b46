"""The first cell of a notebook."""

import os
import subprocess
import sys
from pathlib import Path

ENCODE_THEN_FORK = """
import multiprocessing
import sys
from course_lib.models.encoder import SentenceEncoder
from course_lib.notebook import start

def ids(_=None):
    return tokenizer([f"text number {i}" for i in range(400)])["input_ids"]

start("05_simcse")
tokenizer = SentenceEncoder.from_pretrained(sys.argv[1], device="cpu").tokenizer
expected = ids()
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.map_async(ids, [0]).get(timeout=60) == [expected]
"""


def test_a_forked_process_can_tokenize_after_the_first_cell(base_encoder_folder):
    """With TOKENIZERS_PARALLELISM=true, a child forked after the tokenizer has used its threads waits for ever."""
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    subprocess.run(
        [sys.executable, "-c", ENCODE_THEN_FORK, str(base_encoder_folder)],
        cwd=Path(__file__).parents[2],
        env=environment,
        check=True,
        timeout=180,
    )

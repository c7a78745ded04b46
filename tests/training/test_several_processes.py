"""Training under torchrun: two processes give what one gives with the batch of both, and none waits for a dead one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from course_lib.search import encode_to_file
from course_lib.training import train
from tests.training import several_processes as work

SCRIPT = Path(work.__file__)
ALONE = replace(work.CONFIG, batch_size=2 * work.CONFIG.batch_size)
TIMEOUT = 240  # seconds that two processes may take on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT)]


def torchrun(*arguments):
    """Run the script in two processes on this machine; the address keeps them off the network."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", str(SCRIPT)]
    return subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found, and the folder with their checkpoint."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun("everything", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return *(json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)), folder


@pytest.mark.parametrize("name", work.SAME)
def test_two_processes_give_what_one_gives_with_the_batch_of_both(two, name):
    alone, first = work.trained(*work.SAME[name], ALONE), two[0][name]
    assert len(alone["losses"]) == 3 and alone["losses"][0] != alone["losses"][-1]
    for what in ("losses", "norms", "weights"):
        assert first[what] == pytest.approx(alone[what], abs=1e-5, rel=1e-5), what


@pytest.mark.parametrize("name", [*work.SAME, *work.RANDOM])
def test_both_processes_have_the_same_weights_afterwards(two, name):
    first, second, _ = two
    assert first[name]["weights"] == second[name]["weights"] and first[name]["losses"] == second[name]["losses"]


def test_pieces_change_nothing(two):
    for what in ("losses", "norms", "weights"):
        assert two[0]["in pieces"][what] == pytest.approx(two[0]["MultipleNegativesRanking"][what], abs=1e-5, rel=1e-5)


def test_work_in_chunks_is_shared(two):
    first, second, _ = two
    assert first["lengths"] == second["lengths"] == [*map(len, work.TEXTS)]
    assert first["made"] == [0, 2, 4, 6] and second["made"] == [1, 3, 5, 7]


def test_encoding_to_a_file_is_shared(two, tmp_path):
    first, second, folder = two
    alone = encode_to_file(work.encoder(), work.TEXTS, tmp_path, chunk=5, progress=False)
    assert first["encoded"] == second["encoded"] == alone.tolist()  # the same batches, so the same numbers
    assert len([*(folder / "vectors").iterdir()]) == 1  # the parts are gone


def test_a_loss_that_is_no_number_in_one_process_ends_both(two):
    assert all("the loss of step 1 is nan" in found["broken"] for found in two[:2])


def test_another_number_of_processes_continues_a_run_if_their_batch_is_the_same(two, tmp_path):
    checkpoint = two[2] / "checkpoint"
    assert len(two[0]["stopped"]["losses"]) == 2
    make, texts = work.SAME["SimCSE"]
    with pytest.raises(ValueError, match="batch_size was 8 and is 4"):
        train(make(work.encoder()), texts, replace(work.CONFIG, evaluate_every=1), checkpoint, resume=True)
    options = dict(evaluate=lambda encoder: {"score": 0.0}, resume=True)
    continued = work.trained(make, texts, replace(ALONE, evaluate_every=1), output=checkpoint, **options)
    whole = work.trained(make, texts, ALONE)
    assert continued["losses"] == pytest.approx(whole["losses"], abs=1e-5)
    assert continued["weights"] == pytest.approx(whole["weights"], abs=1e-5)


def test_no_process_waits_for_a_dead_one(tmp_path):
    done = torchrun("die", tmp_path)
    assert done.returncode != 0 and "exitcode  : 3" in done.stderr

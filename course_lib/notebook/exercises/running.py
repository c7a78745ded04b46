"""Run a learner's function, which may do anything, and return in every case.

The function runs in its own thread, so that the check works in a notebook kernel on every system, and from other
threads. The limit can stop everything that runs Python, also an endless loop or recursion. It cannot stop a single
call into compiled code (a product of huge matrices, a long sleep) or a loop that catches every exception. The check
returns from these too, and says that the function goes on in the background.
"""

import contextlib
import ctypes
import io
import linecache
import random
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

KEPT = 2000  # characters of what a function prints


class TimeIsUp(BaseException):
    """Raised inside a function that does not return; `except Exception` does not catch it."""


@dataclass
class Run:
    """What a run gave: a value, or the error that ended it."""

    value: object = None
    error: BaseException | None = None
    stuck_at: str | None = None  # the learner's line at which the time was up
    still_runs: bool = False
    printed: str = ""


def run(work: Callable[[], Any], seconds: float, of: Callable | None = None) -> Run:
    """Call `work()` with a time limit; what it prints is caught, and the random state is restored.

    seconds: the limit.
    of: the learner's function, whose line is reported where time is up.
    Returns a Run, whatever happens; only the user's own interrupt of the kernel is passed on.
    """
    result, done = Run(), threading.Event()

    def inside():
        with contextlib.suppress(TimeIsUp):  # one that arrives a moment too late
            try:
                result.value = work()
            except BaseException as error:  # SystemExit must not end the kernel either
                result.error = error
            finally:
                done.set()

    thread = threading.Thread(target=inside, daemon=True, name="exercise")
    noise = _Noise()
    with _random_state_kept(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
        thread.start()
        try:
            in_time = done.wait(seconds)
        except BaseException:
            _stop(thread, done)
            raise
        if not in_time:
            stack = traceback.extract_stack(sys._current_frames().get(thread.ident))
            result = Run(error=TimeIsUp(), stuck_at=line_in(of, stack), still_runs=not _stop(thread, done))
    result.printed = noise.text()
    return result


def _stop(thread, done):
    """Raise TimeIsUp in the thread; False where it does not end."""
    for _ in range(5):  # a `try … except:` in the loop may swallow one
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeIsUp))
        if done.wait(0.3):
            return True
    return False


@contextlib.contextmanager
def _random_state_kept():
    """Restore the global generators, so that a check does not change what the notebook's next cell draws."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch (CPU), NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


class _Noise(io.TextIOBase):
    """Keeps only the first characters written to it, so that an endless loop that prints does not fill the memory."""

    def __init__(self):
        self.kept, self.length = [], 0

    def writable(self):
        return True

    def write(self, text):
        if self.length < KEPT:
            self.kept.append(text[: KEPT - self.length])
        self.length += len(text)
        return len(text)

    def text(self):
        more = self.length - KEPT
        return "".join(self.kept) + (f"… and {more:,} more characters" if more > 0 else "")


def line_in(function: Callable | None, stack: traceback.StackSummary) -> str | None:
    """The deepest line of a stack that is in the learner's own cell or file, such as "line 3: x = y".

    function: the learner's.
    stack: of a traceback.
    Returns None where no line is.
    """
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    own = [frame for frame in stack if code is not None and frame.filename == code.co_filename]
    if not own:
        return None
    text = linecache.getline(own[-1].filename, own[-1].lineno).strip()
    return f"line {own[-1].lineno}" + (f": {text}" if text else "")

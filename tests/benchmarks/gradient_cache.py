"""Peak memory and time of a training step of SimCSE, with and without the gradient cache.

python -m tests.benchmarks.gradient_cache [BATCH,CACHE …]

BATCH: texts per batch. CACHE: texts that the encoder reads at once; 0 for all. Each has a process of its own.
"""

import subprocess
import sys
import time

from course_lib import experiments
from course_lib.objectives import SimCSE
from course_lib.training import TrainingConfig, train
from course_lib.training.record import peak_of_process

MEASURED = ("64,0", "512,0", "512,64", "4096,64")  # 4,096 texts without the cache take some 30 GB


def measure(batch_size, cache):
    """Two steps in this process: the peak of its memory in bytes, and the seconds of the second step."""
    run = experiments.as_run("simcse", experiments.PROFILES["cpu"])
    objective, texts = SimCSE(run.before.encoder(progress=False)), run.examples()
    examples = objective.prepare(texts, run.recipe.max_length)
    config = TrainingConfig(steps=2, batch_size=batch_size, gradient_cache=cache or None, precision="fp32")
    before, began = peak_of_process(), time.perf_counter()
    record = train(objective, examples, config, progress=False)
    seconds = record.steps[1]["seconds"] - record.steps[0]["seconds"]
    print(
        f"{batch_size:6,} {cache or 'off':>6} {peak_of_process() / 1e9:8.2f} {before / 1e9:8.2f} {seconds:8.1f}",
        flush=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        measure(*map(int, sys.argv[2].split(",")))
    else:
        print(" batch  cache  peak GB   before   s/step", flush=True)
        for settings in sys.argv[1:] or MEASURED:
            subprocess.run([sys.executable, "-m", "tests.benchmarks.gradient_cache", "one", settings], check=True)

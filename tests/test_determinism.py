"""The same configuration twice, in processes of their own: the same weights and numbers, to the last bit."""

import os
import subprocess
import sys

import pytest
from builders import assert_same_run

from nram import results

COMMAND = (
    "train --task copy --seed 5 --budget 600 --name run --cases 30 --max-complexity 6 --quiet --set population=4 "
    "--set train_difficulty=5 --set verify_cases=50 --set polish_batches=20 --set keep_going=true --set copies=0.5 "
    "--set sharpening=2 --set restart_after=15 --set candidate_error=0.9"
)


@pytest.mark.parametrize(
    ("kernel", "controller", "batches", "threads"),
    [
        ("cpu", "mlp", 120, (2, 2, 1)),  # the fused kernel's results do not depend on the number of threads
        ("cpu", "lstm", 60, (2, 2)),
        ("reference", "mlp", 30, (2, 2)),
        ("reference", "lstm", 30, (1, 1)),
    ],
)
@pytest.mark.slow
def test_two_processes_leave_the_same_run(tmp_path, kernel, controller, batches, threads):
    runs = []
    for number, count in enumerate(threads):
        out = tmp_path / str(number)
        settings = {"kernel": kernel, "controller": controller, "budget_batches": batches}
        command = [*COMMAND.split(), *(f"--set={name}={value}" for name, value in settings.items())]
        environment = os.environ | {
            "PYTHONPATH": str(results.CHECKOUT),
            "OMP_NUM_THREADS": str(count),
            "NUMBA_NUM_THREADS": str(count),
            "PYTHONHASHSEED": str(number),
        }
        subprocess.run([sys.executable, "-m", "nram", *command, "--out", out], env=environment, check=True, timeout=300)
        runs.append(results.load_run(out / "run"))
    for other in runs[1:]:
        assert_same_run(other, runs[0])
    assert [run.provenance["threads"] for run in runs] == list(threads)
    assert runs[0].provenance["kernel"] == kernel and len(runs[0].trials) > 4

"""The GPU kernel against `nram.machine`: on a GPU if there is one, else under Triton's interpreter.

Where Triton is not installed (PyTorch's CPU builds come without it) only the error that says so is tested.
"""

import importlib.util
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from builders import make_problem, relative

from nram import kernels, machine
from nram.machine.run import RunOptions
from nram.tasks import Batch

TRITON = importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if TRITON:
    if DEVICE == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    from nram.kernels import fused, gpu

CASES = {
    "mlp, clipped": {"batch": 2, "steps": 2, "clip": 0.02},
    "lstm, clipped hard": {"kind": "lstm", "batch": 2, "steps": 2, "cells": 20, "registers": 2, "clip": 1e-3},
    "no entropy, small memory": {"cells": 3, "registers": 3, "batch": 2, "steps": 2, "entropy": False, "floor": 0.05},
    "28 modules, lstm": {"kind": "lstm", "repetitions": 2, "batch": 1, "steps": 2, "cells": 33, "clip": 0.05},
    "42 modules": {"repetitions": 3, "population": 1, "batch": 1, "steps": 1, "cells": 17, "registers": 1},
    "large memory": {"population": 1, "batch": 1, "steps": 2, "cells": 128},
}


def on_device(problem):
    machines, batch = problem
    params = {name: param.to(DEVICE) for name, param in machines.params.items()}
    return replace(machines, params=params), Batch(*(each.to(DEVICE) for each in batch))


def run(kernel, problem, *, clip=None, entropy=True, floor=1e-6):
    """The outcome, and the parameters' gradients of a loss that depends on every differentiable part of it."""
    machines, batch = problem
    params = {name: param.clone().requires_grad_() for name, param in machines.params.items()}
    outcome = kernels.unroll(replace(machines, params=params), batch, RunOptions(clip, entropy, floor), kernel)
    loss = -(machine.stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum()
    if entropy:
        shape = outcome.entropy.shape
        loss = loss - (outcome.entropy * torch.linspace(1, 2, shape.numel(), device=DEVICE).view(shape)).sum()
    return outcome, dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def assert_same(problem, tolerance, **options):
    """The fused run of a problem equals the reference in float64, whatever the problem's own precision."""
    machines, batch = problem
    found, gradients = run("gpu", problem, **options)
    precise = replace(machines, params={name: param.double() for name, param in machines.params.items()})
    expected, expected_gradients = run("reference", (precise, batch), **options)
    running = torch.arange(len(found.stop_logits), device=DEVICE).view(-1, 1, 1) < batch.limit
    assert relative(found.log_likelihood, expected.log_likelihood) < tolerance
    assert relative(found.stop_logits * running, expected.stop_logits * running) < tolerance
    assert (found.log_likelihood[~running] == 0).all()
    if options.get("entropy", True):
        torch.testing.assert_close(found.entropy.double(), expected.entropy, rtol=tolerance, atol=tolerance)
        assert (found.entropy[~running] == 0).all()
    else:
        assert found.entropy is None
    assert torch.equal(found.wrong_cells, expected.wrong_cells)
    assert torch.equal(found.stop_step, expected.stop_step)
    for name, gradient in expected_gradients.items():
        assert gradient.abs().max() > 0
        assert relative(gradients[name], gradient) < tolerance, name


def test_needs_triton(monkeypatch):
    monkeypatch.setattr(kernels, "_has_triton", lambda: False)
    with pytest.raises(ValueError, match="needs Triton"):
        kernels.resolve("gpu", "cpu")
    assert kernels.resolve("auto", "cuda") == "reference"
    with pytest.raises(ValueError, match="valid there: auto, reference"):
        kernels.resolve("cpu", "cuda")


def test_names(monkeypatch):
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    assert kernels.resolve("gpu", "cuda") == kernels.resolve("auto", "cuda") == "gpu"
    assert kernels.resolve("auto", "cpu") == "cpu"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert kernels.resolve("gpu", "cpu") == "gpu"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        kernels.resolve("gpu", "cpu")


if TRITON:
    SINGLE, DOUBLE = (torch.float32, 1e-5), (torch.float64, 1e-9)

    @pytest.mark.parametrize(
        "case, dtype, tolerance",
        [(case, *SINGLE) for case in CASES] + [("28 modules, lstm", *DOUBLE)],
    )
    @pytest.mark.slow
    def test_equals_reference(case, dtype, tolerance):
        settings = dict(CASES[case])
        options = {name: settings.pop(name) for name in ("clip", "entropy", "floor") if name in settings}
        assert_same(on_device(make_problem(dtype=dtype, **settings)), tolerance, **options)

    @pytest.mark.parametrize("strength, dtype, tolerance", [(6.0, *SINGLE), (12.0, *DOUBLE)])
    @pytest.mark.slow
    def test_near_one_hot_circuits(strength, dtype, tolerance):
        problem = make_problem(batch=2, steps=3, dtype=dtype, cells=10, seed=3)
        layout, params = problem[0].layout, problem[0].params
        generator = torch.Generator().manual_seed(1)
        sources = torch.stack([torch.randint(slot.width, (2,), generator=generator) for slot in layout.slots], -1)
        params["output_weight"] *= 0.1
        params["output_bias"][:, :-1] = layout.one_hot_logits(sources, strength).to(dtype)
        assert_same(on_device(problem), tolerance, entropy=False)

    @pytest.mark.slow
    def test_one_hot_circuits_keep_integers():
        problem = make_problem(batch=1, steps=2, dtype=torch.float32, cells=19, seed=5, repetitions=2)
        layout, params = problem[0].layout, problem[0].params
        generator = torch.Generator().manual_seed(2)
        sources = torch.stack([torch.randint(slot.width, (2,), generator=generator) for slot in layout.slots], -1)
        params["output_weight"].zero_()
        params["output_bias"][:, :-1] = layout.one_hot_logits(sources)
        problem = on_device(problem)
        with torch.no_grad():
            expected, found = (kernels.unroll(*problem, kernel=name) for name in ("reference", "gpu"))
        misses = found.log_likelihood / math.log(1e-6)
        torch.testing.assert_close(misses, misses.round(), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.log_likelihood, expected.log_likelihood)
        assert torch.equal(found.wrong_cells, expected.wrong_cells)

    @pytest.mark.parametrize("kind", ["mlp", "lstm"])
    @pytest.mark.slow
    def test_produce(kind):
        machines, batch = on_device(
            make_problem(kind=kind, population=2, batch=2, steps=3, cells=6, dtype=torch.float32, scale=16.0)
        )
        expected = machine.produce(machines, batch.memory, batch.limit)
        assert not torch.equal(expected, batch.memory)
        assert torch.equal(kernels.produce(machines, batch.memory, batch.limit, kernel="gpu"), expected)

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    @pytest.mark.slow
    def test_nan_stays_nan():
        problem = on_device(make_problem(kind="lstm", dtype=torch.float32, batch=1, steps=2))
        problem[0].params["first_weight"][1, ..., 0] = math.nan
        outcome, gradients = run("gpu", problem)
        assert outcome.log_likelihood[0, 1].isnan().all() and outcome.entropy[0, 1].isnan().all()
        assert outcome.log_likelihood[:, 0].isfinite().all()
        assert all(gradient[1].isnan().any() and gradient[0].isfinite().all() for gradient in gradients.values())

    @pytest.mark.slow
    def test_outcomes_do_not_share_memory():
        """Two runs alive at once, of different shapes, then both gradients: no buffer is used twice."""
        shapes = {"population": 1, "batch": 1, "steps": 1}
        problems = [on_device(make_problem(seed=seed, cells=cells, **shapes)) for seed, cells in ((0, 12), (1, 5))]
        alone = [run("gpu", problem)[1] for problem in problems]
        losses, leaves = [], []
        for machines, batch in problems:
            leaves.append({name: param.clone().requires_grad_() for name, param in machines.params.items()})
            outcome = kernels.unroll(replace(machines, params=leaves[-1]), batch, RunOptions(want_entropy=True), "gpu")
            losses.append(-(machine.stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum())
            weights = torch.linspace(1, 2, outcome.entropy.numel(), device=DEVICE).view_as(outcome.entropy)
            losses[-1] = losses[-1] - (outcome.entropy * weights).sum()
        sum(losses).backward()
        for leaf, expected in zip(leaves, alone, strict=True):
            assert all(torch.equal(leaf[name].grad, expected[name]) for name in expected)

    @pytest.mark.slow
    def test_given_number_of_steps():
        """With `steps` the host reads nothing back, and more steps than needed change no result."""
        problem = on_device(make_problem(batch=1, steps=1))
        runs = [
            gpu.Pass(*problem, RunOptions(), workspace=gpu.Workspace(), keep=True, steps=steps) for steps in (None, 2)
        ]
        assert runs[1].log_likelihood.shape[0] == 2 and (runs[1].log_likelihood[1] == 0).all()
        assert torch.equal(runs[0].log_likelihood[0], runs[1].log_likelihood[0])
        assert torch.equal(runs[0].wrong_cells, runs[1].wrong_cells)
        gradients = [run.backward(torch.ones_like(run.log_likelihood), None, None) for run in runs]
        for name, gradient in gradients[0].items():
            assert gradient.abs().max() > 0
            assert relative(gradients[1][name], gradient) < 1e-12

    @pytest.mark.parametrize("change", ["memory", "target", "limit", "cells", "dtype"])
    def test_bad_arguments(change):
        machines, batch = on_device(make_problem(cells=1 if change == "cells" else 12))
        if change == "memory":
            batch.memory[0, 0, 0] = 12
        if change == "target":
            batch.target[1, 1, 1] = -1
        if change == "limit":
            batch.limit[1, 1] = 0
        if change == "dtype":
            machines = replace(machines, params={name: param.half() for name, param in machines.params.items()})
        message = {"cells": "at least 2", "limit": "at least 1", "dtype": "float32 or float64"}.get(change, change)
        with pytest.raises(ValueError, match=message):
            kernels.unroll(machines, batch, kernel="gpu")

    def test_cpu_tensors_need_the_interpreter(monkeypatch):
        monkeypatch.setattr(gpu.passes, "interpreted", lambda: False)
        machines, batch = make_problem()
        with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
            fused.produce(gpu, machines, batch.memory, batch.limit)

    @pytest.mark.slow
    def test_compiles_for_hopper():
        """Compiling needs no GPU. The compiler may refuse what the interpreter runs. No array in registers may be
        indexed at run time, which would move it to local memory."""
        script = (
            "from nram.machine.circuit import Layout; from nram.kernels import gpu\n"
            "for compiled in gpu.compile_for(Layout(4, 2), 32, (9, 0)):\n"
            "    assert compiled.asm['cubin'] and '.local' not in compiled.asm['ptx']\n"
        )
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=300)

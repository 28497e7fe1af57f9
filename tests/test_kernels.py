"""The fused kernels against `nram.machine`: the same outcome and the same gradients of the parameters."""

import math
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_problem, relative
from numba import njit

from nram import kernels, machine
from nram.kernels.cpu import loops, simd
from nram.machine.run import RunOptions

FUSED = "cpu"
DOUBLE = pytest.param(torch.float64, 1e-9, marks=pytest.mark.slow)  # only tests compile the loops for it
CASES = {
    "as trained": {},
    "one register": {"registers": 1},
    "two registers, small memory": {"registers": 2, "cells": 3, "clip": 0.05},
    "three registers, no entropy": {"registers": 3, "entropy": False, "cells": 9},
    "five registers": {"registers": 5, "cells": 20, "clip": 0.02},
    "six registers, lstm": {"registers": 6, "kind": "lstm", "cells": 13},
    "whole vectors": {"cells": 32, "batch": 17, "hidden": 32},
    "one vector": {"cells": 16, "kind": "lstm", "clip": 0.01},
    "large memory": {"cells": 70, "batch": 2, "steps": 3},
    "four vectors at once": {"cells": 128, "batch": 1, "population": 1, "steps": 2},
    "28 modules": {"repetitions": 2, "cells": 33, "clip": 0.05},
    "28 modules, lstm": {"repetitions": 2, "kind": "lstm"},
    "42 modules": {"repetitions": 3, "kind": "lstm", "cells": 17, "registers": 2, "clip": 0.1},
    "peaked circuits": {"scale": 8.0},
    "lstm, clipped hard": {"kind": "lstm", "clip": 1e-3},
    "high floor": {"floor": 0.05},
}


def run(kernel, problem, *, clip=None, entropy=True, floor=1e-6):
    """The outcome, and the parameters' gradients of a loss that depends on every differentiable part of it."""
    machines, batch = problem
    params = {name: param.clone().requires_grad_() for name, param in machines.params.items()}
    outcome = kernels.unroll(replace(machines, params=params), batch, RunOptions(clip, entropy, floor), kernel)
    loss = -(machine.stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum()
    if entropy:
        loss = loss - (outcome.entropy * torch.linspace(0, 1, outcome.entropy.numel()).view_as(outcome.entropy)).sum()
    return outcome, dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def assert_same(problem, tolerance, **options):
    """The fused run of a problem equals the reference in float64, whatever the problem's own precision."""
    machines, batch = problem
    limit = batch.limit
    found, gradients = run(FUSED, problem, **options)
    precise = replace(machines, params={name: param.double() for name, param in machines.params.items()})
    expected, expected_gradients = run("reference", (precise, batch), **options)
    running = torch.arange(int(limit.max())).view(-1, 1, 1) < limit
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


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), DOUBLE])
@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case, dtype, tolerance):
    settings = dict(CASES[case])
    options = {name: settings.pop(name) for name in ("clip", "entropy", "floor") if name in settings}
    problem = make_problem(dtype=dtype, **settings)
    assert_same(problem, tolerance, **options)
    machines, batch = problem
    expected = machine.produce(machines, batch.memory, batch.limit)
    assert torch.equal(kernels.produce(machines, batch.memory, batch.limit, kernel=FUSED), expected)


@pytest.mark.parametrize("case", ["as trained", "lstm, clipped hard", "two registers, small memory"])
@pytest.mark.slow
def test_clipping_bites(case):
    """Otherwise the cases with `clip` would show nothing."""
    settings = dict(CASES[case])
    clip = settings.pop("clip", 0.01)
    problem = make_problem(**settings)
    free, cropped = run(FUSED, problem)[1], run(FUSED, problem, clip=clip)[1]
    assert all(relative(cropped[name], free[name]) > 1e-3 for name in free)


@pytest.mark.parametrize(
    "strength, dtype, tolerance",
    [(9.0, torch.float32, 1e-5), pytest.param(12.0, torch.float64, 1e-9, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("repetitions", [1, 2])
def test_near_one_hot_circuits(repetitions, strength, dtype, tolerance):
    """Circuits that nearly choose one source each, as trained machines' do: from the output layer's biases."""
    problem = make_problem(repetitions=repetitions, dtype=dtype, cells=10, seed=3)
    layout, params = problem[0].layout, problem[0].params
    generator = torch.Generator().manual_seed(1)
    sources = torch.stack([torch.randint(slot.width, (2,), generator=generator) for slot in layout.slots], -1)
    params["output_weight"] *= 0.1
    params["output_bias"][:, :-1] = layout.one_hot_logits(sources, strength).to(dtype)
    assert_same(problem, tolerance, entropy=dtype == torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_one_hot_circuits_keep_integers(dtype):
    """With weights of exactly 0 and 1 the tape holds integers: likelihoods are 0 or log floor per cell, no rounding."""
    problem = make_problem(dtype=dtype, repetitions=2, cells=19, seed=5)
    layout, params = problem[0].layout, problem[0].params
    generator = torch.Generator().manual_seed(2)
    sources = torch.stack([torch.randint(slot.width, (2,), generator=generator) for slot in layout.slots], -1)
    params["output_weight"].zero_()
    params["output_bias"][:, :-1] = layout.one_hot_logits(sources).to(dtype)
    expected, found = (run(name, problem, entropy=False)[0] for name in ("reference", FUSED))
    misses = found.log_likelihood / math.log(1e-6)
    torch.testing.assert_close(misses, misses.round(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.log_likelihood, expected.log_likelihood)
    assert torch.equal(found.wrong_cells, expected.wrong_cells)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
@pytest.mark.parametrize("name", ["first_weight", "output_weight", "output_bias"])
def test_nan_stays_nan(kind, name):
    problem = make_problem(kind=kind, dtype=torch.float32, population=2)
    problem[0].params[name][1, ..., 0] = math.nan
    outcome, gradients = run(FUSED, problem)
    assert outcome.log_likelihood[0, 1].isnan().all() and outcome.entropy[0, 1].isnan().all()
    assert outcome.log_likelihood[:, 0].isfinite().all()
    assert all(gradient[1].isnan().any() and gradient[0].isfinite().all() for gradient in gradients.values())


def test_same_numbers_on_any_number_of_threads():
    problem = make_problem(dtype=torch.float32, population=3, batch=19, cells=24, repetitions=2, kind="lstm")
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(FUSED, problem, clip=1.0))
    finally:
        torch.set_num_threads(before)
    for outcome, gradients in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcome, results[0][0], strict=True))
        assert all(torch.equal(gradients[name], results[0][1][name]) for name in gradients)


@pytest.mark.slow
def test_outcomes_do_not_share_memory():
    """Two runs alive at once, of different shapes, then both gradients: no buffer is used twice."""
    problems = [make_problem(seed=seed, cells=cells) for seed, cells in ((0, 12), (1, 30))]
    alone = [run(FUSED, problem)[1] for problem in problems]
    losses, leaves = [], []
    for machines, batch in problems:
        leaves.append({name: param.clone().requires_grad_() for name, param in machines.params.items()})
        outcome = kernels.unroll(replace(machines, params=leaves[-1]), batch, RunOptions(want_entropy=True))
        losses.append(-(machine.stop_probs(outcome.stop_logits, batch.limit) * outcome.log_likelihood).sum())
        weights = torch.linspace(0, 1, outcome.entropy.numel()).view_as(outcome.entropy)
        losses[-1] = losses[-1] - (outcome.entropy * weights).sum()
    sum(losses).backward()
    for leaf, expected in zip(leaves, alone, strict=True):
        assert all(torch.equal(leaf[name].grad, expected[name]) for name in expected)


@pytest.mark.slow
def test_only_part_of_the_outcome_is_used():
    machines, batch = make_problem()
    for part in ("log_likelihood", "stop_logits", "entropy"):
        gradients = []
        for kernel in ("reference", FUSED):
            leaves = {name: param.clone().requires_grad_() for name, param in machines.params.items()}
            outcome = kernels.unroll(replace(machines, params=leaves), batch, RunOptions(want_entropy=True), kernel)
            running = torch.arange(int(batch.limit.max())).view(-1, 1, 1) < batch.limit
            (getattr(outcome, part) * running).sum().backward()
            gradients.append(leaves)
        for name in machines.params:
            assert relative(gradients[1][name].grad, gradients[0][name].grad) < 1e-9


def test_denormal_mode_is_left_as_it_was():
    run(FUSED, make_problem(dtype=torch.float32))
    assert np.finfo(np.float32).tiny * np.float32(0.5) > 0


@pytest.mark.slow
def test_no_gradient_wanted():
    problem = make_problem()
    expected = machine.unroll(*problem)
    with torch.no_grad():
        found = kernels.unroll(*problem)
    assert relative(found.log_likelihood, expected.log_likelihood) < 1e-12
    assert found.entropy is None and not found.log_likelihood.requires_grad


def test_names_and_devices():
    assert kernels.resolve("auto", "cpu") == "cpu"
    assert kernels.resolve("reference", "cuda") == "reference"
    with pytest.raises(ValueError, match="valid: auto, reference, cpu"):
        kernels.resolve("fast", "cpu")
    with pytest.raises(ValueError, match="does not run on 'cuda'"):
        kernels.resolve("cpu", "cuda")


def test_warm_up_leaves_nothing_to_compile():
    kernels.warm_up("cpu", "cpu")
    assert not kernels.will_compile("cpu", "cpu")
    assert not kernels.will_compile("reference", "cpu")


def _names(code):
    """The names in a function's code and in that of the functions within it."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return {*code.co_names, *(name for each in inner for name in _names(each))}


def _files_of(compiled, found):
    """The files of everything that a compiled function is made from: what it names, and what that names in turn."""
    function = next(filter(None, (getattr(compiled, name, None) for name in ("py_func", "_defn", "__wrapped__"))), None)
    if function is None and isinstance(compiled, types.FunctionType) and compiled.__module__.startswith("nram."):
        function = compiled
    if function is None or function in found:
        return found
    found[function] = Path(function.__code__.co_filename)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = _names(function.__code__)
    named = [function.__globals__.get(name) for name in names] + cells
    for module in [each for each in named if isinstance(each, types.ModuleType)]:
        named += [getattr(module, name, None) for name in names]
    for each in named:
        _files_of(each, found)
    return found


def test_the_cache_key_depends_on_all_that_is_compiled(tmp_path):
    forward, backward = loops.compiled_loops(torch.float32)
    files = set(_files_of(backward, _files_of(forward, {})).values())
    simd_files = {"llvm.py", "memory.py", "shuffles.py", "arithmetic.py", "reductions.py", "mixes.py", "tape.py"}
    assert {"modules.py", "softmaxes.py", "controllers.py", "rows.py", *simd_files} <= {file.name for file in files}
    ours = {file for file in files if Path(kernels.__file__).parent in file.parents}
    assert ours <= set(loops.SOURCES)  # what Numba brings along has its version in the digest
    changed = tmp_path / "changed.py"
    for index, source in enumerate(loops.SOURCES):
        changed.write_bytes(source.read_bytes() + b"#")
        assert loops.digest([*loops.SOURCES[:index], changed, *loops.SOURCES[index + 1 :]]) != loops.DIGEST


@pytest.mark.parametrize("change", ["memory", "target", "limit", "cells", "dtype"])
def test_bad_arguments(change):
    machines, batch = make_problem(cells=1 if change == "cells" else 12)
    if change == "memory":
        batch.memory[0, 0, 0] = 12
    if change == "target":
        batch.target[1, 1, 1] = -1
    if change == "limit":
        batch.limit[1, 1] = 0
    if change == "dtype":
        machines = replace(machines, params={name: param.half() for name, param in machines.params.items()})
    with pytest.raises(ValueError):
        kernels.unroll(machines, batch, kernel=FUSED)


@njit
def _pointer(array):
    return simd.pointer(array.ctypes.data, array.dtype)


@njit
def _use_vectors(x, y, rows, out):
    p, out_p, rows_p = _pointer(x), _pointer(out), _pointer(rows)
    v, other, nothing = simd.load(p, 0), simd.load(_pointer(y), 0), simd.zero(p)
    results = (
        simd.running_sum(v),
        simd.running_sum_down(v),
        simd.shift_up(v, other),
        simd.shift_down(v, other),
        simd.first_lanes(5, v, nothing),
        simd.with_lane(3, v, other),
        simd.splat(simd.total(v)),
        simd.splat(simd.largest(v)),
        simd.splat_first(v),
        simd.splat_last(v),
        simd.exp(nothing - simd.magnitude(v)),
        simd.at_least(other, v),
        simd.at_most(other, v),
        simd.where_positive(v, other, nothing),
        v / other,
        simd.dots(p, rows_p, 16, 16),
        simd.row_sums(rows_p),
        simd.row_maxima(rows_p),
    )
    for k in range(len(results)):
        simd.store(out_p, 16 * k, results[k])
    simd.transpose(simd.at(out_p, 16 * len(results)), 16, rows_p, 16)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-13)])
def test_vectors(dtype, tolerance):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 16)).astype(dtype) * 3
    rows = generator.normal(size=(16, 16)).astype(dtype)
    out = np.zeros((18 + 16, 16), dtype)
    _use_vectors(x, y, rows.ravel(), out.ravel())
    a, b, lane = x.astype(np.float64), y.astype(np.float64), np.arange(16)
    expected = [
        a.cumsum(),
        a[::-1].cumsum()[::-1],
        np.r_[b[15], a[:15]],
        np.r_[a[1:], b[0]],
        np.where(lane < 5, a, 0),
        np.where(lane == 3, b, a),
        a.sum() + 0 * a,
        a.max() + 0 * a,
        a[0] + 0 * a,
        a[15] + 0 * a,
        np.exp(-abs(a)),
        np.maximum(a, b),
        np.minimum(a, b),
        np.where(a > 0, b, 0),
        a / b,
        rows @ a,
        rows.sum(1),
        rows.max(1),
        *rows.T,
    ]
    np.testing.assert_allclose(out, np.array(expected), rtol=tolerance, atol=tolerance * 3)


@njit
def _exponentials(x, out):
    for c in range(0, x.shape[0], 16):
        simd.store(_pointer(out), c, simd.exp(simd.load(_pointer(x), c)))


def test_exp():
    x = -np.linspace(0, 120, 16 * 5000).astype(np.float32)
    out = np.empty_like(x)
    _exponentials(x, out)
    normal = x > -87
    np.testing.assert_allclose(out[normal], np.exp(x[normal].astype(np.float64)), rtol=3e-7)
    assert (out[x < -88] == 0).all() and out[0] == 1
    _exponentials(np.full(16, np.nan, np.float32), out)
    assert np.isnan(out[:16]).all()


@njit
def _products(out, weights, rows, count, size, outs):
    simd.mix_many(_pointer(out), size, _pointer(weights), count, 1, _pointer(rows), size, count, size, outs)


@pytest.mark.parametrize("outs, count, size", [(1, 1, 16), (2, 7, 48), (4, 18, 112), (8, 5, 32), (15, 33, 80)])
def test_mix_is_a_matrix_product(outs, count, size):
    generator = np.random.default_rng(1)
    weights, rows = generator.normal(size=(outs, count)), generator.normal(size=(count, size))
    out = np.empty((outs, size))
    _products(out.ravel(), weights.ravel(), rows.ravel(), count, size, outs)
    np.testing.assert_allclose(out, weights @ rows, atol=1e-12)

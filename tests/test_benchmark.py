"""The benchmark: its counts, whether its numbers fit together, and its claims. Speed itself is not tested."""

import ast
import copy
import json
import math
import statistics
from dataclasses import replace

import matplotlib
import nbformat
import pytest
from matplotlib.figure import Figure

from nram import __main__ as command_line
from nram import kernels, results
from nram.experiments.speed import benchmark, calls, cases, timing
from nram.experiments.speed import claims as speed
from nram.experiments.speed.cases import QUICK, TINY, Case
from nram.experiments.speed.operations import controller_operations, timestep_bytes, timestep_operations
from nram.machine import run
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller

ROW = {
    "case", "population", "batch", "timesteps", "num_cells", "device", "implementation", "scope", "microseconds",
    "ratio", "microseconds_low", "microseconds_high", "microseconds_min", "ratio_low", "ratio_high", "rounds", "calls",
    "busy", "registers", "modules", "hidden", "operations", "bytes", "arithmetic_microseconds", "times_arithmetic",
    "compile_seconds", "processor_microseconds", "processor_ratio", "processor_times_arithmetic",
}  # fmt: skip


# Counts


def test_operations_of_a_small_circuit_counted_by_hand():
    # One register: the slots have 1 (READ), 5 (INC), 6 6 (ADD), 7 7, 8 (DEC), 9 9, 10 10, 11 11, 12 12, 13 13, 14 14
    # sources, and 15 for the register: 193. Three cells.
    counts = timestep_operations(Layout(1), 3)
    assert counts["averages"] == (2 * 193 * 3, 4 * 193 * 3)
    assert counts["softmax"] == (4 * 193, 4 * 193)
    # Nine products and nine sums, then three sums and three divisions; backward without the division.
    assert counts["READ"] == counts["ADD"] == counts["SUB"] == (18 + 6, 36)
    assert counts["WRITE"] == (27, 63)
    assert counts["INC"] == counts["DEC"] == counts["ZERO"] == counts["ONE"] == counts["TWO"] == (0, 0)
    assert counts["LESS-THAN"] == counts["LESS-OR-EQUAL-THAN"] == (9, 9)
    assert counts["EQUALITY-TEST"] == (6, 6)
    assert counts["MIN"] == counts["MAX"] == (15 + 6, 24)
    assert counts["registers"] == (6, 0)
    forward = 1158 + 772 + 3 * 24 + 27 + 2 * 9 + 6 + 2 * 21 + 6
    backward = 2316 + 772 + 3 * 36 + 63 + 2 * 9 + 6 + 2 * 24
    assert tuple(map(sum, zip(*counts.values(), strict=True))) == (forward, backward)


def test_operations_of_the_usual_circuit_are_about_a_tenth_of_a_million():
    assert 80_000 < sum(map(sum, timestep_operations(Layout(4), 32).values())) < 110_000


def test_repeated_modules_count_as_often_as_they_run():
    once, twice = timestep_operations(Layout(4), 8), timestep_operations(Layout(4, 2), 8)
    assert set(once) == set(twice)
    for name in ("READ", "WRITE", "ADD", "MIN"):
        assert twice[name] == tuple(2 * count for count in once[name])
    assert twice["averages"][0] > 2 * once["averages"][0], "later modules have more sources"


def test_controller_and_history():
    layout = Layout(2)
    shapes = make_controller("mlp", layout, 3).shapes()
    weights = 2 * 3 + 3 * 3 + 3 * (layout.num_logits + 1)
    assert controller_operations(shapes) == (2 * weights, 4 * weights)
    assert timestep_bytes(layout, 10) == 2 * 4 * (16 * 10 + 100 + layout.num_logits)


# Cases


@pytest.mark.parametrize("case", [*cases.FULL.cases, *cases.FULL.memory, *cases.cuda_cases()], ids=str)
def test_every_example_runs_for_all_timesteps(case):
    config = replace(case, device="cpu").config("reference")
    examples = config.examples
    assert examples.limit_slope == 0 and examples.limit_offset == case.timesteps
    assert (examples.num_cells, examples.extra_cells) == (case.num_cells, 0)
    assert config.population.size * examples.batch_size == case.population * case.batch


def test_the_plan_has_what_was_asked_for():
    measured = {(case.task, case.population, case.batch) for case in cases.FULL.cases}
    assert measured == {(task, P, 32) for task in ("copy", "permutation") for P in (1, 8)}
    assert {(case.timesteps, case.num_cells) for case in cases.FULL.cases if case.task == "copy"} == {(18, 32)}
    assert cases.PERMUTATION.config("reference").machine.repetitions == 2
    assert cases.LARGEST in cases.FULL.memory
    for task in ("copy", "permutation"):
        assert {case.population for case in cases.cuda_cases() if case.task == task} >= {64, 256, 1024}
    cells = {case.num_cells for axis, _, along in cases.FULL.growth if axis == "num_cells" for case in along}
    assert {min(cells), max(cells)} == {16, 256}


def test_compiled_calls_leave_the_reference_as_it_was(monkeypatch):
    used = []

    def compile_nothing(function, dynamic):
        return lambda *args, **options: used.append(function) or function(*args, **options)

    monkeypatch.setattr("torch.compile", compile_nothing)
    calls.compiled_parts.cache_clear()
    before = run.timestep, run.circuit_entropy, Layout.softmax
    calls.compiled_call(calls.step_call(TINY, "reference"))()
    calls.compiled_parts.cache_clear()
    assert {function.__name__ for function in used} == {"timestep", "circuit_entropy", "softmax"}
    assert (run.timestep, run.circuit_entropy, Layout.softmax) == before


# Whole measurements


@pytest.fixture(scope="module")
def measurements():
    return benchmark.benchmark(QUICK, say=lambda text: None)


@pytest.mark.slow
def test_rows_have_the_promised_fields_and_fit_together(measurements):
    for row in measurements["rows"] + measurements["growth"]:
        assert set(row) - {"axis"} == ROW
        reference, *_ = (
            other
            for other in measurements["rows"] + measurements["growth"]
            if other["implementation"] == "reference"
            and all(other[name] == row[name] for name in ("case", "population", "num_cells", "scope"))
            and other.get("axis") == row.get("axis")
        )
        assert row["ratio"] == pytest.approx(reference["microseconds"] / row["microseconds"])
        assert row["microseconds_min"] <= row["microseconds_low"] <= row["microseconds"] <= row["microseconds_high"]
        assert 0 < row["ratio_low"] <= row["ratio_high"]
        assert row["times_arithmetic"] == pytest.approx(row["microseconds"] / row["arithmetic_microseconds"])
    fused = kernels.resolve() != "reference"
    of_rows = {(row["case"], row["scope"], row["implementation"]) for row in measurements["rows"]}
    for task in ("copy", "permutation"):
        for scope in ("step", "kernel"):
            assert (task, scope, "reference") in of_rows and ((task, scope, "fused") in of_rows) == fused
    assert ("copy", "timestep", "reference") in of_rows


@pytest.mark.slow
def test_the_other_sections(measurements):
    assert measurements["limits"]["gflops_best"] >= measurements["limits"]["gflops"] > 0
    assert measurements["limits"]["copy_gigabytes_per_second"] > 0
    assert [each["implementation"] for each in measurements["memory"]] == ["fused", "reference"]
    for each in measurements["memory"]:
        assert each["peak_mib"] > each["training_mib"] >= 0
    assert {each["num_cells"] for each in measurements["discretized"]} == {64, 1_000}
    assert all(each["timesteps_per_second"] > 1_000 for each in measurements["discretized"])
    assert measurements["solve"] == []
    where = {"threads", "cores", "load_before", "load_after", "versions", "commit", "command", "environment"}
    assert where <= set(measurements["machine"])


@pytest.mark.slow
def test_survives_its_file(measurements, tmp_path):
    results.write_text(tmp_path / "speed.json", benchmark.to_json(measurements))
    again = speed.load(tmp_path / "speed.json")
    assert list(again) == list(measurements)
    for row, before in zip(again["rows"], measurements["rows"], strict=True):
        assert row["microseconds"] == pytest.approx(before["microseconds"], rel=1e-5)
        assert {name: row[name] for name in ("case", "scope", "modules")} == {
            name: before[name] for name in ("case", "scope", "modules")
        }
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(ValueError, match="rows"):
        speed.load(tmp_path / "speed.json")


@pytest.mark.slow
def test_what_was_not_measured_is_not_claimed(measurements):
    claims = speed.claims(measurements).set_index("what")
    assert len(claims) >= 11
    missing = claims[claims["measured"].isna()]
    assert all(met is None for met in missing["met"])
    assert any("H100" in what for what in missing.index)


def test_the_recorded_measurements_of_a_gpu_join_the_others():
    ours, of_gpu = (results.RECORDED / f"benchmark{suffix}.json" for suffix in ("", "-gpu"))
    measurements = speed.load(ours, of_gpu)
    assert "H100" in measurements["gpu"]["device"] and measurements["gpu"]["versions"]["torch"].count("cu")
    rows = [row for row in measurements["rows"] if row["device"] == "cuda"]
    measured = {(row["case"], row["population"]) for row in rows}
    assert measured == {(case.task, case.population) for case in cases.cuda_cases()}
    assert all(set(row) == ROW for row in rows)
    claim = speed.claims(measurements).set_index("what").filter(like="H100", axis=0).iloc[0]
    assert claim["met"] and claim["measured"] > 10
    assert list(speed.tables(json.loads(of_gpu.read_text("utf-8")))) == ["Microseconds per sample-timestep"]


def test_a_gpu_is_needed_to_measure_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        benchmark.benchmark_gpu()


def copied_row(measurements, **changes):
    row = copy.deepcopy(next(row for row in measurements["rows"] if row["scope"] == "step"))
    return row | {"case": "copy", "batch": 32, "implementation": "fused", "population": 1, "scope": "step"} | changes


@pytest.mark.parametrize(("ratio", "met"), [(29.9, False), (30.0, True)])
@pytest.mark.slow
def test_verdicts_follow_the_numbers(measurements, ratio, met):
    measurements = copy.deepcopy(measurements)
    measurements["rows"].append(copied_row(measurements, ratio=ratio))
    measurements["rows"].append(copied_row(measurements, scope="kernel", ratio=59.0, times_arithmetic=5.0))
    claims = speed.claims(measurements).set_index("what")["met"]
    assert claims.filter(like="whole training step, copy, batch 32, population 1").item() is met
    assert claims.filter(like="kernel, forward and backward").item() is False
    assert claims.filter(like="kernel, population 1").item() is True


@pytest.mark.slow
def test_an_unsolved_search_counts_as_slower_than_any(measurements):
    seconds = [(3.0, True), (4.0, True), (300.0, False), (300.0, False), (4.5, True)]
    solved = [{"task": "access", "seed": k, "seconds": s, "solved": ok} for k, (s, ok) in enumerate(seconds)]
    found = speed.claims({**measurements, "solve": solved}).set_index("what").filter(like="Access", axis=0).iloc[0]
    assert found["measured"] == 4.5 and found["met"] and found["spread"] == "3 to inf"
    solved[0]["solved"] = False
    found = speed.claims({**measurements, "solve": solved}).set_index("what").filter(like="Access", axis=0).iloc[0]
    assert math.isinf(found["measured"]) and not found["met"]


@pytest.mark.slow
def test_growth_of_memory_is_an_exponent(measurements):
    base = {**measurements["memory"][0], "implementation": "fused", "timesteps": 8, "training_mib": 10.0}
    memory = [base, {**base, "timesteps": 16, "training_mib": 20.0}, {**base, "batch": 4 * base["batch"]}]
    memory[2]["training_mib"] = 160.0
    found = speed.claims({**measurements, "memory": memory}).set_index("what")
    assert found.filter(like="with timesteps", axis=0)["measured"].item() == pytest.approx(1)
    assert found.filter(like="with batch", axis=0)["measured"].item() == pytest.approx(2)
    assert not found.filter(like="with batch", axis=0)["met"].item()


@pytest.mark.slow
def test_solves_an_easy_task():
    easy = {"population": 8, "train_difficulty": 2, "verify_cases": 50}
    row = benchmark.solve("access", seed=0, budget=300.0, **easy)
    assert row["solved"] and row["seconds"] > 0 and row["members_started"] >= 8


def test_rounds_take_turns():
    order = []
    appending = {name: lambda name=name: order.append(name) for name in "ab"}
    samples, number = timing.take_turns(appending, rounds=2)
    assert [len(pairs) for pairs in samples.values()] == [2, 2] and min(number.values()) >= 1
    timed = order[4:]  # after two calls of each to warm up
    assert timed == (["a"] * (1 + number["a"]) + ["b"] * (1 + number["b"])) * 2  # the first is not timed
    assert timing.quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
    assert statistics.median(wall for wall, _ in samples["a"]) > 0


@pytest.mark.slow
def test_command(monkeypatch, capsys, tmp_path, measurements):
    asked = {}

    def pretend(plan, **options):
        asked.update(options, plan=plan)
        return measurements

    monkeypatch.setattr(benchmark, "benchmark", pretend)
    file = tmp_path / "new" / "speed.json"
    assert command_line.main(["benchmark", "--quick", "--solve", "--seeds", "7", "8", "--json", str(file)]) == 0
    assert asked["plan"] is QUICK and asked["seeds"] == [7, 8] and asked["with_compiled"] is False
    assert json.loads(file.read_text())["machine"]["threads"] == measurements["machine"]["threads"]
    printed = capsys.readouterr().out
    for title in ("Microseconds per sample-timestep", "Peak memory", "Targets"):
        assert title in printed
    assert command_line.main(["benchmark"]) == 0
    assert asked["plan"] is cases.FULL and asked["seeds"] == ()


def test_a_memory_too_small_for_the_task_is_an_error():
    with pytest.raises(ValueError):
        Case("copy", num_cells=2).config("reference")


@pytest.mark.slow
def test_notebook(measurements, tmp_path, monkeypatch):
    matplotlib.use("agg")
    results.write_text(tmp_path / "speed.json", benchmark.to_json(measurements))
    shown, names = [], {}
    monkeypatch.setattr("IPython.display.display", shown.append)
    for cell in nbformat.read(results.CHECKOUT / "notebooks" / "50_speed.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            *statements, last = ast.parse(cell.source.replace("%matplotlib inline\n", "")).body
            if not isinstance(last, ast.Expr):
                statements.append(last)
            exec(compile(ast.Module(statements, []), cell.id, "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), cell.id, "eval"), names)
                if isinstance(value, Figure):
                    assert cell.metadata["alt"]
                    value.savefig(tmp_path / f"{cell.id}.png")
            if "parameters" in cell.metadata.get("tags", []):
                names["measurements_file"] = str(tmp_path / "speed.json")
    assert {path.stem for path in tmp_path.glob("*.png")} == {"times", "growth", "integers"}
    assert "not measured" in shown[-1].data and "million timesteps per second" in shown[-1].data

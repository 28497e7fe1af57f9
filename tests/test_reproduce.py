"""The runner, on small notebooks made for these tests: success, failure, skipping what is done, interruptions."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from builders import sweep

from nram import TrainConfig, results
from nram.__main__ import main
from nram.arguments import setting, setting_text, task_keys
from nram.experiments import notebooks as executing
from nram.experiments import reproduce
from nram.experiments.board import Board
from nram.results import files

PARAMETERS = {"seed": 3, "budget_seconds": 2.0, "device": "cpu", "overrides": {}}
# A task's notebook that does what a file of its task's name says, and leaves a run that the test has prepared.
TASK_CELLS = [
    "import os, shutil, signal, sys\nfrom pathlib import Path",
    "open('log.txt', 'a').write(task + '\\n')\nprint(os.environ['NRAM_COMMAND'], os.environ['NUMBA_NUM_THREADS'])",
    "plan = Path(f'{task}.py')\nexec(plan.read_text() if plan.exists() else '')",
    "for made in Path('made').glob(f'{task}-*'):\n    shutil.copytree(made, Path(results_folder) / made.name)",
    "print('the end')",
]
TASK_PARAMETERS = "\n".join(
    ["task = 'copy'  # key", "seed = 0", "budget_seconds = 120.0", "device = 'cpu'", "overrides = {}"]
    + ["results_folder = '../results/runs'  # folder of runs", "cases = 1000", "max_complexity = 50"]
)
FOLDERS = "results_folder = '../results/runs'\nfigures_folder = '../results/figures'"


def write_notebook(path, cells, parameters=None):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    if parameters is not None:
        notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)
    return path


def executed_text(path):
    """All that the cells of an executed notebook printed."""
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Children would inherit signals that are ignored here, as under nohup or in the background of a script."""
    terminal = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in terminal.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def notebooks(tmp_path):
    """A folder of notebooks as the runner expects them; made/ holds the runs that the tasks' will leave."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "10_task.ipynb", TASK_CELLS, TASK_PARAMETERS)
    write_notebook(folder / "00_machine.ipynb", ["print('machine')"])
    write_notebook(folder / "20_table1.ipynb", ["print(sorted(__import__('os').listdir(results_folder)))"], FOLDERS)
    write_notebook(folder / "30_generalization.ipynb", ["open(figures_folder + '.txt', 'w').write('here')"], FOLDERS)
    write_notebook(folder / "60_programs.ipynb", ["print('programs')"], FOLDERS)
    return folder


def prepare(notebooks, *keys):
    """Make the runs that the tasks' notebooks will leave; return the tasks' configurations."""
    configs = {}
    for key in keys:
        settings = {name: value for name, value in PARAMETERS.items() if name != "overrides"}
        configs[key] = TrainConfig.for_task(key, **settings).to_dict()
        results.save_run(
            notebooks / "made",
            config=configs[key],
            metrics={"solved": True, "training_seconds": 1.0, "cases": 1000, "max_complexity": 50},
            generalization=sweep(complexities=[*range(1, 51)]),
            history=pd.DataFrame({"batch": [1]}),
            trials=pd.DataFrame({"trial": [0]}),
            weights={"weight": torch.zeros(1)},
            provenance=results.collect_provenance(configs[key], seconds=1.0, kernel="reference"),
        )
    return configs


def run(notebooks, configs, **options):
    with Board(io.StringIO()) as board:
        folder = notebooks.parent / "results"
        failures = reproduce.reproduce(configs, PARAMETERS, folder, notebooks=notebooks, board=board, **options)
    return failures, board.stream.getvalue()


def log(notebooks):
    return (notebooks / "log.txt").read_text().split() if (notebooks / "log.txt").exists() else []


@pytest.mark.slow
def test_failures_are_named_and_stop_nothing_else_and_finished_runs_stay(notebooks, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    configs = prepare(notebooks, "copy", "swap", "access", "merge", "reverse")
    plans = {
        "swap": "1 / 0",
        "access": "os._exit(3)",
        "merge": "os.kill(os.getppid(), signal.SIGKILL)",
        "reverse": "shutil.rmtree(next(Path('made').glob('reverse-*')))",
    }
    for key, plan in plans.items():
        (notebooks / f"{key}.py").write_text(plan)
    failures, said = run(
        notebooks, configs, parallel=2, threads=3, commands=dict.fromkeys([*configs, *reproduce.SUMMARIES], "me")
    )
    folder = notebooks.parent / "results"
    runs, failed = folder / "runs", folder / "runs" / "failed"

    assert set(failures) == set(plans)
    assert "cell 4: ZeroDivisionError: division by zero" in failures["swap"]
    assert "the kernel died in cell 4" in failures["access"]
    assert "exit code -9" in failures["merge"]
    assert f"left no run {results.run_name(configs['reverse'])}" in failures["reverse"]
    for key in plans:
        kept = failed / results.run_name(configs[key])
        assert failures[key].removesuffix(f" ({failed})") in (kept / "error.txt").read_text()
        assert f"{key}  " in said and "FAILED" in said
    assert "exec(plan" in (failed / results.run_name(configs["swap"]) / "error.txt").read_text(), "the traceback"
    assert "An Exception" in (failed / results.run_name(configs["swap"]) / "notebook.ipynb").read_text()

    done = runs / results.run_name(configs["copy"])
    assert executed_text(done / "notebook.ipynb") == "me 3\nthe end\n"
    assert results.find_run(runs, configs["copy"]) == done
    assert sorted(path.name for path in runs.iterdir()) == [done.name, "failed"], "nothing else counts as a run"
    assert executed_text(folder / "notebooks" / "20_table1.ipynb") == f"{sorted([done.name, 'failed'])}\n"
    assert (folder / "figures.txt").exists(), "paths mean the same in every notebook"
    assert pd.read_csv(folder / "tables" / "table1.csv")["train_error"].notna().sum() == 1
    assert not (folder / ".executing").exists()
    assert re.search(r"^ +\d+:\d\d  copy  +✓ perfect after 1 s of training; \d+ s in all$", said, re.MULTILINE)
    assert re.search(r"^copy +✓ 0 +0 +✓ perfect +perfect +✓ perfect +perfect$", said, re.MULTILINE)
    assert "1 of 10 reach the paper; 9 not run" in said and f"tables:    {folder / 'tables'}\n" in said
    assert f"-m nram compare --mine {runs}\n" in said
    assert list(scratch.iterdir()) == [], "no sockets stay behind, not even the dead worker's"

    (notebooks / "swap.py").unlink()
    before = len(log(notebooks))
    failures, said = run(notebooks, {key: configs[key] for key in ("copy", "swap")})
    assert failures == {}
    assert log(notebooks)[before:] == ["swap"], "copy is not run again"
    assert f"copy  ✓ perfect after 1 s of training; finished before: {done.name}" in said
    assert results.run_name(configs["swap"]) not in [path.name for path in failed.iterdir()], "what it left is gone"
    assert pd.read_csv(folder / "tables" / "table1.csv")["train_error"].notna().sum() == 2


def test_what_counts_as_done(notebooks):
    configs = prepare(notebooks, "copy")
    runs = notebooks.parent / "results" / "runs"

    def is_done(config=configs["copy"], **parameters):
        commands = dict.fromkeys(["copy", *reproduce.SUMMARIES], "")
        (job,), _ = reproduce.make_jobs({"copy": config}, PARAMETERS | parameters, commands, runs.parent, notebooks)
        return job.is_done()

    assert not is_done()
    made = next((notebooks / "made").iterdir())
    runs.mkdir(parents=True)
    folder = made.rename(runs / made.name)
    assert not is_done(), "killed before the executed notebook was there"
    (folder / "notebook.ipynb").write_text("{}")
    assert is_done()
    assert is_done(cases=1000, max_complexity=50)
    assert not is_done(cases=1001), "evaluated on fewer cases than asked for"
    assert not is_done(configs["copy"] | {"seed": 4}), "another seed is another run"


@pytest.mark.slow
def test_a_broken_run_is_named_and_left_alone(notebooks):
    configs = prepare(notebooks, "copy")
    runs = notebooks.parent / "results" / "runs"
    runs.mkdir(parents=True)
    made = next((notebooks / "made").iterdir())
    folder = made.rename(runs / made.name)
    (folder / "metrics.json").write_text("{")
    with pytest.warns(results.BrokenRun, match="left out: .*metrics.json is damaged"):
        failures, said = run(notebooks, configs, parallel=1)
    assert f"{folder.resolve() / 'metrics.json'} is damaged" in failures["copy"]
    assert log(notebooks) == [] and (folder / "metrics.json").read_text() == "{"


def test_a_parameter_that_the_notebook_does_not_have_is_an_error_before_anything_runs(notebooks):
    aside = notebooks / "aside.ipynb"
    with pytest.raises(ValueError, match="no parameter 'budget'; did you mean 'budget_seconds'. It has: task, seed"):
        executing.execute(notebooks / "10_task.ipynb", aside, {"budget": 3}, threads=1, command="")
    with pytest.raises(ValueError, match="no parameter 'x'. It has: none"):
        executing.execute(notebooks / "00_machine.ipynb", aside, {"x": 3}, threads=1, command="")
    assert not aside.exists() and log(notebooks) == []


@pytest.mark.slow
def test_a_notebook_that_leaves_early_is_not_done(notebooks):
    path = write_notebook(notebooks / "leaves.ipynb", ["import sys; sys.exit()", "print('never')"])
    with pytest.raises(RuntimeError, match="leaves.ipynb ended before its cell 1"):
        executing.execute(path, notebooks / "aside.ipynb", {}, threads=1, command="")


@pytest.mark.slow
def test_a_kernel_that_does_not_start_is_tried_once_more(notebooks, monkeypatch):
    from jupyter_client.manager import AsyncKernelManager

    start, attempts, to_fail = AsyncKernelManager.start_kernel, [], 1

    async def start_kernel(self, **options):
        attempts.append(self.ip)
        if len(attempts) <= to_fail:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return await start(self, **options)

    monkeypatch.setattr(AsyncKernelManager, "start_kernel", start_kernel)
    aside = notebooks / "aside.ipynb"
    executing.execute(notebooks / "00_machine.ipynb", aside, {}, threads=1, command="")
    assert executed_text(aside) == "machine\n"
    assert len(attempts) == 2 and attempts[0] != attempts[1] and all(os.path.isabs(path) for path in attempts)
    assert not any(Path(path).parent.exists() for path in attempts), "the folders of sockets are removed"

    attempts.clear()
    to_fail = 2
    with pytest.raises(RuntimeError, match="died before replying"):
        executing.execute(notebooks / "00_machine.ipynb", aside, {}, threads=1, command="")
    assert len(attempts) == 2


@pytest.mark.slow
def test_a_failing_cell_is_not_tried_again(notebooks):
    path = write_notebook(notebooks / "fails.ipynb", ["open('log.txt', 'a').write('once ')", "unknown_name"])
    with pytest.raises(Exception, match="unknown_name") as caught:
        executing.execute(path, notebooks / "aside.ipynb", {}, threads=1, command="")
    assert executing.describe(caught.value).error == "cell 1: NameError: name 'unknown_name' is not defined"
    assert "\x1b" not in executing.describe(caught.value).detail
    assert log(notebooks) == ["once"]


def test_two_runners_do_not_share_a_results_folder(notebooks):
    configs = prepare(notebooks, "copy")
    folder = notebooks.parent / "results"
    with files.locked(folder, "reproduction"):
        with pytest.raises(files.Busy, match=f"process {os.getpid()}\\) works in {folder}"):
            run(notebooks, configs)
    assert log(notebooks) == []
    with files.locked(folder, "reproduction"):
        pass


@contextlib.contextmanager
def command(notebooks, *arguments):
    """The runner's command line as a process in a session of its own."""
    settings = ["--notebooks", "notebooks", "--results", "results", "--seed", str(PARAMETERS["seed"])]
    settings += ["--budget", str(PARAMETERS["budget_seconds"]), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-m", "nram", "reproduce", *settings],
        cwd=notebooks.parent,
        env=os.environ | {"PYTHONPATH": str(results.CHECKOUT)},
        start_new_session=True,
        **pipes,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks up processes in /proc")
def test_the_end_of_the_runner_is_the_end_of_its_children_and_the_next_call_goes_on(notebooks):
    prepare(notebooks, "copy", "swap")
    (notebooks / "swap.py").write_text(
        "import time\nopen('pids.tmp', 'w').write(f'{os.getpid()} {os.getppid()}')\n"
        "os.rename('pids.tmp', 'pids')\ntime.sleep(600)"
    )
    runs = notebooks.parent / "results" / "runs"
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        with command(notebooks, "--tasks", "copy swap", "--jobs", "1") as runner:
            wait_until((notebooks / "pids").exists)
            wait_until(lambda: list(runs.glob("copy-*/notebook.ipynb")))
            pids = (notebooks / "pids").read_text().split()
            (notebooks / "pids").unlink()
            assert all(map(is_running, pids))
            if number == signal.SIGINT:
                os.killpg(runner.pid, number)  # as a terminal does
            else:
                runner.send_signal(number)
            _, errors = runner.communicate(timeout=60)
        assert runner.returncode == exit_code and "Traceback" not in errors, errors
        wait_until(lambda pids=pids: not any(map(is_running, pids)))
        assert [path.name.partition("-")[0] for path in runs.iterdir()] == ["copy"]

    (notebooks / "swap.py").unlink()
    with command(notebooks, "--tasks", "copy swap", "--jobs", "1") as runner:
        output, errors = runner.communicate(timeout=120)
    assert runner.returncode == 0, errors
    assert log(notebooks).count("copy") == 1 and log(notebooks).count("swap") == 3
    assert "finished before: copy-" in output


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_is_an_exit_that_cleans_up(monkeypatch, number, exit_code):
    monkeypatch.setattr(reproduce, "reproduce", lambda *_, **__: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as caught:
        main(["reproduce"])
    assert caught.value.code == exit_code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "copy swop"], "swap"),
        (["--budget", "-1"], "budget_seconds must be at least 0"),
        (["--overrides", '{"popul": 3}'], "unknown setting 'popul'"),
        (["--overrides", '{"seed": 3}'], "seed is an option of its own"),
        (["--overrides", "[1]"], "must be a JSON object"),
        (["--overrides", "{"], "not JSON"),
        (["--set", "popul=3"], "unknown setting 'popul'"),
        (["--set", "device=cuda"], "device is an option of its own: --device"),
        (["--set", "hidden"], "NAME=VALUE"),
        (["--table-only"], "is not a folder of runs"),
    ],
)
def test_a_wrong_request_is_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        code = main(["reproduce", *arguments, "--results", str(tmp_path / "results")])
    except SystemExit as exit:  # argparse's
        code = exit.code
    assert code == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert not (tmp_path / "results").exists()


def test_tasks_are_keys_with_spaces_or_commas_between():
    assert task_keys("copy swap,copy") == ["copy", "swap"]
    assert len(task_keys("all")) == 10 == len(task_keys(" "))


@pytest.mark.parametrize("value", [4, 0.5, None, True, [1, 2.5], "reference", "4", "null", "a b=c"])
def test_a_setting_in_a_command_reads_as_it_was(value):
    assert setting(setting_text("name", value)) == ("name", value)


@pytest.mark.parametrize("given", [["--set", "population=4"], ["--overrides", '{"population": 4}']])
def test_settings_reach_configuration_notebook_and_command(monkeypatch, given):
    seen = {}
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def record(configs, parameters, folder, **options):
        seen.update(configs=configs, parameters=parameters, **options)
        return {}

    monkeypatch.setattr(reproduce, "reproduce", record)
    overrides = {"population": 4}
    arguments = ["--tasks", "copy", "--budget", "5", "--max-complexity", "7", "--jobs", "1", "--threads", "2"]
    assert main(["reproduce", *arguments, *given]) == 0
    expected = TrainConfig.for_task("copy", seed=0, budget_seconds=5.0, device="cpu", population=4).to_dict()
    assert seen["configs"] == {"copy": expected}
    thoroughness = {"cases": 1000, "max_complexity": 7}
    settings = {"seed": 0, "budget_seconds": 5.0, "device": "cpu", "overrides": overrides}
    assert seen["parameters"] == settings | thoroughness
    assert seen["commands"]["copy"] == (
        "python -m nram reproduce --tasks copy --budget 5 --seed 0 --device cpu --cases 1000 --max-complexity 7 "
        "--set population=4"
    )
    assert seen["parallel"] == 1 and seen["threads"] == 2


def test_sockets_have_short_paths(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    for place in (Path("/tmp"), deep):
        monkeypatch.setattr("tempfile.tempdir", str(place))
        folder = Path(executing.socket_folder())
        assert folder.is_dir() and len(str(folder / "kernel-10")) <= executing.SOCKET_PATH
        folder.rmdir()
    assert not list(deep.iterdir())

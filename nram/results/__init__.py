"""What is on disk: runs, frames of many runs, Table 1 with the paper's numbers beside ours. It knows no machine."""

from nram.results.digests import add_sum
from nram.results.files import write_text
from nram.results.identity import check_name, config_hash, run_name
from nram.results.intervals import difference_interval, mcnemar_p, wilson_interval
from nram.results.markdown import to_markdown
from nram.results.paper import PAPER_EXECUTIONS, paper_execution, paper_gradient_noise, paper_table1
from nram.results.places import (
    CHECKOUT,
    FAILED,
    FIGURES,
    MINE,
    NOTEBOOKS,
    RECORDED,
    STUDIES,
    as_parameter,
    located,
)
from nram.results.provenance import collect_provenance, processor, short_commit
from nram.results.runs import (
    FILES,
    BrokenRun,
    Run,
    best_runs,
    check_files,
    find_run,
    load_generalization,
    load_run,
    load_runs,
    origin,
)
from nram.results.saving import remove_stale, save_run
from nram.results.table1 import (
    MARKS,
    all_reached,
    effort_markdown,
    reached,
    readme_tables,
    summary_markdown,
    table1,
    table1_markdown,
    table1_rows,
    write_table1,
)
from nram.results.terminal import terminal_table1
from nram.results.verdict import PERFECT_UP_TO, judge, verdict
from nram.results.weights import load_weights

__all__ = [
    "CHECKOUT",
    "FAILED",
    "FIGURES",
    "FILES",
    "MARKS",
    "MINE",
    "NOTEBOOKS",
    "PAPER_EXECUTIONS",
    "PERFECT_UP_TO",
    "RECORDED",
    "STUDIES",
    "BrokenRun",
    "Run",
    "add_sum",
    "all_reached",
    "as_parameter",
    "best_runs",
    "check_files",
    "check_name",
    "collect_provenance",
    "config_hash",
    "difference_interval",
    "effort_markdown",
    "find_run",
    "judge",
    "load_generalization",
    "load_run",
    "load_runs",
    "load_weights",
    "located",
    "mcnemar_p",
    "origin",
    "paper_execution",
    "paper_gradient_noise",
    "paper_table1",
    "processor",
    "reached",
    "readme_tables",
    "remove_stale",
    "run_name",
    "save_run",
    "short_commit",
    "summary_markdown",
    "table1",
    "table1_markdown",
    "table1_rows",
    "terminal_table1",
    "to_markdown",
    "verdict",
    "wilson_interval",
    "write_table1",
    "write_text",
]

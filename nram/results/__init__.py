"""Runs on disk, and frames of many runs with the paper's numbers beside ours."""

from nram.results.files import write_text as write_text
from nram.results.runs import *  # noqa: F403
from nram.results.runs import (
    CHECKOUT as CHECKOUT,
    FAILED as FAILED,
    FILES as FILES,
    MARKS as MARKS,
    PAPER_EXECUTIONS as PAPER_EXECUTIONS,
    PERFECT_UP_TO as PERFECT_UP_TO,
    STUDIES as STUDIES,
    _commit as _commit,
    _replace_folder as _replace_folder,
    check_name as check_name,
    remove_stale as remove_stale,
    verdict as verdict,
)

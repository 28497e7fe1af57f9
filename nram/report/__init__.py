"""Figures of runs, circuits and executions, and the static site that shows a folder of runs."""

from nram.report.site import build
from nram.report.traces import traces

__all__ = ["build", "traces"]

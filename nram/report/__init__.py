"""A folder of runs as a static site: Table 1, curves, success rates, traces to step through, the notebooks."""

from nram.report.site import build
from nram.report.traces import traces

__all__ = ["build", "traces"]

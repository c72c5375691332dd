"""Whether our own reports would pass at their receivers: what is measured, and how to mend what is wrong (AGG-34)."""

from reporting.readiness.check import check_readiness
from reporting.readiness.measure import Level, Measure, Readiness, Subject

__all__ = ["Level", "Measure", "Readiness", "Subject", "check_readiness"]

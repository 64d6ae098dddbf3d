"""Benchmarks: figures that come from a run whose every promise was checked, beside yardsticks from the same run.

`docs/benchmarks.md` says what each figure means. A run that fails a check has no figure.
"""

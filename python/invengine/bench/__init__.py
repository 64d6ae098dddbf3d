"""Benchmarks: figures from runs whose every guarantee was checked, next to yardsticks from the same run.

`docs/benchmarks.md` says what each figure means. A run that fails a check has no figure.
"""

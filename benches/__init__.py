"""Benchmarks of the Python surface, for pytest-benchmark: `python -m pytest benches`. See docs/benchmarks.md."""

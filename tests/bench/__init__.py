"""Tests of the benchmarks: not of speed, but that a figure is what it claims, and that a failed check yields none."""

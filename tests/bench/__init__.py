"""Tests of the benchmarks: not how fast anything is, but that a figure is what it says, and that no lie becomes one."""

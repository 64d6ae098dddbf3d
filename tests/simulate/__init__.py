"""Tests of the simulations: the stream, the fragmented way, the audit, the report, and a small weekend for real."""

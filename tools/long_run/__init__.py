"""The long run of docs/RELIABILITY.md: its stages, their totals, and the report of these."""

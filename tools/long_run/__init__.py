"""The long run of docs/RELIABILITY.md: its stages, what they add up to, and how that is told."""

"""The engine inside a Python process, without a server."""

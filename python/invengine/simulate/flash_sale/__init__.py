"""A flash sale: far more callers than a server can answer, nearly all for one item."""

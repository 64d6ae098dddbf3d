"""Simulations of the engine's main jobs: a promotion weekend on real baskets, and a flash sale on any server."""

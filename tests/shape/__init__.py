"""Tests of the shape of the project itself: what may know what, what things are called, what is generated."""

"""Measures onefs and its peers on the same work; started by scripts/bench."""

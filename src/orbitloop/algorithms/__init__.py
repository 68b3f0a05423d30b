"""Numpy-only built-in algorithms, each a plug-in of its kind."""

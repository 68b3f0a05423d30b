"""Composition roots: where cores meet adapters."""

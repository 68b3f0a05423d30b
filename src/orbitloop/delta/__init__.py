"""Partial-model updates: made on the ground, applied in orbit, bit-exact."""

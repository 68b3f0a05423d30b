"""Is this prediction a hard example?."""

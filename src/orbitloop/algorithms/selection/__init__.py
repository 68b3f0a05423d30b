"""Which stored samples go down in the next pass?."""

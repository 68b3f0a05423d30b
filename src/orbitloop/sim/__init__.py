"""A whole mission in one process on a virtual clock."""

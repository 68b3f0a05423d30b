"""The rim of the ground: torch and files."""

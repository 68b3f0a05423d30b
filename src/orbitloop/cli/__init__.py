"""The orbitloop command."""

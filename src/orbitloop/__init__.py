"""orbitloop closes the learning loop between orbit and ground. Importing it pulls in nothing."""

__version__ = "0.1.0"

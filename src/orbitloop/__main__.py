"""`python -m orbitloop` is the `orbitloop` command."""

from orbitloop.cli.main import main

if __name__ == "__main__":
    main()

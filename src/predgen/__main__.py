"""`python -m predgen` is `predgen`."""

from predgen.cli.main import app

if __name__ == "__main__":
    app()

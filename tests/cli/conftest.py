"""One tiny classification run and one tiny regression run for all tests of the command line."""

import pytest

from cli_runs import Runs, make_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train both runs once."""
    return make_runs(tmp_path_factory.mktemp("cli"))

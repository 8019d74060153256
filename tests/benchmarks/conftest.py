import pytest

from benchmarks.settings import Setting


@pytest.fixture(scope="session")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """The tiny model, three short prompts, one round of everything."""
    work = str(tmp_path_factory.mktemp("benchmarks"))
    return Setting("tiny", work, batch_size=3, prompt_tokens=20, repeats=1, budget_s=0.0, scale=0.0, threads=1)

"""An experiment's page in a tracker: an artefact of a run of its own; others are refused before the page is made."""

from pathlib import Path

import pytest

from predgen.errors import ConfigError
from predgen.report import sharing
from predgen.report.sharing import check_tracker, share_page


def test_trackers_without_pages_and_missing_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'tensorboard'.*mlflow, wandb"):
        check_tracker("tensorboard")
    monkeypatch.setattr(sharing, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"predgen\[mlflow\]"):
        check_tracker("mlflow")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow's own code
def test_mlflow_has_the_page_as_an_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    page = tmp_path / "report.html"
    page.write_text("<p>page")
    share_page(page, "mlflow", "study")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs(["0"])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "study")
    assert [one.path for one in client.list_artifacts(found.info.run_id)] == ["report.html"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of its own code
def test_wandb_has_the_page_as_an_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    page = tmp_path / "report.html"
    page.write_text("<p>page")
    share_page(page, "wandb", "study")
    (log,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"predgen-report" in log.read_bytes()

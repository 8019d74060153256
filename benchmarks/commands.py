"""The commands of the end-to-end rows, and what they need: tables, a trained run, a classifier's folder."""

from pathlib import Path

from benchmarks import inputs, ours
from benchmarks.inputs import MIXED_WORDS, SHORT_WORDS, TEMPLATE
from benchmarks.models import base_folder, classifier_folder
from benchmarks.processes import Command, run_command
from benchmarks.settings import Setting

VALIDATION_ROWS = 16


def predict_mixed(setting: Setting, n: int) -> Command:
    """`predgen predict` on rows of mixed length, by a PredGen run with an adapter and a head."""
    out = setting.folder / "ours.csv"
    return ours.predict_command(_run(setting), _table(setting, n, MIXED_WORDS), out)


def predict_short(setting: Setting, n: int) -> Command:
    """`predgen predict` on short rows."""
    out = setting.folder / "ours-short.csv"
    return ours.predict_command(_run(setting), _table(setting, n, SHORT_WORDS), out)


def pipeline_mixed(setting: Setting, n: int) -> Command:
    """`transformers.pipeline` on the same rows."""
    model = classifier_folder(setting, len(inputs.CSV_LABELS))
    paths = (model, _table(setting, n, MIXED_WORDS), setting.folder / "peer.csv")
    return Command("benchmarks.peers.pipeline_run", (*map(str, paths), *_facts(setting)))


def train_mixed(setting: Setting, n: int) -> Command:
    """`predgen train`, an epoch of numbers with defaults; it also predicts a few validation rows and saves twice."""
    validation = _table(setting, VALIDATION_ROWS, MIXED_WORDS, seed=1)
    out = setting.folder / "trained"
    table = _table(setting, n, MIXED_WORDS)
    return ours.train_command(table, validation, out, setting, target="score", kind="regression", decimals=1, epochs=1)


def sft_mixed(setting: Setting, n: int) -> Command:
    """The Trainer of transformers on the same rows."""
    paths = (base_folder(setting), _table(setting, n, MIXED_WORDS), setting.folder / "sft")
    return Command("benchmarks.peers.sft_run", (*map(str, paths), *_facts(setting)))


def _facts(setting: Setting) -> tuple[str, ...]:
    """Last arguments of both peers."""
    return TEMPLATE, str(setting.batch_size), setting.spec.dtype


def _run(setting: Setting) -> Path:
    """A saved classification run, trained for a step at first use."""
    folder = setting.folder / "classification"
    if not ours.is_trained(folder):
        table, validation = (_table(setting, VALIDATION_ROWS, SHORT_WORDS, seed) for seed in (2, 3))
        command = ours.train_command(
            table, validation, folder, setting, target="label", kind="classification", max_steps=1
        )
        run_command(command, setting)
    return folder


def _table(setting: Setting, n: int, words: tuple[int, int], seed: int = 0) -> Path:
    """A generated table, written at first use."""
    path = setting.folder / f"rows-{n}-{words[0]}-{words[1]}-{seed}.csv"
    return path if path.exists() else inputs.write_table(path, n, words, seed)

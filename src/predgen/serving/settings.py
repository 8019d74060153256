"""What a server is told: where it listens, what it takes, how long it may need. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from predgen.errors import ConfigError
from predgen.settings import Settings, setting

KEY_VARIABLE = "PREDGEN_API_KEY"
"""Environment variable with the key, so that it does not stand in lists of processes."""

SHARED_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several processes count together; prometheus_client reads it when it is imported."""

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}


@dataclass(frozen=True)
class ServeSettings(Settings):
    """How a server listens and what it refuses.

    Raises:
        ConfigError: If a value is out of range, or a request that is allowed would never fit into the queue.
    """

    host: str = setting("127.0.0.1", "Address to listen at; 0.0.0.0 is every one of this machine.")
    port: int = setting(8000, "Port to listen at; 0: any free one.", low=0, high=65535)
    workers: int = setting(1, "Processes behind the port, each with the models in its own memory.", low=1, high=256)
    max_batch_tokens: int | None = setting(
        None, "Tokens that are run at once, of all clients together; default: each run's --eval-batch-tokens.", low=1
    )
    max_rows: int = setting(1024, "Most rows of a request.", low=1)
    max_queue: int = setting(
        4096, "Most rows that wait, in each process; a request beyond is told to come back.", low=1
    )
    max_body: int = setting(1 << 20, "Most bytes of a request's body.", low=1)
    timeout: float = setting(60.0, "Most seconds from a request's first byte to its answer.", low=0.01, high=86400)
    min_confidence: float | None = setting(
        None, "Refuse questions of the decision protocols whose answer is less probable than this.", low=0.0, high=1.0
    )
    max_error: float | None = setting(
        None,
        "Refuse as many of them, that at most this share of the others is wrong; for calibrated labels.",
        low=0.0,
        high=1.0,
    )
    format: str | None = setting(
        None,
        "How bases are asked: plain text, or the tokenizer's own chat template; default: plain.",
        choices=("plain", "chat"),
    )
    api_key: str | None = setting(
        None, f"Key that requests have to bring, as `Authorization: Bearer KEY`; better given as {KEY_VARIABLE}."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_rows > self.max_queue:
            raise ConfigError(
                f"`max_rows` is {self.max_rows}, but `max_queue` {self.max_queue} rows: a request as large as allowed would never"
                " be taken. Raise `max_queue`, or lower `max_rows`."
            )
        if self.api_key is not None and (not self.api_key.isascii() or not self.api_key.strip()):
            raise ConfigError(
                "`api_key` is empty, or has letters that a header cannot carry; give ASCII letters and digits."
            )


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What is served, and how; small enough to be sent to another process.

    Attributes:
        models: Folders of trained models, whose names are their folders'; bases, by name, folder, hub id or .gguf file.
        settings: How the server listens.
        base: Where the base model of all of them lies now; None: where it was.
        trust_remote_code: Whether models may run Python code of their bases.
        address: Where the server is reached, for its log.
    """

    models: tuple[str, ...]
    settings: ServeSettings = field(default_factory=ServeSettings)
    base: str | None = None
    trust_remote_code: bool = False
    address: str = ""


def name_of_model(model: str) -> str:
    """Return the name by which clients ask for a model: that of its folder or file, or its own where it has none here."""
    path = Path(model)
    return path.resolve().name.removesuffix(".gguf") if path.exists() else model


def check_names(models: Sequence[str]) -> None:
    """Refuse models that clients could not tell apart.

    Raises:
        ConfigError: If two have the same name.
    """
    names = [name_of_model(model) for model in models]
    for model, name in zip(models, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(
                f"{model!r} and another model are both called {name!r}, and clients ask for a model by its folder's name."
                " Rename a folder."
            )


def check_packages() -> None:
    """Raise where a package that a server needs is not installed.

    Raises:
        ConfigError: Naming the extra that brings it.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise ConfigError(
                f"`predgen serve` needs the package {package!r}, which is not installed: pip install 'predgen[serve]'."
            )

"""What is asked of a model about rows, as plain data that travels to other processes; no torch before it is loaded."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from predgen.core import Decoding
from predgen.errors import ConfigError, SavedModelError
from predgen.saved.exchange import MANIFEST

if TYPE_CHECKING:
    from predgen.inference.guarantees import Promised
    from predgen.inference.stream import RowMaker


@dataclass(eq=False)
class PredictionRequest:
    """A model's folder, and what it is asked; the same as the options of `predgen predict`.

    Attributes:
        run: Folder of a trained model; with `ask`, also a base: its name or folder.
        target: Of a model with several targets, the one to predict; None: all of them.
        base: Where the base model lies now, if it was moved.
        proba: A probability for each label.
        quantiles: Levels of quantiles of numbers.
        decoding: What to ask for besides the method's own prediction.
        coverage: Share of rows whose truth is to be in their set or interval; None: no sets.
        conformal: How sets and intervals are made; None: the default for the model.
        by: Column of the groups that are each to be covered so.
        max_error: Most wrong answers among answered rows.
        min_confidence: Least probability of an answered row's label.
        ask: Yes/no questions about each row.
        ask_format: How they are put: "plain", "chat"; None: as the model was trained.
        batch_size: Rows run together; None: as many as the run's `eval_batch_tokens` allow.
        trust_remote_code: Let a model that was trained with Python code of its base run that code.

    Raises:
        ConfigError: If a base is asked for predictions.
    """

    run: str | Path
    target: str | None = None
    base: str | None = None
    proba: bool = False
    quantiles: tuple[float, ...] = ()
    decoding: Decoding = field(default_factory=Decoding)
    coverage: float | None = None
    conformal: str | None = None
    by: str | None = None
    max_error: float | None = None
    min_confidence: float | None = None
    ask: tuple[str, ...] = ()
    ask_format: str | None = None
    batch_size: int | None = None
    trust_remote_code: bool = False
    seal: str = field(init=False)

    def __post_init__(self) -> None:
        self.run, self.quantiles, self.ask = str(self.run), tuple(self.quantiles), tuple(self.ask)
        self.seal = self._sealed()
        if self.is_base and (self.proba or self.batch_size or self.target or self._asks_more):
            raise ConfigError(
                f"{self.run!r} is no trained model, and a base has answers to --ask alone. Leave out what is asked of"
                " predictions: --proba, --batch-size, --decode, distributions, quantiles, sets, intervals and abstention."
            )

    @property
    def is_base(self) -> bool:
        """Whether a base is asked, which has been trained for nothing."""
        return bool(self.ask) and not self.seal

    @property
    def _promises(self) -> tuple[float | str | None, ...]:
        return self.coverage, self.conformal, self.by, self.max_error, self.min_confidence

    @property
    def _asks_more(self) -> bool:
        """Whether more is asked than predictions and probabilities."""
        return bool(self.quantiles) or self.decoding != Decoding() or any(p is not None for p in self._promises)

    def maker(self) -> "RowMaker":
        """Load the model.

        Raises:
            PredgenError: If it cannot be loaded, not be asked for this, or is no longer the one that was there at first.
        """
        from predgen.asking.asker import Asker
        from predgen.asking.rows import Asking
        from predgen.inference.stream import Predicting
        from predgen.inference.trained import load

        if self._sealed() != self.seal:
            raise SavedModelError(
                f"{str(self.run)!r} holds another model than when it was first looked at. Let nothing write to it while it"
                " predicts, and begin again."
            )
        if self.is_base:
            asker = Asker.load(self.run, format=self.ask_format, trust_remote_code=self.trust_remote_code)
            return Asking(asker, self.ask, name=str(self.run))
        if self.target is None and self._has_targets():
            return self._of_targets()
        trained = load(
            self.run,
            target=self.target,
            base=self.base,
            merge_adapter=True,
            trust_remote_code=self.trust_remote_code,
        )
        predicting = Predicting(trained, self.proba, self.quantiles, self.batch_size, self.decoding, self._promised)
        return Asking(Asker(trained, format=self.ask_format), self.ask, predicting) if self.ask else predicting

    @property
    def _promised(self) -> "Promised":
        """What is promised of predictions."""
        from predgen.inference.guarantees import Promised

        return Promised(self.coverage, self.conformal, self.by, self.max_error, self.min_confidence)

    def _has_targets(self) -> bool:
        from predgen.saved.manifest import has_targets

        return has_targets(Path(self.run))

    def _of_targets(self) -> "RowMaker":
        """Load a model with several targets, to predict them all."""
        from predgen.inference.target_columns import PredictingTargets
        from predgen.inference.targets import load_targets

        if self.ask or self.quantiles or self.decoding != Decoding():
            raise ConfigError(
                f"{self.run!r} holds a model with several targets, which are all predicted by their own way. Name one of them with"
                " --target, or leave --ask, --decode, distributions and quantiles out."
            )
        targets = load_targets(self.run, base=self.base, merge_adapter=True, trust_remote_code=self.trust_remote_code)
        return PredictingTargets(targets, self.proba, self.batch_size, self._promised)

    def _sealed(self) -> str:
        """Digest of the model's manifest, which holds those of its files; empty where there is none."""
        try:
            return hashlib.sha256((Path(self.run) / MANIFEST).read_bytes()).hexdigest()
        except OSError:
            return ""

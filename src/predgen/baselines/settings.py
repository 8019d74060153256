"""Settings of the baselines. No torch here."""

from dataclasses import dataclass

from predgen.settings import Settings, setting

ENCODER = "minilm"
"""The sentence encoder that baselines take where no other is named."""


@dataclass(frozen=True)
class EmbeddingSettings(Settings):
    """Settings of baseline `embedding`."""

    embedding_model: str = setting(
        ENCODER,
        "Baseline 'embedding': the frozen sentence encoder: a name of `predgen models ls`, a folder or a hub id.",
    )


@dataclass(frozen=True)
class EncoderSettings(Settings):
    """Settings of baseline `encoder`."""

    encoder_model: str = setting(
        ENCODER,
        "Baseline 'encoder': the model to fine-tune, of any kind that transformers can classify texts with: a name of `predgen models ls`, a folder or a hub id.",
    )
    encoder_learning_rate: float = setting(1e-4, "Baseline 'encoder': peak learning rate; all weights train.", low=0.0)


@dataclass(frozen=True)
class SetFitSettings(Settings):
    """Settings of baseline `setfit`."""

    setfit_model: str = setting(
        ENCODER,
        "Baseline 'setfit': the sentence encoder to fine-tune: a name of `predgen models ls`, a folder or a hub id.",
    )
    setfit_learning_rate: float = setting(
        2e-5, "Baseline 'setfit': peak learning rate of the encoder.", low=0.0, source="setfit 1.2"
    )
    setfit_iterations: int = setting(
        1,
        "Baseline 'setfit': pairs of each kind, alike and unlike, per training row; 1 costs about as much as four passes over the rows.",
        low=1,
    )

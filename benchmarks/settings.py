"""What a measurement is made with: model size, device, batch, and how often and how much is measured."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LEAST_ROWS = 64  # a few batches


@dataclass(frozen=True, slots=True)
class Size:
    """A model size of the suite.

    Attributes:
        name: As given to `--sizes`.
        title: As printed.
        sizes: Arguments of the family's configuration, for random weights; None: a pretrained model.
        device: "cpu" or "cuda".
        dtype: Type of the weights in memory.
        row_share: Share of the end-to-end rows that this size takes, so that larger models end in time too.
        base: The pretrained model, as `--model` takes it.
        family: Model type of transformers, for random weights.
    """

    name: str
    title: str
    sizes: dict[str, Any] | None
    device: str = "cpu"
    dtype: str = "float32"
    row_share: float = 1.0
    base: str = "embedded"
    family: str = "llama"


SIZES = {
    size.name: size
    for size in (
        # For the suite's own tests.
        Size("tiny", "tiny", {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                              "num_attention_heads": 4, "vocab_size": 4096}),
        Size("5m", "5M embedded", None),
        # Llama-60M of Zhao et al. (2024), "GaLore", arXiv:2403.03507, table 2: 58 million parameters.
        Size("60m", "60M Llama", {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8,
                                  "num_attention_heads": 8, "vocab_size": 32_000}, row_share=0.1),
        Size("smollm2", "135M SmolLM2", None, row_share=0.1, base="smollm2"),
        # Of four layers three are linear attention, as in Qwen3-Next and Qwen3.5: no tree runs in one pass. 60 million parameters.
        Size("hybrid", "60M Qwen3.5 hybrid", {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8,
                                   "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
                                   "linear_num_key_heads": 8, "linear_num_value_heads": 8, "linear_key_head_dim": 64,
                                   "linear_value_head_dim": 64, "vocab_size": 32_000}, row_share=0.1, family="qwen3_5_text"),
        # The sizes of Qwen3-0.6B, embeddings not tied: 0.75 billion parameters.
        Size("0.6b", "0.6B Qwen3, bf16", {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
                                          "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
                                          "vocab_size": 151_936}, "cuda", "bfloat16", family="qwen3"),
        # The sizes of Llama 3.2 1B, embeddings not tied: 1.5 billion parameters.
        Size("1b", "1.5B Llama, bf16", {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                                        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
             "cuda", "bfloat16"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One size, and how it is measured.

    Attributes:
        size: Name of a `Size`.
        work: Folder for models, tables and runs that the suite makes for itself.
        batch_size: Rows per batch, ours and peers'.
        prompt_tokens: Mean length of the synthetic prompts; they vary by a fifth either way.
        repeats: Most rounds of a timed row.
        budget_s: Seconds after which a timed row ends, once it has its fewest rounds.
        scale: Share of the rows that the end-to-end measurements take.
        threads: CPU threads of torch, the same for all variants.
    """

    size: str
    work: str
    batch_size: int = 16
    prompt_tokens: int = 100
    repeats: int = 15
    budget_s: float = 60.0
    scale: float = 0.2
    threads: int = 2

    @property
    def spec(self) -> Size:
        """The size with all its facts."""
        return SIZES[self.size]

    @property
    def folder(self) -> Path:
        """This size's own folder below `work`, made at first use."""
        path = Path(self.work) / self.size
        path.mkdir(parents=True, exist_ok=True)
        return path

    def rows(self, full: int, least: int = LEAST_ROWS) -> int:
        """Rows of an end-to-end measurement that has `full` rows at scale 1, but never fewer than `least`."""
        return min(full, max(least, round(full * self.scale * self.spec.row_share)))

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        """Read a setting that another process wrote."""
        data: dict[str, Any] = json.loads(text)
        return cls(**data)

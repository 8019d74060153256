"""Turn a GGUF file into a folder of safetensors, in a process of its own: `python -m predgen.bases.convert FILE FOLDER`.

A file from a stranger may make the libraries that read it take all memory, run for hours or crash. Here that ends a child
with bounds on memory and time, and becomes a sentence.
"""

import contextlib
import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from predgen.bases.gguf_header import read_header
from predgen.errors import ModelError

_SECONDS = 600.0  # and a second for each of
_BYTES_A_SECOND = 500_000
_MEMORY = 12 << 30  # bytes of addresses, most of them libraries', and for each byte of the file
_MEMORY_A_BYTE = 40  # float32 has ten times the bytes of 3 bits, and there are copies


def convert_gguf(file: Path, folder: Path) -> str:
    """Write the model of a GGUF file as a Hugging Face folder.

    Args:
        file: The GGUF file.
        folder: New folder for configuration, tokenizer and safetensors.

    Returns:
        The type that most of the file's weights are stored in.

    Raises:
        ModelError: If the file is damaged or hostile, or its architecture is not one that transformers can turn back.
    """
    header = read_header(file)
    size = file.stat().st_size
    seconds = _SECONDS + size / _BYTES_A_SECOND
    command = [
        sys.executable,
        "-m",
        "predgen.bases.convert",
        str(file),
        str(folder),
        str(_MEMORY + _MEMORY_A_BYTE * size),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(
            f"GGUF file {str(file)!r} was not converted within {seconds:.0f} s, which no model of its size needs. It is"
            " damaged or made to hang: take another copy."
        ) from None
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["the process was killed"]
        raise ModelError(
            f"GGUF file {str(file)!r} cannot be converted: {lines[-1][:500]} It is damaged, or of a kind that transformers"
            " does not read: take the model as a folder of safetensors."
        )
    return header.quantised


def _convert(file: Path, folder: Path) -> None:
    """Dequantise, drop what says that the model is quantised, and save."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    # The tokenizer first: where it cannot be read, the weights need not be.
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
    )
    quantised, loading = loaded
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(f"it lacks {len(missing)} tensors ({', '.join(missing[:3])}), which would be random.")
    config = copy.deepcopy(quantised.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(quantised)(config)
    plain.load_state_dict(quantised.state_dict())
    plain.to(_type_to_keep(file)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _type_to_keep(file: Path) -> Any:  # noqa: ANN401  (a torch.dtype, without importing torch in the parent)
    """Type that holds the file's weights: its own where they are not quantised; 16 bits are finer than any quantisation."""
    import torch

    return {"F32": torch.float32, "BF16": torch.bfloat16}.get(read_header(file).quantised, torch.float16)


def _bound_memory(most: int) -> None:
    """Let this process have no more bytes of addresses, where the system can see to it."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such bound
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    _bound_memory(int(sys.argv[3]))
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # whatever a damaged file makes the libraries raise; the parent tells it in one line
        sys.exit(json.dumps(f"{type(error).__name__}: {error}"[:400]))

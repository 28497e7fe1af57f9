"""A run's weights: one safetensors file that names its task and carries a digest. Loading it executes nothing."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["FORMAT", "WEIGHTS", "digest", "load_weights", "weights_bytes"]

FORMAT = 1  # of a run's folder
WEIGHTS = "weights.safetensors"


def weights_bytes(params: dict[str, Tensor], task: str) -> bytes:
    """The content of a weights file: parameters by name, the key of their task, and their digest."""
    tensors = {name: param.detach().cpu().contiguous().clone() for name, param in params.items()}
    return _in_order(save(tensors, {"task": task, "sha256": digest(tensors)}))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its header's names sorted: safetensors writes the metadata in an order left to chance."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[start:]


def load_weights(folder: str | Path) -> tuple[dict[str, Tensor], str | None]:
    """(parameters by name, key of their task or None if the file names none) from a run's folder.

    Raises ValueError naming the file if it is damaged, OSError if it cannot be read.
    """
    path = Path(folder) / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if metadata.get("sha256") not in (None, digest(tensors)):
        raise ValueError(f"{path} is damaged: its digest is another one")
    return tensors, metadata.get("task")


def digest(tensors: dict[str, Tensor]) -> str:
    """64 hexadecimal digits: SHA-256 over names and values, in order of the names."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        sha256.update(name.encode() + tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()

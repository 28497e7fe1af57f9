"""The state of a training under way, on disk, so that a killed training resumes where it was.

A checkpoint is a folder with a file for each loop: tensors in safetensors, everything else as JSON in a tensor of bytes
named "json". A file is written whole or not at all, and nothing in it is executed.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from nram.results.files import locked, write_bytes

__all__ = ["Checkpoint"]

FORMAT = 2
WAIT_SECONDS = 10.0  # for a process that is ending: a notebook's kernel outlives its killed runner for a moment


@dataclass(frozen=True)
class Checkpoint:
    """The folder that holds the state of one training until its run is saved.

    settings: the configuration, as JSON values. A state of other settings is never loaded.
    """

    folder: Path
    settings: dict

    def locked(self):
        """A context that holds the folder for this process. Raises `files.Busy` if another one trains there."""
        return locked(self.folder, "training", wait=WAIT_SECONDS)

    def save(self, name: str, tensors: dict[str, Tensor], state: dict) -> None:
        """Save the state of the loop `name` over what was saved for it before. Raises OSError if that fails."""
        text = json.dumps({"format": FORMAT, "settings": self.settings, "state": state})
        content = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        content["json"] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        write_bytes(self._file(name), tensors_to_bytes(content))

    def load(self, name: str) -> tuple[dict[str, Tensor], dict] | None:
        """(tensors, state) as saved for the loop `name`; None if nothing is saved.

        Raises ValueError if the file is damaged, of another format or of other settings.
        """
        path = self._file(name)
        if not path.is_file():
            return None
        try:
            tensors = tensors_from_bytes(path.read_bytes())
            content = json.loads(tensors.pop("json").numpy().tobytes())
            version = content["format"]
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.refusal(f"is damaged ({error})") from error
        if version != FORMAT:
            raise self.refusal(f"has format {version}, this version of nram reads format {FORMAT}")
        before = content["settings"]
        differing = sorted(key for key in before.keys() | self.settings if before.get(key) != self.settings.get(key))
        if differing:
            raise self.refusal(f"is of other settings: {', '.join(differing)}")
        return tensors, content["state"]

    def refusal(self, reason: str) -> ValueError:
        """The error that says why the checkpoint cannot be used."""
        return ValueError(f"the checkpoint {self.folder} {reason}; remove it to start afresh")

    def forget(self, prefix: str) -> None:
        """Remove the files of the loops whose names start with the prefix, and what was half-written of them."""
        for pattern in (f"{prefix}*.safetensors", f".{prefix}*.safetensors*"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def forget_half_written(self) -> None:
        """Remove the files that a killed process was writing."""
        for path in self.folder.glob(".*.safetensors*"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder, once the run is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

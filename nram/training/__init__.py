"""Training from input-output pairs (section 4.1, appendix B): a population with a curriculum, restarts and copies."""

from nram.training.config import TrainConfig
from nram.training.loop import train
from nram.training.result import TrainResult

__all__ = ["TrainConfig", "TrainResult", "train"]

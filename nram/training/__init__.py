"""Training from input-output pairs (section 4.1, appendix B): a population with a curriculum, restarts and copies."""

from nram.training.config import TrainConfig
from nram.training.loop import TrainResult, train
from nram.training.polish import polish

__all__ = ["TrainConfig", "TrainResult", "polish", "train"]

"""Neural Random-Access Machines: the machine, its ten tasks, training and the programs it learns."""

from nram import results, tasks
from nram.model import Machine, load
from nram.training.config import TrainConfig

__all__ = ["Machine", "TrainConfig", "load", "results", "tasks"]
__version__ = "0.1.0"

"""The curriculum: what difficulties are drawn, in which memories, and when a member's level rises (appendix B)."""

import torch
from torch import Tensor

from nram import tasks
from nram.training.config import TrainConfig
from nram.training.population import Members, Population

__all__ = ["draw_batch", "sample_difficulty", "update_levels"]

LEVEL_DECAY = 0.95  # of the moving error, per batch
LEVEL_GAP = 10  # batches at least between two rises of a member's level
GAIN = 0.05  # smallest drop of the moving error that counts as progress
MIN_WEIGHT = 10  # weight at which a moving error counts; it takes 14 batches with examples at d = D


def sample_difficulty(level: Tensor, batch_size: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    """Difficulties of a batch under the curriculum: level LongTensor[P] -> LongTensor[P, batch_size] (section 4.1).

    10% are uniform over all difficulties, 25% uniform on [low, D + e], 65% are D + e. e counts the failures before the
    first success of a fair coin. Everything is clipped to `high`.
    Deviation: the paper does not say what its Geometric(1/2) counts, nor what happens beyond the largest difficulty.
    """
    shape = (len(level), batch_size)
    kind, uniform, coin = torch.rand(3, *shape, generator=generator, device=level.device)
    extra = (-torch.log2(coin.clamp(min=2**-30))).floor().long()
    ahead = (level.unsqueeze(-1) + extra).clamp(max=high)
    top = torch.where(kind < 0.10, high, ahead)
    anywhere = low + (uniform * (top - low + 1)).long().clamp(max=high - low)
    return torch.where(kind < 0.35, anywhere, ahead)


def draw_sizes(config: TrainConfig, task: tasks.Task, generator: torch.Generator) -> tuple[int, int]:
    """A batch's hardest difficulty and its memory's size M.

    Deviation: the paper does not say which memories it trained in. Here M differs from batch to batch, and a share of
    the batches holds easy examples in memories as small as they allow. A machine trained at one M may exploit it.
    """
    examples = config.examples
    small, uniform, extra = torch.rand(3, generator=generator, device=generator.device).tolist()
    hardest, num_cells = examples.train_difficulty, examples.num_cells
    if small < examples.small_memories:
        hardest = task.min_difficulty + int(uniform * (examples.train_difficulty - task.min_difficulty + 1))
        num_cells = task.smallest_memory(hardest)
    return hardest, num_cells + int(extra * (examples.extra_cells + 1))


def draw_batch(population: Population, generator: torch.Generator) -> tasks.Batch:
    """A batch for every member: P x B examples, member after member.

    Without replacement, a member's examples depend only on the generator's seed, its place and its own levels. The
    number of random draws depends on the batch's size and its extreme difficulties, so examples are drawn for every
    original place, and one each of the smallest and the largest difficulty is added. The surplus is dropped.
    """
    config, task, members = population.config, population.task, population.members
    size, low = config.examples.batch_size, task.min_difficulty
    hardest, num_cells = draw_sizes(config, task, generator)
    if config.population.replacement:
        difficulty = sample_difficulty(members.level, size, low, hardest, generator)
        return task.sample(difficulty.flatten(), num_cells, generator)
    device = members.place.device
    level = torch.full((config.population.size,), low, device=device).index_copy(0, members.place, members.level)
    difficulty = sample_difficulty(level, size, low, hardest, generator).flatten()
    bounds = torch.tensor([low, hardest], device=device)
    batch = task.sample(torch.cat([difficulty, bounds]), num_cells, generator)
    rows = torch.arange(len(difficulty), device=device).view(config.population.size, -1)[members.place].flatten()
    return tasks.Batch(*(each[rows] for each in batch))


def update_levels(members: Members, config: TrainConfig, difficulty: Tensor, error: Tensor) -> None:
    """Move the levels after a batch: difficulty, error [P, B] (appendix B).

    Deviation: the error that decides is the moving average over the examples with d = D alone. It starts anew at each
    level.
    """
    at_level = difficulty == members.level.unsqueeze(-1)
    count = at_level.sum(-1)
    mean = (error * at_level).sum(-1) / count.clamp(min=1)
    seen = (count > 0).to(error.dtype)
    decay = torch.where(count > 0, LEVEL_DECAY, 1.0)
    members.error_sum.mul_(decay).add_(mean * seen)
    members.error_weight.mul_(decay).add_(seen)
    rises = (members.level_error() < config.curriculum.threshold) & (members.since_rise >= LEVEL_GAP)
    rises &= members.level < config.examples.train_difficulty
    members.level += rises
    members.since_rise = torch.where(rises, 0, members.since_rise + 1)
    moving = members.level_error()
    gains = (moving < members.lowest_error - GAIN) & (members.error_weight > MIN_WEIGHT)
    members.lowest_error = torch.where(rises, 1.0, torch.where(gains, moving, members.lowest_error))
    members.since_gain = torch.where(rises | gains, 0, members.since_gain + 1)
    members.error_sum.masked_fill_(rises, 0)
    members.error_weight.masked_fill_(rises, 0)

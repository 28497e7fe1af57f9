"""The curriculum: which examples are drawn, in which memories, and when a member's level rises (appendix B)."""

import torch
from torch import Tensor

from nram import tasks
from nram.training.config import default_extra_cells
from nram.training.population import Population

__all__ = ["draw_batch", "sample_difficulty", "update_levels"]

LEVEL_DECAY = 0.95  # of the moving error, per batch
LEVEL_GAP = 10  # batches at least between two rises of a member's level
GAIN = 0.04  # smallest drop of the root of the moving error that counts as progress
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


def draw_sizes(population: Population, generator: torch.Generator) -> tuple[int, int]:
    """A batch's hardest difficulty and its memory's size M.

    Deviation: the paper does not say which memories it trained in. Here M differs from batch to batch, and a share of
    the batches holds easy examples in memories as small as they allow. A machine trained at one M may exploit it.
    """
    config, task = population.config, population.task
    examples = config.examples
    small, uniform, extra = torch.rand(3, generator=generator, device=generator.device).tolist()
    hardest, num_cells, extra_cells = examples.train_difficulty, examples.num_cells, examples.extra_cells
    if config.population.replacement and config.curriculum.lesson_difficulty and not population.at_the_task().any():
        hardest = max(population.hardest(0), int(population.members.level.max()))
        if (population.members.lesson > 0).any():
            hardest = max(hardest, min(config.curriculum.review_difficulty or 0, examples.train_difficulty))
        num_cells = task.smallest_memory(hardest)
        extra_cells = default_extra_cells(num_cells)
    if small < examples.small_memories:
        hardest = task.min_difficulty + int(uniform * (hardest - task.min_difficulty + 1))
        num_cells = task.smallest_memory(hardest)
    return hardest, num_cells + int(extra * (extra_cells + 1))


def draw_batch(population: Population, generator: torch.Generator) -> tuple[tasks.Batch, Tensor]:
    """A batch for every member, P x B examples, member after member; and the stage of each, LongTensor[P, B].

    Beyond the first lesson, a share of a member's examples come from the lesson before.

    Without replacement, a member's examples depend only on the generator's seed, its place and its own lessons and
    levels. The number of random draws depends on the batch's size and its extreme difficulties, so examples are drawn
    for every original place and of every stage, and one each of the smallest and the largest difficulty is added. The
    surplus is dropped.
    """
    config, members = population.config, population.members
    size, low = config.examples.batch_size, population.task.min_difficulty
    independent = not config.population.replacement
    hardest, num_cells = draw_sizes(population, generator)
    lesson, level = members.lesson, members.level
    if independent:
        places = config.population.size
        lesson = lesson.new_zeros(places).index_copy(0, members.place, lesson)
        level = level.new_full((places,), low).index_copy(0, members.place, level)
    difficulty = sample_difficulty(level, size, low, hardest, generator)
    stage = lesson.unsqueeze(-1).expand(difficulty.shape)
    if len(population.stages) > 1:
        review = torch.rand(stage.shape, generator=generator, device=stage.device) < config.curriculum.review
        review &= stage > 0
        stage = stage - review.long()
        if config.curriculum.review_difficulty:
            top = min(hardest, config.curriculum.review_difficulty)
            any_size = torch.randint(low, top + 1, stage.shape, generator=generator, device=stage.device)
            difficulty = torch.where(review, any_size, difficulty)
    drawn = difficulty.flatten()
    if independent:
        drawn = torch.cat([drawn, torch.tensor([low, hardest], device=drawn.device)])
    batch = None
    for index, task in enumerate(population.stages):
        at_stage = (stage == index).flatten()
        if not independent and not at_stage.any():
            continue
        part = task.sample(drawn, num_cells, generator)
        part = tasks.Batch(*(each[: len(at_stage)] for each in part))
        batch = part if batch is None else _choose(at_stage, part, batch)
    if independent:
        stage = stage[members.place]
        rows = torch.arange(len(at_stage), device=level.device).view(places, -1)[members.place].flatten()
        batch = tasks.Batch(*(each[rows] for each in batch))
    return batch, stage


def _choose(chosen: Tensor, batch: tasks.Batch, otherwise: tasks.Batch) -> tasks.Batch:
    """The examples of `batch` where chosen BoolTensor[B] is true, and those of `otherwise` elsewhere."""
    pairs = zip(batch, otherwise, strict=True)
    return tasks.Batch(*(torch.where(chosen.view(-1, *[1] * (one.ndim - 1)), one, other) for one, other in pairs))


def update_levels(population: Population, difficulty: Tensor, stage: Tensor, error: Tensor) -> None:
    """Move the levels after a batch: difficulty, stage, error [P, B] (appendix B).

    Deviation: the error that decides is the moving average over the examples with d = D alone, of the present lesson.
    It starts anew at each level.
    """
    config, members = population.config, population.members
    at_level = (difficulty == members.level.unsqueeze(-1)) & (stage == members.lesson.unsqueeze(-1))
    count = at_level.sum(-1)
    mean = (error * at_level).sum(-1) / count.clamp(min=1)
    seen = (count > 0).to(error.dtype)
    decay = torch.where(count > 0, LEVEL_DECAY, 1.0)
    members.error_sum.mul_(decay).add_(mean * seen)
    members.error_weight.mul_(decay).add_(seen)
    hardest = torch.where(population.at_the_task(), config.examples.train_difficulty, population.hardest(0))
    rises = (members.level_error() < config.curriculum.threshold) & (members.since_rise >= LEVEL_GAP)
    rises &= members.level < hardest
    moving = members.level_error()
    gains = (moving.sqrt() < members.lowest_error.sqrt() - GAIN) & (members.error_weight > MIN_WEIGHT)
    members.lowest_error = torch.where(gains, moving, members.lowest_error)
    members.remember(gains)
    members.since_gain = torch.where(gains, 0, members.since_gain + 1)
    members.since_rise += 1
    members.rise(rises)

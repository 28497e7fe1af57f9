"""The state of all members of a population: tensors with a leading axis P."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["Members"]

LESSON = 1000  # levels that a lesson counts for


@dataclass
class Members:
    """The state of all members: tensors with a leading axis P.

    theta, first_moment, second_moment [P, K]: the parameters, a row per member, and Adam's moments. All others are
    [P]: learning_rate, noise_eta, entropy: drawn at the start. age: batches since the start. lesson: how many
    lessons it has learned. level: D, the curriculum's. since_rise: batches since D last rose. error_sum,
    error_weight: the moving average of the error at d = D. lowest_error: the moving error at the last gain on this
    level, at first 1. since_gain: batches since the last gain. family: one number for a state and its copies.
    place: the member's original index. best_theta, best_first_moment, best_second_moment [P, K]: what the member was
    at its last gain, or where its level began if it has gained nothing there. best_is_measured: whether lowest_error
    holds for it on fresh cases (see `nram.training.restarts.find_donor`).
    """

    theta: Tensor
    first_moment: Tensor
    second_moment: Tensor
    learning_rate: Tensor
    noise_eta: Tensor
    entropy: Tensor
    age: Tensor
    lesson: Tensor
    level: Tensor
    since_rise: Tensor
    error_sum: Tensor
    error_weight: Tensor
    lowest_error: Tensor
    since_gain: Tensor
    family: Tensor
    place: Tensor
    best_theta: Tensor
    best_first_moment: Tensor
    best_second_moment: Tensor
    best_is_measured: Tensor

    @classmethod
    def zeros(cls, size: int, num_params: int, device: str) -> "Members":
        """`size` members that are yet to be started."""
        weights, best = ([torch.zeros(size, num_params, device=device) for _ in range(3)] for _ in range(2))
        rates = [torch.zeros(size, device=device) for _ in range(3)]
        age, lesson, level, since_rise, since_gain, family = (
            torch.zeros(size, dtype=torch.long, device=device) for _ in range(6)
        )
        error_sum, error_weight, lowest_error = (torch.zeros(size, device=device) for _ in range(3))
        errors = (error_sum, error_weight, lowest_error)
        place, unmeasured = torch.arange(size, device=device), torch.zeros(size, dtype=torch.bool, device=device)
        rest = (since_gain, family, place, *best, unmeasured)
        return cls(*weights, *rates, age, lesson, level, since_rise, *errors, *rest)

    def __len__(self) -> int:
        return len(self.place)

    def at(self, index: Tensor) -> "Members":
        """The members of these indices, in this order."""
        return Members(**{name: value[index] for name, value in self.tensors().items()})

    def inherit(self, member: int, donor: int) -> None:
        """Give a member the level and the family of another, with its parameters and Adam's moments at its best."""
        kept = (self.age, self.lesson, self.level, self.family, self.lowest_error, self.best_is_measured)
        for each in (*kept, *self._best()):
            each[member] = each[donor]
        for now, best in zip(self._weights(), self._best(), strict=True):
            now[member] = best[member]
        self.error_sum[member], self.error_weight[member] = 0, 0

    @torch.no_grad()
    def remember(self, which: Tensor | int) -> None:
        """Take what members are now for their best: which BoolTensor[P], or the index of one."""
        for now, best in zip(self._weights(), self._best(), strict=True):
            best[which] = now[which]
        self.best_is_measured[which] = False

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.theta, self.first_moment, self.second_moment

    def _best(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.best_theta, self.best_first_moment, self.best_second_moment

    def begin(self, member: int, lesson: int, level: int) -> None:
        """Put a member at a level of a lesson, with its errors as at the start of training and Adam's moments at 0.

        Its age stays: until the moments are averages again, who goes on from a lesson takes larger steps.
        """
        for each in (self.first_moment, self.second_moment, self.since_rise, self.since_gain):
            each[member] = 0
        self.error_sum[member], self.error_weight[member], self.lowest_error[member] = 0, 0, 1
        self.lesson[member], self.level[member] = lesson, level
        self.remember(member)

    def rise(self, which: Tensor | int) -> None:
        """Let members' levels rise by one: which BoolTensor[P], or the index of one."""
        self.level[which] += 1
        self.lowest_error[which] = 1
        for each in (self.since_rise, self.since_gain, self.error_sum, self.error_weight):
            each[which] = 0
        self.remember(which)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def ladder(self) -> Tensor:
        """How far the members have come, in levels: [P]; a lesson counts for more than all levels."""
        return LESSON * self.lesson + self.level

    def level_error(self) -> Tensor:
        """The moving average of the error at d = D: [P]; 1 where no such example has been seen."""
        return torch.where(self.error_weight > 0, self.error_sum / self.error_weight.clamp(min=1e-9), 1.0)

    def finite(self) -> Tensor:
        """Whether all numbers of a member's parameters and moments are finite: BoolTensor[P].

        A second moment that overflowed would hold the member still for ever, with finite parameters.
        """
        weights = (self.theta, self.first_moment, self.second_moment)
        return torch.stack([torch.isfinite(each).all(-1) for each in weights]).all(0)

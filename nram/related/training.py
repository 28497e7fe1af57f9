"""Training of the systems: the same lengths, values and seconds for all, whatever else their own recipes say.

Every batch holds 32 fresh sequences of one length, uniform on 1..15. An update of the diagonal Neural GPU averages
several such batches, as in its paper. A curriculum can be had instead: the length is then uniform up to a maximum,
which starts at 3 and rises by 1 whenever 90% of fresh sequences of that length are exactly right; a fifth of the
batches are uniform on 1..15. In the same seconds no system that was tried learned more with it, and the NTM and two
stacks learned less. What is kept is the best model on held-out sequences of 1..15, by the share that are exactly right
and then by cross-entropy.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nram.related.adamax import AdaMax
from nram.related.systems import System
from nram.related.tokens import TRAIN_LENGTH, Sequences, draw, encode, shortest

__all__ = ["Learned", "measured", "train"]

BATCH = 32
FIRST_MAXIMUM, RISES_AT, ANYWHERE = 3, 0.9, 0.2
CHECK_EVERY, CHECKED = 20, 64  # updates between two looks at the maximum; sequences of a look
VALIDATE_SECONDS, VALIDATED = 10.0, 16  # between two validations; sequences of each length
SATURATION_CEILING, SATURATION_EVERY = 1e-3, 200  # largest weight of the saturation cost; updates between its resets
PLATEAU_EVERY = 200  # updates whose mean loss decides about AdaMax's learning rate


@dataclass
class Learned:
    """What training leaves.

    model: the best on held-out sequences. exact: share of those that it gets exactly right. sequences, updates,
    cpu_seconds: spent. maximum: of the curriculum in the end.
    """

    model: nn.Module
    exact: float
    sequences: int
    updates: int
    cpu_seconds: float
    maximum: int


def train(
    system: System, key: str, seed: int, seconds: float, on_check: Callable[[int, float, int], None] | None = None
) -> Learned:
    """Train a fresh model of a system on a task for `seconds` of this process's CPU time, validation included.

    on_check(updates, seconds, maximum): called now and then.
    """
    torch.manual_seed(seed)  # parameters and dropout
    model = system.make()
    training = _Training(system, key, model, torch.Generator().manual_seed(seed))
    began = time.process_time()
    next_validation = VALIDATE_SECONDS
    while (spent := time.process_time() - began) < seconds:
        training.update()
        if training.updates % CHECK_EVERY == 0:
            training.raise_maximum()
            if on_check is not None:
                on_check(training.updates, spent, training.maximum)
        if spent >= next_validation:
            training.validate()
            next_validation = spent + VALIDATE_SECONDS
    training.validate()
    exact, _ = training.best
    model.load_state_dict(training.kept)
    model.eval()
    spent = time.process_time() - began
    return Learned(model, exact, training.sequences, training.updates, spent, training.maximum)


class _Training:
    """A training under way."""

    def __init__(self, system: System, key: str, model: nn.Module, generator: torch.Generator):
        self.system, self.key, self.model, self.generator = system, key, model, generator
        self.maximum = FIRST_MAXIMUM if system.curriculum else TRAIN_LENGTH
        self.updates = self.sequences = 0
        self.saturation_weight, self.losses = 0.0, []
        held_out = torch.Generator().manual_seed(-1)
        lengths = range(shortest(key), TRAIN_LENGTH + 1)
        self.held_out = [self.sequences_of(length, VALIDATED, held_out) for length in lengths]
        self.best, self.kept = (-1.0, 0.0), copy.deepcopy(model.state_dict())
        if system.adamax:
            self.optimizer = AdaMax(model.parameters(), system.learning_rate, generator)
        else:
            self.optimizer = torch.optim.Adam(model.parameters(), system.learning_rate)

    def sequences_of(self, length: int, count: int, generator: torch.Generator) -> Sequences:
        return encode(self.key, draw(self.key, length, count, generator), self.system.think)

    def lengths(self) -> list[int]:
        """The lengths of the next update: one under the curriculum, or several."""
        anywhere, *places = torch.rand(1 + self.system.bins, generator=self.generator).tolist()
        maximum = TRAIN_LENGTH if anywhere < ANYWHERE else self.maximum
        lowest = shortest(self.key)
        # Several lengths: one of each part of 1..15.
        places = [(number + place) / len(places) for number, place in enumerate(places)]
        return [min(maximum, lowest + int(place * (maximum + 1 - lowest))) for place in places]

    def update(self) -> None:
        """One update of the parameters."""
        self.model.zero_grad()
        lengths = self.lengths()
        for length in lengths:
            loss, _ = cross_entropy(self.model, self.sequences_of(length, BATCH, self.generator))
            cost = loss / len(lengths)
            if self.system.adamax:
                self.losses.append(loss.item())
                cost = cost + self.saturation_weight * self.model.saturation / len(lengths)
            cost.backward()
            self.sequences += BATCH
        if self.system.gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.system.gradient_norm)
        self.optimizer.step()
        if self.system.adamax:
            self._after_adamax()
        self.updates += 1

    def _after_adamax(self) -> None:
        """Reset the weight of the saturation cost, so that it is about lr * loss, and the learning rate, if due."""
        if self.updates % SATURATION_EVERY == 0:
            wanted = self.optimizer.learning_rate * self.losses[-1] / max(self.model.saturation.item(), 1e-9)
            self.saturation_weight = min(wanted, SATURATION_CEILING)
        if (self.updates + 1) % PLATEAU_EVERY == 0:
            self.optimizer.on_loss(sum(self.losses) / len(self.losses))
            self.losses.clear()

    def raise_maximum(self) -> None:
        """Raise the curriculum's maximum while 90% of fresh sequences of that length are exactly right."""
        while self.maximum < TRAIN_LENGTH:
            _, right = measured(self.model, self.sequences_of(self.maximum, CHECKED, self.generator))
            if right.all(-1).float().mean() < RISES_AT:
                break
            self.maximum += 1

    def validate(self) -> None:
        """Keep the model if it is the best so far."""
        exact, loss = 0.0, 0.0
        for sequences in self.held_out:
            entropy, right = measured(self.model, sequences)
            exact += right.all(-1).float().mean().item() / len(self.held_out)
            loss += entropy.item()
        if (exact, -loss) >= self.best:
            self.best, self.kept = (exact, -loss), copy.deepcopy(self.model.state_dict())


def cross_entropy(model: nn.Module, sequences: Sequences, **options) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy of the answers, and which of them are right: BoolTensor[B, A]. options: of the model."""
    answers = sequences.answers
    logits = model(sequences.tokens, **options)[:, -answers.shape[1] :]
    right = logits.argmax(-1) == answers - 1
    return nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten() - 1), right


@torch.no_grad()
def measured(model: nn.Module, sequences: Sequences, **options) -> tuple[Tensor, Tensor]:
    """`cross_entropy` of a model as it is after training: without dropout, without gradients."""
    model.eval()
    outcome = cross_entropy(model, sequences, **options)
    model.train()
    return outcome

"""The cost that training minimizes: minus the expected log-likelihood over stopping times (section 3)."""

from torch import Tensor

from nram.machine.run import Outcome
from nram.machine.stopping import log_stop_probs, stop_probs

__all__ = ["LOSSES", "loss_per_example"]

LOSSES = ("expected", "marginal")


def loss_per_example(
    outcome: Outcome, limit: Tensor, entropy_coefficient: Tensor | None = None, kind: str = "expected"
) -> Tensor:
    """The cost [P, B], less the entropy bonus (section 3, appendix B).

    kind: "expected" for - sum_t p_t log-likelihood_t; "marginal" for - log sum_t p_t likelihood_t (footnote 4). With
    "marginal" a machine that stops at uncertain times loses little by wrong memories at the other times.
    limit LongTensor[P, B]; entropy_coefficient [P] weighs the entropies of all distributions of all timesteps.

    Deviation: footnote 4 sums over the output cells outside the logarithm; likelihood_t is that of all of them. With
    one output cell both are the same.
    """
    if kind == "marginal":
        loss = -(log_stop_probs(outcome.stop_logits, limit) + outcome.log_likelihood).logsumexp(0)
    else:
        loss = -(stop_probs(outcome.stop_logits, limit) * outcome.log_likelihood).sum(0)
    if entropy_coefficient is not None:
        loss = loss - entropy_coefficient.unsqueeze(-1) * outcome.entropy.sum(0)
    return loss

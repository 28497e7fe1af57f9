"""One verdict on a machine from its errors over many complexities: numbers for metrics.json, words for Table 1."""

from dataclasses import dataclass

import pandas as pd

__all__ = ["PERFECT_UP_TO", "Verdict", "judge", "verdict"]

PERFECT_UP_TO = 50  # the paper calls generalization perfect when the error is 0 at every complexity up to this
COLUMNS = ("complexity", "mode", "machine", "error", "cases", "disagreements")  # what a verdict needs


def judge(generalization: pd.DataFrame, train_complexity: int) -> "Verdict":
    """The verdict on a machine from its generalization frame (see `nram.evaluate.Evaluation`).

    Raises ValueError if the frame lacks a column, or the rows of one form at the train complexity.
    """
    missing = sorted(set(COLUMNS) - set(generalization.columns))
    if missing:
        raise ValueError(f"generalization lacks the columns {missing}")
    at = generalization[generalization["mode"] == "at"].sort_values("complexity", kind="stable")
    forms = {}
    for name in ("fuzzy", "discretized"):
        rows = at[at["machine"] == name]
        if train_complexity not in set(rows["complexity"]):
            raise ValueError(
                f"generalization has no rows of the {name} machine at the train complexity {train_complexity}"
            )
        forms[name] = Sweep(rows["complexity"], rows["error"], rows["cases"], train_complexity)
    compared = generalization[generalization["machine"] == "discretized"]
    return Verdict(
        **forms,
        fewest_cases=int(generalization["cases"].min()),
        disagreements=int(compared["disagreements"].sum()),
        compared_cases=int(compared["cases"].sum()),
    )


def verdict(generalization: pd.DataFrame, train_complexity: int) -> dict:
    """What Table 1 says of a machine, see `Verdict.in_words`. Errors as `judge`."""
    return judge(generalization, train_complexity).in_words()


@dataclass(frozen=True)
class Sweep:
    """The errors of one form of a machine, fuzzy or discretized, in order of complexity: a row per complexity tried."""

    complexities: pd.Series
    errors: pd.Series
    cases: pd.Series
    train_complexity: int

    @property
    def train_error(self) -> float:
        return self.error_at(self.train_complexity)

    @property
    def train_cases(self) -> int:
        return int(self.cases[self.complexities == self.train_complexity].iloc[0])

    @property
    def first_failure(self) -> int | None:
        """The smallest complexity with an error."""
        wrong = self.complexities[self.errors > 0]
        return int(wrong.iloc[0]) if len(wrong) else None

    @property
    def error_free_up_to(self) -> int:
        """The largest complexity tried below the first failure; 0 if there is none."""
        first = self.first_failure
        before = self.complexities if first is None else self.complexities[self.complexities < first]
        return int(before.iloc[-1]) if len(before) else 0

    @property
    def largest(self) -> int:
        """The largest complexity tried."""
        return int(self.complexities.iloc[-1])

    @property
    def reaches_the_papers(self) -> bool:
        """Whether no complexity was skipped from the task's smallest, 1 or 2, up to `PERFECT_UP_TO`."""
        smallest = int(self.complexities.iloc[0])
        return smallest <= 2 and set(range(smallest, PERFECT_UP_TO + 1)) <= set(self.complexities)

    def error_at(self, complexity: int) -> float:
        return float(self.errors[self.complexities == complexity].iloc[0])


@dataclass(frozen=True)
class Verdict:
    """What the sweeps of a machine's two forms say of it.

    fewest_cases: behind any error. disagreements: cases on which the two forms' outputs differ, of compared_cases.
    """

    fuzzy: Sweep
    discretized: Sweep
    fewest_cases: int
    disagreements: int
    compared_cases: int

    def metrics(self) -> dict:
        """The numbers that metrics.json records."""
        numbers = {"train_difficulty": self.fuzzy.train_complexity, "cases": self.fewest_cases}
        for name, sweep in (("discretized", self.discretized), ("fuzzy", self.fuzzy)):
            numbers[f"{name}_train_error"] = sweep.train_error
            numbers[f"{name}_train_cases"] = sweep.train_cases
            numbers[f"{name}_max_error"] = float(sweep.errors.max())
            numbers[f"{name}_first_failure"] = sweep.first_failure
        numbers["max_complexity"] = max(self.fuzzy.largest, self.discretized.largest)
        numbers["disagreements"] = self.disagreements
        numbers["compared_cases"] = self.compared_cases
        return numbers

    def in_words(self) -> dict:
        """What Table 1 says.

        train_error, train_cases: of the fuzzy machine at the train complexity. generalization: "perfect" if the fuzzy
        machine's error is 0 at every complexity up to 50, else where it first fails; error_free_up_to: the complexity
        before that; generalization_cases: the fewest behind one complexity. discretization: "perfect" if the
        discretized machine's output equals the fuzzy one's in every case, else in how many it does not, and the error
        at the train complexity; discretization_cases: all that were compared.
        """
        return {
            "train_error": self.fuzzy.train_error,
            "train_cases": self.fuzzy.train_cases,
            "generalization": self._generalization(),
            "error_free_up_to": self.fuzzy.error_free_up_to,
            "generalization_cases": int(self.fuzzy.cases.min()),
            "discretization": self._discretization(),
            "discretized_train_error": self.discretized.train_error,
            "discretization_cases": self.compared_cases,
        }

    def shortfall(self) -> list[str]:
        """What is missing for a perfect row of Table 1, in words; nothing if the row is perfect."""
        words, missing = self.in_words(), []
        if words["train_error"] > 0:
            missing.append(f"train error {words['train_error']:.2g}")
        for column in ("generalization", "discretization"):
            if words[column] != "perfect":
                missing.append(words[column].partition(", ")[0])
        return missing

    @property
    def errs(self) -> bool:
        """Whether either form made an error anywhere."""
        return any(sweep.first_failure is not None for sweep in (self.fuzzy, self.discretized))

    def _generalization(self) -> str:
        fuzzy, first = self.fuzzy, self.fuzzy.first_failure
        if first is None and fuzzy.reaches_the_papers:
            return "perfect"
        if first is None:
            return f"no error at the {len(fuzzy.complexities)} complexities tried, up to {fuzzy.largest}"
        text = f"first error at {first} ({fuzzy.error_at(first):.2g})"
        return text if first == fuzzy.largest else f"{text}, {fuzzy.errors.iloc[-1]:.2g} at {fuzzy.largest}"

    def _discretization(self) -> str:
        if self.disagreements == 0:
            return "perfect"
        counted = f"{self.disagreements} of {self.compared_cases} outputs differ"
        trained = self.discretized
        return f"{counted}, error {trained.train_error:.2g} at {trained.train_complexity}"

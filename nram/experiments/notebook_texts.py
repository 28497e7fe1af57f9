"""The verdicts that notebooks end with, a sentence each: what we got, what the paper reports."""

import pandas as pd

from nram import results, tasks
from nram.evaluate import Evaluation
from nram.experiments.study_tables import noise_table, paired, study_table
from nram.training.result import TrainResult

__all__ = [
    "beside_paper",
    "generalization_verdict",
    "missing_runs",
    "studies_verdict",
    "table1_verdict",
    "task_verdict",
    "training_summary",
]

MEASURES = ["train_complexity", "train_error", "generalization", "discretization"]


# One task


def training_summary(result: TrainResult) -> str:
    """How a training went, in a sentence."""
    config = result.config
    of = "of annealing" if config.annealing.patience else f"of {config.population.size} machines"
    return (
        f"{'Solved' if result.solved else 'Not solved'} after {result.seconds:.0f} s and {result.batches} batches "
        f"{of}{' (interrupted)' if result.stopped_by == 'interrupt' else ''}; "
        f"{result.seeds_started} seeds started, {result.trials_solved} solved."
    )


def beside_paper(result: TrainResult, evaluation: Evaluation) -> pd.DataFrame:
    """The run's row of Table 1 beside the paper's: a row per measure, columns "paper" and "this run"."""
    paper, ours = _paper_and_ours(result, evaluation)
    return pd.DataFrame({"paper": paper, "this run": ours}).loc[MEASURES]


def task_verdict(result: TrainResult, evaluation: Evaluation) -> list[str]:
    """What a run of one of the ten tasks shows."""
    paper, ours = _paper_and_ours(result, evaluation)
    title = tasks.get(result.config.task).title
    return [
        f"**{title}, seed {result.config.seed}.** {training_summary(result)}",
        f"Error at complexity {ours['train_complexity']}: {ours['train_error']:.4g} on {ours['train_cases']} fresh "
        f"cases; the paper reports {paper['train_error']:g} at complexity {paper['train_complexity']}.",
        f"Generalization: {ours['generalization']}, with {ours['generalization_cases']} cases per complexity up to "
        f"{evaluation.metrics['max_complexity']}; the paper reports “{paper['generalization']}”.",
        f"Discretization: {ours['discretization']}, over {ours['discretization_cases']} compared cases; the paper "
        f"reports “{paper['discretization']}”.",
    ]


def _paper_and_ours(result: TrainResult, evaluation: Evaluation) -> tuple[pd.Series, dict]:
    paper = results.paper_table1().set_index("task").loc[result.config.task, MEASURES]
    difficulty = evaluation.metrics["train_difficulty"]
    return paper, {"train_complexity": difficulty, **results.verdict(evaluation.generalization, difficulty)}


# All tasks: `table` is what `results.table1` gives


def missing_runs(table: pd.DataFrame) -> str:
    """Which tasks have no run, in a sentence."""
    missing = _missing(table)
    return f"**No run of: {', '.join(missing)}.**" if missing else "Every task has a run."


def _missing(table: pd.DataFrame) -> list[str]:
    return table.loc[table["runs"].isna(), "task"].tolist()


def table1_verdict(table: pd.DataFrame) -> list[str]:
    """How many tasks reach error 0, perfect generalization and perfect discretization, and how many of the paper's."""
    done = table[table["runs"].notna()]
    sentences = ["There is nothing to judge yet."]
    if len(done):
        train, each, compared = (done[f"{name}_cases"].min() for name in ("train", "generalization", "discretization"))
        sentences = [
            f"Error 0 at the train complexity, on at least {train} fresh cases each: {_count(done, 'train_error', 0)} "
            f"tasks that were run (paper: {_count(table, 'paper_train_error', 0)}).",
            f"Perfect generalization up to 50, on at least {each} fresh cases at each complexity: "
            f"{_count(done, 'generalization', 'perfect')} (paper: {_count(table, 'paper_generalization', 'perfect')}).",
            f"Perfect discretization, over at least {compared} compared cases each: "
            f"{_count(done, 'discretization', 'perfect')} (paper: {_count(table, 'paper_discretization', 'perfect')}).",
        ]
    changed = done.loc[done["train_complexity"] != done["paper_train_complexity"], "task"].tolist()
    if changed:
        sentences.append(f"Not trained at the paper's complexity: {', '.join(changed)}.")
    if _missing(table):
        sentences.append(f"Not run: {', '.join(_missing(table))}.")
    return sentences


def _count(table: pd.DataFrame, column: str, wanted) -> str:
    return f"{(table[column] == wanted).sum()} of {len(table)}"


def generalization_verdict(table: pd.DataFrame, uniform: pd.DataFrame) -> list[str]:
    """How far each task generalizes, beside the paper's word.

    uniform: rows of `results.load_generalization`, of the fuzzy machine for complexities uniform up to each, of the
    tasks in Figure 3.
    """
    sentences = []
    for row in table.itertuples():
        judged = "not run" if pd.isna(row.runs) else row.generalization
        curve = uniform[uniform["task"] == row.task].sort_values("complexity")
        if len(curve):
            last = curve.iloc[-1]
            judged += f"; error {last['error']:.3g} for complexities uniform up to {last['complexity']}"
            judged += f" ({last['cases']} cases)"
        said = f"the paper says “{row.paper_generalization}”"
        sentences.append(f"**{tasks.get(row.task).title}**: {judged}; {said}.")
    return sentences


# Studies


def studies_verdict(studies: dict[str, pd.DataFrame]) -> list[str]:
    """What the studies show: their trials by the study's name."""
    sentences = []
    if "gradient_noise" in studies:
        sentences += _shares(noise_table(studies["gradient_noise"]), {"paper": "Paper", "ours": "Ours"})
        pairs = paired(studies["gradient_noise"], "with noise", "no noise")
        helped, hurt = pairs["only with noise"].sum(), pairs["only no noise"].sum()
        sentences.append(f"Of ours {helped} seeds were solved only with noise and {hurt} only without.")
    if "gradient_noise_marginal" in studies:
        marginal = noise_table(studies["gradient_noise_marginal"])
        sentences += _shares(marginal, {"ours": "Ours with the loss of footnote 4"})
    for name, word in (("losses", " loss"), ("ablations", ""), ("recipes", ""), ("controllers", "")):
        if name in studies:
            for setting, group in study_table(studies[name]).groupby("setting", sort=False):
                parts = [f"{row.variant}{word} {row.solved} of {row.started}" for row in group.itertuples()]
                sentences.append(f"{setting}: {', '.join(parts)}.")
    if "rates" in studies:
        rates = study_table(studies["rates"])
        parts = [f"{row.setting} {row.solved} of {row.started}" for row in rates.itertuples()]
        sentences.append(f"Seeds solved: {', '.join(parts)}.")
    return sentences or ["There is nothing to judge yet."]


def _shares(table: pd.DataFrame, names: dict[str, str]) -> list[str]:
    """The share of seeds solved and its interval, a sentence per row. names: whose rows of `noise_table` to tell."""
    return [
        f"{names[row.whose]}, {row.variant}: {100 * row.average:.1f}% of seeds "
        f"({100 * row.low:.1f} to {100 * row.high:.1f}%)."
        for row in table.itertuples()
        if row.whose in names
    ]

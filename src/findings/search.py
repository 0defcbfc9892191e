"""A search for a model's settings: Optuna proposes them, each trial is a run under one parent.

Trials are judged on validation alone; none is measured on test and none is registered: the best
settings are told as a command that trains with them. A study lives in a journal under mlruns/searches/,
where the same command finds it again and where several processes share it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console

from findings import evaluation, models, taxonomy, tracking, training
from findings.config import ParameterConfig
from findings.dataset import Built
from findings.errors import FindingsError
from findings.models import Progress
from findings.store import home

CUTS = 3
"""So often a trial may be cut off by a kill before it is given up: it may be the trial that kills."""

FIXED = ("family", "teachers")
"""Settings of a model that are not searched."""

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Best:
    """The best trial so far.

    Attributes:
        value: the mean of the search's metrics on validation.
        overrides: what trains with its settings.
    """

    number: int
    value: float
    run_id: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a search came to: the number of trials by state, and the best one, if any came to its end."""

    name: str
    states: Mapping[str, int]
    run_id: str
    best: Best | None


# What is searched --------------------------------------------------------------------------------


def space(config: DictConfig) -> dict[str, BaseDistribution]:
    """What is tried of each setting of the model, checked: settings that there are, values that they can have.

    Raises:
        FindingsError: which one is wrong and why.
    """
    sweep = config.sweep
    if sweep.trials < 1:
        raise FindingsError(f"sweep.trials={sweep.trials}: give 1 or more.")
    if not re.fullmatch(r"[\w-]+", sweep.name):
        raise FindingsError(f"sweep.name={sweep.name}: give letters, digits, - and _ alone.")
    if not sweep.metrics or not set(sweep.metrics) <= set(evaluation.FIGURES):
        raise FindingsError(f"sweep.metrics={sweep.metrics}: give one or more of {', '.join(evaluation.FIGURES)}.")
    if config.model.teachers:
        raise FindingsError("model.teachers: a search learns from labels alone. Leave them out.")
    if not sweep.parameters:
        raise FindingsError("sweep.parameters: there is nothing to search. Name settings of the model.")
    return {str(name): _distribution(str(name), given, config) for name, given in sweep.parameters.items()}


def _distribution(name: str, given: Any, config: DictConfig) -> BaseDistribution:
    where = f"sweep.parameters.{name}"
    if name in FIXED or name not in config.model:
        known = ", ".join(str(key) for key in config.model if key not in FIXED)
        raise FindingsError(f"{where}: the model has no such setting. Choose from: {known}.")
    made: BaseDistribution
    try:
        parameter = OmegaConf.merge(OmegaConf.structured(ParameterConfig), given)
        low, high, choices = parameter.low, parameter.high, parameter.choices
        if bool(choices) == (low is not None and high is not None):
            raise FindingsError(f"{where}: give either low and high, or choices.")
        if choices:
            made = CategoricalDistribution(list(choices))
        elif type(config.model[name]) is int:
            made = IntDistribution(int(low), int(high), log=parameter.log)
        else:
            made = FloatDistribution(low, high, log=parameter.log)
        labels = taxonomy.from_dict(changed(config, {})["taxonomy"])
        for value in choices or (made.low, made.high):
            models.build(changed(config, {name: value})["model"], labels, 0)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise FindingsError(f"{where}: {str(error).splitlines()[0].rstrip('.')}. Give other values.") from error
    return made


def changed(config: DictConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, with these ones of the model."""
    own = config.copy()
    for name, value in values.items():
        OmegaConf.update(own, f"model.{name}", value)
    settings: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    return {**settings, "sweep": None}


def rounded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are trained with and told: of numbers three digits, which can be said again."""
    return {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in parameters.items()}


def as_they_are(config: DictConfig, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The settings that a search begins with: those of the configuration that lie in the space."""

    def within(distribution: BaseDistribution, value: Any) -> bool:
        if isinstance(distribution, CategoricalDistribution):
            return value in distribution.choices
        return isinstance(value, int | float) and distribution.low <= value <= distribution.high

    return {name: config.model[name] for name, d in space.items() if within(d, config.model[name])}


# The study ---------------------------------------------------------------------------------------


class _Lock:
    """Optuna's journal under the study's own lock, which the system lifts when a process is killed."""

    def __init__(self, lock: FileLock) -> None:
        self.lock = lock

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


@dataclass(frozen=True)
class Study:
    """A study on disk, shared by the processes that were started with the same command.

    A trial's process holds the trial's lock as long as it lives, so that a trial that was cut off is known.
    """

    folder: Path
    trials: int
    seed: int
    lock: FileLock
    optuna: optuna.Study

    @classmethod
    def open(cls, folder: Path, trials: int, seed: int, first: Mapping[str, Any]) -> Study:
        """The study of a folder; `first` are the settings of the first trial of a new one."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "study.lock")
        with lock:
            journal: Any = JournalFileBackend(str(folder / "journal.log"), lock_obj=_Lock(lock))
            study = optuna.create_study(
                study_name=folder.name,
                storage=JournalStorage(journal),
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
                load_if_exists=True,
            )
            if first and not study.get_trials(deepcopy=False):
                study.enqueue_trial(dict(first))
        return cls(folder, trials, seed, lock, study)

    def states(self) -> Counter[TrialState]:
        return Counter(trial.state for trial in self.optuna.get_trials(deepcopy=False))

    @contextmanager
    def next(self, space: Mapping[str, BaseDistribution]) -> Iterator[optuna.Trial | None]:
        """A trial to run, its lock held for the length of the block; None when there are enough."""
        with ExitStack() as held:
            with self.lock:
                self.retry()
                states = self.states()
                trial = None
                if sum(states[state] for state in (*ENDED, TrialState.RUNNING)) < self.trials:
                    # A seed of its own for each trial: neither two processes nor a second start propose the same.
                    seed = self.seed * 10_000 + states.total() - states[TrialState.WAITING]
                    self.optuna.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
                    trial = self.optuna.ask(dict(space))
                    held.enter_context(self._lock_of(trial.number))
            yield trial

    def retry(self) -> None:
        """Mark trials as failed whose process is no more, and have them tried again, from where they were."""
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._lives(trial.number):
                continue
            self.optuna.tell(trial.number, state=TrialState.FAIL)
            cuts = trial.user_attrs.get("cuts", 0) + (not trial.user_attrs.get("stopped", False))
            if cuts < CUTS and trial.params:
                again = {"origin": trial.number, **trial.user_attrs, "cuts": cuts, "stopped": False}
                self.optuna.enqueue_trial(trial.params, user_attrs=again)
            elif run_id := trial.user_attrs.get("run_id"):
                tracking.end(run_id, "FAILED")

    def others(self) -> bool:
        """Whether trials of other processes are running."""
        running = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(self._lives(trial.number) for trial in running)

    def _lock_of(self, number: int) -> FileLock:
        return FileLock(self.folder / f"trial-{number}.lock")

    def _lives(self, number: int) -> bool:
        try:
            self._lock_of(number).acquire(blocking=False).lock.release()
        except Timeout:
            return True
        return False


# The search --------------------------------------------------------------------------------------


def search(config: DictConfig, overrides: Sequence[str]) -> Found:
    """Run trials until there are as many as asked for, those of other processes and of earlier starts
    included.

    Args:
        config: the configuration of a run, with a `sweep`.
        overrides: what a command that trains with the best settings begins with.

    Raises:
        FindingsError: the search or the dataset is not sound, or the store does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = changed(config, {})
    sweep: Any = OmegaConf.to_container(config.sweep, resolve=True)
    with training.shown() as (console, tell):
        ranges = space(config)
        built = training.prepare(settings, console, tell)
        tell("opening the store")
        tracking.connect(settings["tracking"])
        folder = _folder(sweep, settings, built)
        study = Study.open(folder, sweep["trials"], settings["seed"], as_they_are(config, ranges))
        with _parent(study, settings, sweep["name"], overrides):
            work = _Work(study, config, built, tell)
            while True:
                with study.next(ranges) as trial:
                    if trial is None:
                        break
                    _run(work, trial)
    return found(study, sweep["name"], overrides)


def _folder(sweep: Mapping[str, Any], settings: Mapping[str, Any], built: Built) -> Path:
    """Where the study is: one for each search, model and dataset; the number of trials may grow."""
    own = [{k: v for k, v in sweep.items() if k != "trials"}, *(settings[k] for k in ("model", "tracking", "seed"))]
    text = json.dumps([own, built.sha256], sort_keys=True, default=str)
    return home() / "searches" / f"{sweep['name']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@contextmanager
def _parent(study: Study, settings: Mapping[str, Any], name: str, overrides: Sequence[str]) -> Iterator[None]:
    """The run that the trials' runs are nested under; the last of the processes ends it."""
    with study.lock:
        before = study.optuna.user_attrs.get("run_id")
        given = " ".join(overrides)
        run_id = tracking.begin_parent(settings["tracking"]["experiment"], f"search {name} {given}", given, before)
        study.optuna.set_user_attr("run_id", run_id)
    status = "FAILED"
    try:
        with tracking.under(run_id):
            yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with tracking.unbroken(), study.lock:
            if not study.others():
                tracking.end(run_id, status)


@dataclass(frozen=True)
class _Work:
    """What all trials share."""

    study: Study
    config: DictConfig
    built: Built
    tell: Callable[..., None]


def _run(work: _Work, trial: optuna.Trial) -> None:
    """A trial from its settings to its end."""
    settings = changed(work.config, rounded(trial.params))
    number = trial.user_attrs.get("origin", trial.number)
    checkpoints = work.study.folder / f"trial-{number}"
    before = trial.user_attrs.get("run_id")
    resumed = before if before and tracking.unfinished(before) else None
    with tracking.run(f"{training.name(settings, work.built)} trial {number}", resumed) as run:
        trial.set_user_attr("run_id", run.info.run_id)
        try:
            value = _objective(work, trial, run.info.run_id, settings, checkpoints)
            state, note = TrialState.COMPLETE, "complete"
        except optuna.TrialPruned:
            value, state, note = None, TrialState.PRUNED, "pruned"
        except KeyboardInterrupt:
            trial.set_user_attr("stopped", True)  # by the user: no fault of the trial's
            raise
        except Exception:
            work.study.optuna.tell(trial, state=TrialState.FAIL)
            raise
        tracking.log_figures(run.info.run_id, {}, {"search.trial": str(number), "search.state": note})
        work.study.optuna.tell(trial, value, state)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _objective(work: _Work, trial: optuna.Trial, run_id: str, settings: Mapping[str, Any], checkpoints: Path) -> float:
    """Train and measure on validation; a trial that is worse than most after an epoch is pruned."""
    built, metrics = work.built, list(work.config.sweep.metrics)
    tracking.log_start(run_id, settings, built)
    doing = f"trial {trial.number}: training {settings['model']['family']}"
    work.tell(doing)

    def mean(figures: Mapping[str, float]) -> float:
        return sum(figures[metric] for metric in metrics) / len(metrics)

    def watch(progress: Progress) -> None:
        work.tell(f"{doing}: {progress.text}", progress.share)
        if progress.figures:
            tracking.log_epoch(run_id, progress.epoch, progress.figures)
            trial.report(mean(progress.figures), progress.epoch)
            if progress.share < 1 and trial.should_prune():
                raise optuna.TrialPruned

    rows = {split: models.examples(built.rows[split], built.taxonomy) for split in ("train", "validation")}
    classifier = models.fit(
        settings["model"],
        rows["train"],
        rows["validation"],
        built.taxonomy,
        int(settings["seed"]),
        watch=watch,
        checkpoints=checkpoints,
    )
    validation = rows["validation"]
    figures = evaluation.figures(classifier.scores(validation.sentences, validation.headings), validation)
    tracking.log_figures(run_id, {f"search/{k}": v for k, v in figures.items()} | {"search/value": mean(figures)})
    return mean(figures)


# What it came to ---------------------------------------------------------------------------------


def found(study: Study, name: str, overrides: Sequence[str]) -> Found:
    """What a study came to so far."""
    complete = study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    top = max(complete, key=lambda trial: trial.value or 0.0, default=None)
    best = None
    if top is not None:
        chosen = rounded(top.params)
        kept = [o for o in overrides if o.partition("=")[0].lstrip("+") not in {f"model.{k}" for k in chosen}]
        ours = [f"model.{k}={_text(v)}" for k, v in chosen.items()]
        best = Best(
            top.user_attrs.get("origin", top.number), top.value or 0.0, top.user_attrs["run_id"], (*kept, *ours)
        )
    states = {state.name.lower(): count for state, count in study.states().items()}
    return Found(name, states, study.optuna.user_attrs["run_id"], best)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def report(found: Found) -> None:
    """Print what a search came to, and the command that trains with the best settings."""
    out = Console(highlight=False, soft_wrap=True, markup=False)
    states = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
    out.print(f"search {found.name}, run {found.run_id}, trials: {states}")
    if found.best is None:
        out.print("no trial has come to its end yet: the same command goes on")
        return
    out.print(f"best: trial {found.best.number}, {found.best.value:.4f} on validation, run {found.best.run_id}")
    out.print(f"findings train {shlex.join(found.best.overrides)}")

"""The schemas of conf/: what each setting is called and of what type it is.

Hydra refuses a key that is not here and a value of another type; `validate` says so in one line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import islice
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from findings.errors import FindingsError

MODULE = "findings.conf"
LISTING = "`findings train --cfg job` lists the settings."


@dataclass
class DataConfig:
    name: str = MISSING
    source: str = MISSING
    folder: str | None = MISSING
    train_share: float = MISSING


@dataclass
class StandoffConfig(DataConfig):
    reports: str | None = MISSING


@dataclass
class AllConfig(StandoffConfig):
    standoff: str | None = MISSING


@dataclass
class ModelConfig:
    family: str = MISSING
    teachers: list[str] = field(default_factory=list)


@dataclass
class TfidfConfig(ModelConfig):
    words: int = MISSING
    characters: int = MISSING
    C: float = MISSING
    C_themes: float = MISSING
    class_weight: str | None = None
    heading_weight: float = MISSING
    heading_dropout: float = MISSING


@dataclass
class TransformerConfig(ModelConfig):
    name: str | None = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    head_learning_rate: float = MISSING
    theme_weight: float = MISSING
    adversarial: float = MISSING
    class_weight: str | None = MISSING
    heading_dropout: float = MISSING
    heading_noise: float = MISSING
    pretrained_share: float = MISSING
    patience: int = MISSING
    checkpoint_steps: int = MISSING
    gradient_checkpointing: bool = MISSING


@dataclass
class StaticConfig(ModelConfig):
    name: str | None = MISSING
    dimensions: int = MISSING
    hidden: int = MISSING
    buckets: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    dropout: float = MISSING
    heading_dropout: float = MISSING


@dataclass
class TrackingConfig:
    uri: str | None = MISSING
    experiment: str = MISSING
    model: str = MISSING


@dataclass
class LabelConfig:
    id: str = MISSING
    title: str = MISSING
    definition: str = MISSING


@dataclass
class TaxonomyConfig:
    name: str = MISSING
    findings: list[LabelConfig] = field(default_factory=list)
    themes: list[LabelConfig] = field(default_factory=list)


@dataclass
class ParameterConfig:
    """What is tried of one setting: numbers from `low` to `high`, or `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[Any] | None = None


@dataclass
class SearchConfig:
    name: str = MISSING
    trials: int = MISSING
    metrics: list[str] = MISSING
    parameters: dict[str, Any] = MISSING  # each as ParameterConfig


@dataclass
class TrainConfig:
    """What `findings train` and `findings data build` run on."""

    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    tracking: TrackingConfig = MISSING
    taxonomy: TaxonomyConfig = MISSING
    experiment: Any = None
    sweep: Any = None
    seed: int = MISSING
    promote: bool = MISSING
    resume: bool = MISSING
    question: str | None = MISSING


def store() -> None:
    """Make the schemas known to Hydra; conf/ names them first in its defaults."""
    known = ConfigStore.instance()
    known.store(name="train_schema", node=TrainConfig)
    known.store(group="data", name="data_schema", node=DataConfig)
    known.store(group="data", name="standoff_schema", node=StandoffConfig)
    known.store(group="data", name="all_schema", node=AllConfig)
    known.store(group="model", name="tfidf_schema", node=TfidfConfig)
    known.store(group="model", name="transformer_schema", node=TransformerConfig)
    known.store(group="model", name="static_schema", node=StaticConfig)
    known.store(group="sweep", name="search_schema", node=SearchConfig)
    known.store(group="tracking", name="tracking_schema", node=TrackingConfig)
    known.store(group="taxonomy", name="taxonomy_schema", node=TaxonomyConfig)


def load(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of one run, as Hydra would compose it.

    Raises:
        FindingsError: an override names no setting, or has a value of the wrong type; one line.
    """
    store()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(MODULE, version_base="1.3"):
            composed = compose("train", overrides=list(overrides))
            OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise FindingsError(_one_line(error, overrides)) from error
    for key in _strange(composed):
        raise FindingsError(_no_such(key))
    for name in (f.name for f in fields(TrainConfig) if f.name not in composed):
        raise FindingsError(f"findings train: the setting '{name}' has no value. Give {name}=...")
    return composed


def _strange(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Keys that no schema has: Hydra lets a `+` before a key force them in."""
    if prefix == "sweep.parameters.":  # any settings of a model; `search` checks them
        return
    schema = OmegaConf.get_type(node)
    known = {f.name for f in fields(schema)} if is_dataclass(schema) else set()
    for key in map(str, node):
        if key not in known:
            yield f"{prefix}{key}"
        elif isinstance(node[key], DictConfig):
            yield from _strange(node[key], f"{prefix}{key}.")


def validate(overrides: Sequence[str], *, many: bool = True) -> None:
    """Check the overrides of a command, sweeps included, before Hydra runs it; as `load` raises.

    Unless `many` runs were asked for (-m), several values of one setting are refused.
    """
    store()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(MODULE, version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()  # glob(...) asks it for the options of a group
            parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
            app = [o for o in parsed if not re.match(r"hydra(?:$|[./@])", o.key_or_group)]
            several = next((o.input_line for o in app if o.is_sweep_override() and not many), None)
            choices = [_choices(o) for o in app]
    except HydraException as error:
        raise FindingsError(_one_line(error, overrides)) from error
    first = [choice[0] for choice in choices]
    composed = load(first)
    if several and (composed.sweep or not any(o.key_or_group == "sweep" for o in app)):  # a grid is for many runs
        raise FindingsError(f"findings train: {several} gives several values. Add -m for several runs.")
    for position, others in enumerate(choices):
        for choice in others[1:]:
            load([*first[:position], choice, *first[position + 1 :]])


def validate_together(overrides: Sequence[str], *, many: bool) -> None:
    """Check that several processes can train this together, as torchrun starts them: one run of a transformer."""
    if many or any(o.startswith("sweep=") for o in overrides):
        raise FindingsError("findings train: torchrun trains one run at a time. Leave out -m and sweep=.")
    model = load(overrides).model
    if model.family in ("tfidf", "static") or model.teachers:
        what = f"model={model.family}{' with teachers' if model.teachers else ''}"
        raise FindingsError(f"findings train: {what} trains in one process. Start it without torchrun.")


def _choices(override: Override) -> list[str]:
    """The override's values one by one, the first hundred of them; of an interval its two ends."""
    given = override.input_line or ""
    if not override.key_or_group:
        raise FindingsError(f"findings train: {given}: no name before the '='. Write KEY=VALUE. {LISTING}")
    if not override.is_sweep_override():
        return [given]
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    values = [f"{key}={value}" for value in islice(override.sweep_string_iterator(), 100)]
    if not values:
        raise FindingsError(f"findings train: {given}: nothing to choose from. Give at least one value.")
    return values


def _no_such(key: str) -> str:
    near = difflib.get_close_matches(key, _settings(), n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"findings train: there is no setting '{key}'.{hint} {LISTING}"


def _one_line(error: Exception, overrides: Sequence[str]) -> str:
    if isinstance(error, OverrideParseException):
        given = " ".join(error.override.split())
        return f"findings train: '{given}' cannot be read. Write KEY=VALUE, quoted for the shell. {LISTING}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = str(getattr(cause, "full_key", "") or getattr(cause, "key", "") or "")
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if "not in struct" in str(cause) or "Key '" in reason or "Could not override" in reason:
        key = key or next((o.partition("=")[0] for o in overrides if o.partition("=")[0] in str(error)), "")
        return _no_such(key)
    if "Missing mandatory value" in reason:
        return f"findings train: the setting '{key}' has no value. Give {key}=..."
    if missing := re.search(r"Environment variable '(\w+)' not found", str(error)):
        return f"findings train: the setting '{key}' has no value. Give {key}=... or set {missing.group(1)}."
    if missing := re.search(r"Could not find '([^']*)'", str(error)):
        known = re.search(r"Available options in '[^']*':(.*?)(?:Config search path|$)", str(error), re.S)
        names = [n for n in known.group(1).split() if not n.endswith("_schema")] if known else []
        choice = f" Choose from: {', '.join(names)}." if names else ""
        return f"findings train: there is no '{missing.group(1)}'.{choice} `findings train --help` lists the groups."
    given = next((o for o in overrides if key and o.lstrip("+~").partition("=")[0] == key), key)
    return f"findings train: {given + ': ' if given else ''}{reason.rstrip('.')}. {LISTING}"


def _settings() -> list[str]:
    names: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            names.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    with initialize_config_module(MODULE, version_base="1.3"):
        walk(OmegaConf.to_container(compose("train"), resolve=False), "")
    return names

from importlib import resources

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from findings import config, taxonomy
from findings.errors import FindingsError

CONF = resources.files(config.MODULE)


def shipped(group):
    return sorted(path.name.removesuffix(".yaml") for path in (CONF / group).iterdir() if path.name.endswith(".yaml"))


def told(overrides):
    """The message with which the overrides are refused; it is one line."""
    with pytest.raises(FindingsError) as caught:
        config.validate(overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("findings train: ")
    return message


# What ships --------------------------------------------------------------------------------------


def test_shipped_config_composes_and_resolves():
    composed = config.load()
    settings = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    data = {"name": "all", "source": "all", "folder": None, "standoff": None, "reports": None, "train_share": 1.0}
    assert settings["data"] == data
    assert isinstance(settings["seed"], int)
    assert settings["promote"] is False
    assert settings["model"]["family"]
    assert settings["tracking"]["experiment"]


def test_taxonomy_of_the_config_is_the_shipped_one():
    settings = OmegaConf.to_container(config.load().taxonomy, resolve=True)
    assert taxonomy.from_dict(settings) == taxonomy.load()


@pytest.mark.parametrize("group", ["model", "tracking", "taxonomy", "experiment", "sweep"])
def test_every_option_of_every_group_composes(group, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")  # tracking=server needs it
    assert shipped(group)
    for option in shipped(group):
        composed = config.load([f"{group}={option}"])
        OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)


def test_every_data_option_composes_with_a_folder():
    for option in shipped("data"):
        assert config.load([f"data={option}", "data.folder=/some where/else"]).data.folder == "/some where/else"


@pytest.mark.parametrize("name", shipped("experiment"))
def test_experiment_changes_something(name):
    assert config.load([f"experiment={name}"]) != config.load()


GRIDS = [name for name in shipped("sweep") if config.load([f"sweep={name}"]).sweep is None]


@pytest.mark.parametrize("name", GRIDS)
def test_choices_of_a_grid_are_settings(name):
    parameters = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert parameters
    config.validate([f"sweep={name}", *(f"{key}={values}" for key, values in parameters.items())])


def test_overrides_win():
    composed = config.load(["seed=7", "model.C=0.5", "model.class_weight=null", "tracking.experiment=mine"])
    assert (composed.seed, composed.model.C, composed.model.class_weight) == (7, 0.5, None)
    assert composed.tracking.experiment == "mine"


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "given", "nearest"),
    [
        ("sed=3", "sed", "seed"),
        ("+sed=3", "sed", "seed"),
        ("++sed=3", "sed", "seed"),
        ("promot=true", "promot", "promote"),
        ("modle=tfidf", "modle", "model"),
        ("model.c=3", "model.c", "model.C"),
        ("+model.carachters=3", "model.carachters", "model.characters"),
        ("data.foldr=there", "data.foldr", "data.folder"),
        ("tracking.experimnt=mine", "tracking.experimnt", "tracking.experiment"),
        ("taxonomy.theme=3", "taxonomy.theme", "taxonomy.themes"),
    ],
)
def test_unknown_setting_names_the_nearest(override, given, nearest):
    message = told([override])
    assert f"there is no setting '{given}'. Did you mean '{nearest}'?" in message
    assert message.endswith("`findings train --cfg job` lists the settings.")


def test_unknown_setting_with_nothing_near():
    assert "Did you mean" not in told(["zzzzzz=1"])


def test_key_that_only_begins_like_hydras_is_ours_to_refuse():
    assert "there is no setting 'hydrate'" in told(["hydrate=1"])


def test_hydras_own_settings_are_left_to_hydra():
    config.validate(["hydra.run.dir=elsewhere", "hydra/launcher=basic", "seed=2"])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("seed=abc", "seed=abc: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=1.5", "seed=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
        ("seed=null", "seed=null: field 'seed' is not Optional"),
        ("promote=perhaps", "promote=perhaps: Value 'perhaps' is not a valid bool"),
        ("model.C=wide", "model.C=wide: Value 'wide' of type 'str' could not be converted to Float"),
        ("model.C=", "model.C=: Value '' of type 'str' could not be converted to Float"),
        ("model.words=[1,2]", "model.words=[1,2]: "),
        ("seed=${nothing}", "seed=${nothing}: Interpolation key 'nothing' not found"),
    ],
)
def test_value_of_the_wrong_type_is_shown(override, reason):
    assert reason in told([override])


def test_published_reports_have_settings_of_their_own():
    assert config.load(["data=ofsted", "data.reports=my pdfs"]).data.reports == "my pdfs"
    assert config.load(["data=all", "data.standoff=my labels"]).data.standoff == "my labels"
    assert "data.standoff" in told(["data=ofsted", "data.standoff=my labels"])


@pytest.mark.parametrize("group", ["model", "data", "tracking", "taxonomy", "experiment", "sweep"])
def test_unknown_option_lists_those_there_are(group):
    message = told([f"{group}=wrong"])
    assert f"there is no '{group}/wrong'. Choose from: " in message
    options = message.split("Choose from: ")[1].split(". ")[0]
    assert sorted(options.split(", ")) == shipped(group)


def test_local_data_needs_its_folder():
    assert "the setting 'data.folder' has no value. Give data.folder=..." in told(["data=local"])
    config.validate(["data=local", "data.folder=my documents"])


@pytest.mark.parametrize("name", ["seed", "model", "taxonomy"])
def test_setting_that_is_taken_out_is_missed(name):
    assert f"the setting '{name}' has no value. Give {name}=..." in told([f"~{name}"])


@pytest.mark.parametrize("override", ["two words", "model.C=[1", "", "seed", "'seed=3", "seed=choice()", "seed=\n"])
def test_override_that_cannot_be_read(override):
    assert "cannot be read. Write KEY=VALUE" in told([override])


def test_override_without_a_name():
    assert "=3: no name before the '='. Write KEY=VALUE." in told(["=3"])


# Sweeps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        "seed=1,2,3",
        "seed=range(1,4)",
        "seed=choice(1,2)",
        "model.C=sort(10,1)",
        "model.C=interval(0.1,10)",
        "model=glob(*,exclude=*_schema)",
        "model.class_weight=null,balanced",
    ],
)
def test_sweep_of_sound_choices_passes(override):
    config.validate([override])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["seed=1,x"], "seed=x: Value 'x'"),
        (["seed=x,1"], "seed=x: Value 'x'"),
        (["seed=choice(1,2,x)"], "seed=x: Value 'x'"),
        (["seed=shuffle(1,2,3,4,5,6,x)"], "seed=x: Value 'x'"),
        (["seed=interval(0.5,2)"], "seed=0.5: Value '0.5'"),
        (["model=tfidf,wrong"], "there is no 'model/wrong'"),
        (["sed=1,2"], "there is no setting 'sed'. Did you mean 'seed'?"),
        (["data=authored,local"], "the setting 'data.folder' has no value"),
        (["seed=range(3,3)"], "seed=range(3,3): nothing to choose from. Give at least one value."),
    ],
)
def test_every_choice_of_a_sweep_is_checked(overrides, reason):
    assert reason in told(overrides)


@pytest.mark.parametrize("position", range(3))
def test_wrong_choice_is_found_beside_other_sweeps(position):
    swept = ["seed=1,2", "model.C=1,3", "model.words=1,2"]
    swept[position] += ",x"
    key = swept[position].partition("=")[0]
    assert f"{key}=x: Value 'x'" in told(swept)


def test_a_grid_is_many_runs_and_a_search_is_one():
    config.validate(["sweep=tfidf", "seed=1,2"], many=False)
    with pytest.raises(FindingsError, match=r"model\.epochs=3,4 gives several values"):
        config.validate(["sweep=minilm_search", "model.epochs=3,4"], many=False)
    assert config.load(["sweep=minilm_search"]).model.family == "minilm"


def test_a_search_has_settings_of_its_own():
    wider = ["sweep.trials=3", "sweep.parameters.epochs.high=9", "+sweep.parameters.batch_size={low:8,high:64}"]
    sweep = config.load(["sweep=minilm_search", *wider, "~sweep.parameters.heading_noise"]).sweep
    assert sweep.trials == 3
    assert sweep.parameters.epochs == {"low": 3, "high": 9}
    assert sweep.parameters.batch_size == {"low": 8, "high": 64}
    assert "heading_noise" not in sweep.parameters
    assert "sweep.trials=x: Value 'x'" in told(["sweep=minilm_search", "sweep.trials=x"])
    assert "there is no setting 'sweep.tials'" in told(["sweep=minilm_search", "+sweep.tials=3"])
    assert "there is no setting 'sweep.trials'" in told(["+sweep.trials=3"])


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm"])
def test_launchers_compose(name):
    config.validate([f"hydra/launcher={name}", "seed=1,2"])
    with initialize_config_module(config.MODULE, version_base="1.3"):
        launcher = compose("train", [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    assert launcher._target_.startswith(f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher.")


def test_load_leaves_no_trace():
    changed = config.load(["seed=99"])
    with pytest.raises(FindingsError):
        config.load(["sed=1"])
    assert config.load().seed != changed.seed

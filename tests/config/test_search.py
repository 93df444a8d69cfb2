import re
from pathlib import Path

import pytest
from support.paths import ROOT

from evohpc.config.search import Config, load_config, load_resolved
from evohpc.config.site import Site
from evohpc.config.strict_yaml import validate
from evohpc.errors import ConfigError
from evohpc.messages import Isolation

SMALL = "seeds: programs\nlm: {engine: scripted}\n"
VLLM = "seeds: s\nlm: {path: m, engine: vllm, "


def load(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load_config(path, overrides)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_load_and_name_seeds_that_exist(path: Path) -> None:
    assert list(load_config(path).seeds.glob("*.py"))


def test_the_defaults_are_the_papers(tmp_path: Path) -> None:
    """Table 2 and section 4."""
    config = load(tmp_path, SMALL)
    search, tuning = config.search, config.tuning
    assert (search.rounds, search.prompts_per_round, search.samples_per_prompt) == (10, 10, 16)
    assert (search.examples_per_prompt, search.survivors, search.error_threshold) == (2, 10, 0.5)
    assert search.temperatures == (0.2, 0.6, 0.8, 1.0)
    assert (tuning.virtual_tokens, tuning.epochs, tuning.batch_size, tuning.learning_rate) == (16, 5, 16, 0.1)
    assert (config.prompt.size_factor, config.prompt.metric_factor) == (0.9, 1.02)
    assert (search.variant, search.pool, search.retire_parents) == ("evoprompting", "all_rounds", True)


def test_every_field_is_documented() -> None:
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    undocumented = [
        f"{section}.{name}"
        for section, kind in sections.items()
        for name, field in getattr(kind, "model_fields", {}).items()
        if not field.description
    ]
    assert undocumented == []


@pytest.mark.parametrize("kind", [Config, Site])
def test_true_is_no_number(kind: type[Config] | type[Site]) -> None:
    """As 1 it would be a share of all, e.g. of the children that no language model writes."""
    numbers = [
        (section, key)
        for section, field in kind.model_fields.items()
        for key, value in getattr(field.annotation, "model_fields", {}).items()
        if re.search(r"\b(int|float)\b", repr(value.annotation))
    ]
    assert len(numbers) > 10
    needed = {"seeds": "s"} if kind is Config else {}
    for section, key in numbers:
        for said in (True, [True]):
            with pytest.raises(ConfigError, match=rf"\.yaml: {section}\.{key}.*; it is \[?True"):
                validate(kind, {**needed, section: {key: said}}, "f.yaml")


def test_a_dumped_config_loads_equal(tmp_path: Path) -> None:
    text = """
seeds: programs
task: "own task.py:Mine"
task_options: {steps: 20, names: [a, "ü"], deep: {x: null}}
lm: {path: ../lm, deepspeed: zero.json, top_p: 1e-1}
search: {temperatures: [0.5], variant: naive}
evaluation: {minimum_isolation: confined}
tuning: {max_examples: 3}
"""
    config = load(tmp_path, text)
    assert config.evaluation.minimum_isolation is Isolation.CONFINED
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load(elsewhere, config.dump()) == config


def test_paths_start_at_the_configs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", "/scratch/ada")
    config = load(tmp_path, "seeds: a\ntask: my/task.py:T\nlm: {path: ~/lm, deepspeed: /etc/ds.json}\n")
    assert load(tmp_path, "seeds: $SCRATCH/a\nlm: {engine: scripted}").seeds == Path("/scratch/ada/a")
    assert (config.seeds, str(config.task)) == (tmp_path / "a", f"{tmp_path}/my/task.py:T")
    assert (config.lm.path, config.lm.deepspeed) == (tmp_path / "home" / "lm", Path("/etc/ds.json"))


def test_sections_that_say_nothing_are_the_defaults(tmp_path: Path) -> None:
    text = "seeds: s\nlm: {engine: scripted}\nsearch:\n  # rounds: 3\n"
    assert load(tmp_path, text).search == load(tmp_path, SMALL).search
    assert load(tmp_path, text, "search.rounds=3").search.rounds == 3


def test_overrides_reach_every_section_and_are_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path, SMALL, "search.temperatures=[0.3, 1]", "evaluation.retries=0", "task_options.steps=7", "seeds=b"
    )
    assert (config.search.temperatures, config.evaluation.retries) == ((0.3, 1.0), 0)
    assert (config.task_options, config.seeds) == ({"steps": 7}, tmp_path / "b")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.rounds", "--set search.rounds: write it as section.key=value, e.g. --set search.rounds=3"),
        ("=3", "--set =3: write it as"),
        ("seeds.x=3", "--set seeds.x=3: seeds is a value, not a section"),
        ("search.rounds=[", "--set search.rounds=[: the value is not valid YAML"),
        ("search.rouns=3", "unknown key search.rouns; did you mean search.rounds?"),
        ("search=3", "search is a section, a mapping of keys to values; it is 3"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, SMALL, override)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a config is a mapping of sections; this file holds nothing"),
        ("- seeds", "a config is a mapping of sections; this file holds list"),
        ("lm: {engine: scripted}", "seeds is missing"),
        ("seeds: s", "lm.path is missing: the folder of a Hugging Face causal LM; `evohpc fetch-lm"),
        ("seeds: s\nseeds: t", "not valid YAML: the key seeds is there twice at line 2"),
        ("seeds: s\nsearch: {rounds: 1}\nsearch: {seed: 1}", "not valid YAML: the key search is there twice at line 3"),
        ("seeds: [", "not valid YAML: while parsing"),
        ("? [a]\n: s", "not valid YAML: this key is no plain word at line 1"),
        ("1: s\nseeds: s", "1: keys should be strings; it is 1"),
        ("seeds: 3", "seeds: input should be a path; it is 3"),
        ("seeds: s\nsearhc: {}", "unknown key searhc; did you mean search?"),
        ("seeds: s\nrounds: 3", "unknown key rounds; did you mean search.rounds?"),
        ("seeds: s\nsearch: {memory_mb: 3}", "unknown key search.memory_mb; did you mean evaluation.memory_mb?"),
        ("seeds: s\nsearch: {zzz: 3}", "unknown key search.zzz; known keys: variant, rounds, prompts_per_round"),
        ("seeds: s\nsearch: 3", "search is a section, a mapping of keys to values; it is 3"),
        (
            f"{SMALL}tuning: {{method: lora}}",
            "tuning.learning_rate is 0.1, at which a LoRA destroys the model; at most 0.01 is accepted",
        ),
        (
            "seeds: s\nlm: {path: m, tensor_parallel: true}\ntuning: {method: lora, learning_rate: 1e-3}",
            "tuning.method is lora, which needs the whole model in each process, and lm.tensor_parallel is true",
        ),
        ("seeds: s\nsearch: {variant: best}", "search.variant: input should be 'evoprompting', 'no_tuning'"),
        ("seeds: s\nsearch: {rounds: -1}", "search.rounds: input should be greater than or equal to 0; it is -1"),
        ("seeds: s\nsearch: {rounds: 2.5}", "search.rounds: input should be a valid integer; it is 2.5"),
        ("seeds: s\nsearch: {rounds: yes}", "search.rounds: input should be a valid integer; it is 'yes'"),
        ("seeds: s\nsearch: {temperatures: []}", "search.temperatures: the list is too short; it is []"),
        (
            "seeds: s\nsearch: {temperatures: 0.5}",
            "search.temperatures: input should be a list, e.g. [0.5]; it is 0.5",
        ),
        ("seeds: s\ntask_options: [1]", "task_options: input should be a mapping, e.g. {key: value}; it is [1]"),
        (f"seeds: [{'x, ' * 999}x]", "seeds: input should be a path; it is ['x', 'x', 'x', 'x', 'x'"),
        ("seeds: s\nsearch: {temperatures: [1, 0]}", "search.temperatures.1: input should be greater than 0; it is 0"),
        ("seeds: s\nprompt: {metric_factor: .inf}", "prompt.metric_factor: input should be a finite number; it is inf"),
        ("seeds: s\nevaluation: {time_limit_s: .nan}", "evaluation.time_limit_s: input should be a finite number"),
        (f"{VLLM}speculation: 3}}", "lm.speculation is 3, which lm.engine vllm does not do: take 0"),
        (f"{VLLM}vllm: {{dtype: half}}}}", "lm.vllm has dtype, which evohpc sets itself; set lm.dtype instead"),
        (f"{VLLM}vllm: {{seed: 1}}}}", "lm.vllm has seed, which evohpc sets itself; set search.seed instead"),
        (f"{VLLM}vllm: {{max_model_len: 9}}}}", "lm.vllm has max_model_len, which evohpc sets itself"),
        (f"{VLLM}vllm: {{a: .nan}}}}", "lm.vllm: a number is finite, and one is nan"),
        (f"{VLLM}vllm: {{a: {{b: !!binary aGk=}}}}}}", "lm.vllm: b'hi' is no text, number, true, false, null, list or"),
        ("seeds: s\nlm: {vllm: {a: 1}}", "lm.vllm is for lm.engine vllm; that is deepspeed"),
        (
            f"{VLLM}}}\ntuning: {{method: lora, learning_rate: 1.0e-4}}",
            "tuning.method is lora, with which lm.engine vllm does not generate: take soft_prompt, or",
        ),
        (
            f"{VLLM}}}\nsearch: {{temperatures: [1, 2.5]}}",
            "search.temperatures has 2.5; lm.engine vllm draws at 2 at most",
        ),
        ("seeds: s\nlm: {engine: vllm}", "lm.path is missing"),
        ("seeds: s\nlm: {top_p: 0}", "lm.top_p: input should be greater than 0; it is 0"),
        (
            f"{SMALL}evaluation: {{rungs: [{{keep: 1, task_options: {{a: 1}}}}]}}",
            "evaluation.rungs.0.keep: input should be less",
        ),
        (f"{SMALL}evaluation: {{rungs: [{{keep: 0.5, task_options: {{}}}}]}}", "evaluation.rungs.0.task_options: "),
        (f"{SMALL}evaluation: {{rungs: [{{keep: 0.5}}]}}", "evaluation.rungs.0.task_options"),
        (
            f"{SMALL}search: {{stop: {{evaluations: 9}}}}\n"
            "evaluation: {rungs: [{keep: 0.5, task_options: {a: 1}}]}",
            "search.stop.evaluations would cut evaluation.rungs short; take search.stop.compute_hours",
        ),
        (
            f"{SMALL}search: {{stop: {{evaluations: 9}}}}\nevaluation: {{repeats: 2}}",
            "search.stop.evaluations would cut evaluation.repeats short; take search.stop.compute_hours",
        ),
        (
            f"{SMALL}search: {{close_at: 0.8, pool: last_round}}",
            "search.close_at does not go with search.pool: last_round, in which a later round selects no late child: "
            "leave one of them away",
        ),
        (
            f"{SMALL}search: {{close_at: 0.8, variant: naive}}",
            "search.close_at does not go with search.variant: naive, whose only round waits for all of its children",
        ),
        (
            f"{SMALL}search: {{close_at: 0.8}}\nevaluation: {{rungs: [{{keep: 0.5, task_options: {{steps: 1}}}}]}}",
            "search.close_at does not go with evaluation.rungs, which are decided when all children were trained",
        ),
        (f"{SMALL}search: {{close_at: 0}}", "search.close_at: input should be greater than 0"),
        (f"{SMALL}search: {{close_at: 1.5}}", "search.close_at: input should be less than or equal to 1"),
        (
            f"{SMALL}evaluation: {{candidates_at_once: 4}}",
            "evaluation.candidates_at_once is 4, more than an array task has: evaluation.candidates_per_task is 1; "
            "set it to 4, or to a multiple of that",
        ),
        (
            f"{SMALL}search: {{survivors: 2, random_survivors: 3}}",
            "search.random_survivors is 3, more than search.survivors: 2",
        ),
        (f"{SMALL}task_options: {{a: [{{3: 1}}]}}", "task_options: a key is text, and one is 3; write '3'; it is"),
        (f"{SMALL}task_options: {{3: 1}}", "task_options.3.[key]: input should be a valid string; it is 3"),
        (
            f"{SMALL}task_options: {{a: {{b: .inf}}}}",
            "task_options: a number is finite, and one is inf; write it as text",
        ),
        (
            f"{SMALL}task_options: {{a: [1, .nan]}}",
            "task_options: a number is finite, and one is nan; write it as text",
        ),
        (f"{SMALL}task_options: {{a: !!set {{b}}}}", "task_options: {'b'} is no text, number, true, false, null, list"),
        (
            f"{SMALL}evaluation: {{rungs: [{{keep: 0.5, task_options: {{a: .inf}}}}]}}",
            "evaluation.rungs.0.task_options: a number is finite, and one is inf",
        ),
        ("seeds: s\ntask: my_task.py", "task: a task file is named with its class, path/to/file.py:ClassName; it is"),
        ("seeds: s\ntask: tasks/mine:Mine", "task: a task file is named with its class"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'config.yaml'}: {message}")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in [
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "it is not UTF-8 text"),
    ]:
        with pytest.raises(ConfigError, match=f"{path}: cannot read a config: {reason}"):
            load_config(path)


def test_the_unknown_home_of_a_path_is_left_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, "seeds: ~nobody-has-this-name/x\nlm: {engine: scripted}").seeds.name == "x"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("seeds: s\nlm: {engine: scripted}\n", "next_statement"),
        ("seeds: s\nlm: {engine: scripted, stop: whole_class}\n", "whole_class"),
        ("seeds: s\nlm: {engine: scripted, stop: next_statement}\n", "next_statement"),
    ],
)
def test_a_run_of_an_older_evohpc_stops_as_it_did(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert load_resolved(path).lm.stop == rule


def test_a_run_of_an_older_evohpc_is_screened_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seeds: s\nlm: {engine: scripted}\nscreening: {max_nodes: 7}\n")
    found = load_resolved(path).screening
    assert (found.rules, found.max_nodes) == ("0.1.0", 7)
    assert load_config(path).screening.rules == "0.2.0"


def test_a_section_of_a_resolved_config_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seeds: s\nlm: 3\n")
    with pytest.raises(ConfigError, match=r"config.yaml: lm"):
        load_resolved(path)


def test_the_rule_of_today_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seeds: s\nlm: {engine: scripted}\n")
    assert load_config(path).lm.stop == "whole_class"


def test_paths_in_task_options_are_seen_from_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "data.npz").touch()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "c.yaml").write_text(
        "seeds: s\nlm: {engine: scripted}\n"
        "task_options: {a: data.npz, b: ./none, c: [../x, ~/y], d: {e: data.npz}, f: cpu, g: none.npz, h: a/b, i: 3}\n"
    )
    data = str(tmp_path / "data.npz")
    loaded = load_config(tmp_path / "c.yaml")
    assert loaded.task_options == {
        "a": data,
        "b": str(tmp_path / "none"),
        "c": [str(tmp_path.parent / "x"), str(Path.home() / "y")],
        "d": {"e": data},
        "f": "cpu",
        "g": "none.npz",
        "h": "a/b",
        "i": 3,
    }
    (tmp_path / "again.yaml").write_text(loaded.dump())
    assert load_config(tmp_path / "again.yaml") == loaded


def test_a_threshold_of_errors_may_be_above_one(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seeds: s\nlm: {engine: scripted}\nsearch: {error_threshold: 250.5}\n")
    assert load_config(tmp_path / "c.yaml").search.error_threshold == 250.5
    with pytest.raises(ConfigError, match=r"error_threshold.*greater than or equal to 0; it is -1"):
        load_config(tmp_path / "c.yaml", ["search.error_threshold=-1"])

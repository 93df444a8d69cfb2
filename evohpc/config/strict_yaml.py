"""Strict YAML: mappings of known keys to frozen sections, and errors that name the file, the key and the right one."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from evohpc.errors import ConfigError
from evohpc.files import read_input_text

# Strict: else true is 1, and search.rescale=true a search in which no language model answers.
Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NonNegative = Annotated[float, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, strict=True)]


def _as_in_json(options: dict[str, Any]) -> dict[str, Any]:
    for problem in not_in_json(options):
        raise PydanticCustomError("not_in_json", "{problem}", {"problem": problem})
    return options


def not_in_json(value: object) -> Iterator[str]:
    """Yield what the run's own copy of a config, or a message to another process, would change without a word."""
    match value:
        case dict():
            for key, part in value.items():
                if not isinstance(key, str):
                    yield f"a key is text, and one is {key!r}; write '{key}'"
                yield from not_in_json(part)
        case list():
            for part in value:
                yield from not_in_json(part)
        case float() if not math.isfinite(value):
            yield f"a number is finite, and one is {value}; write it as text, or leave it away"
        case str() | int() | float() | None:
            pass
        case _:
            yield f"{value!r} is no text, number, true, false, null, list or mapping"


JSONObject = Annotated[dict[str, Any], AfterValidator(_as_in_json)]
"""Values that are the same in every process, by whatever way they get there: YAML, JSON or a message."""
Document = TypeVar("Document", bound=BaseModel)
_DEEPEST = 50
"""Sections and lists in each other."""


class Section(BaseModel):
    """A part of a config: frozen, no unknown keys, a docstring under every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class _Loader(yaml.SafeLoader):
    """YAML as people type it, by the core schema of YAML 1.2: `1e-4` is a number, and `12:30:00`, `012345`, `no` and
    `on` are text, which PyYAML's 1.1 reads as 45000, 5349, false and true; a key that is true or false takes all of
    these words. No key may be twice in a mapping, of which PyYAML keeps the last."""

    yaml_implicit_resolvers = {}  # none of YAML 1.1; filled below
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:  # PyYAML's time grows with the square of it
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(problem=f"nested more than {_DEEPEST} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(problem="this key is no plain word", problem_mark=key.start_mark)
            if key.value in seen:
                raise ConstructorError(problem=f"the key {key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML reads as something else than text."""


def _resolve(tag: str, pattern: str, first: Sequence[str]) -> None:
    for kind in (_Loader, _Dumper):
        kind.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), list(first))


_resolve("null", r"~|null|Null|NULL|", ["~", "n", "N", ""])
_resolve("bool", r"true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[1-9][0-9]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse(text: str) -> Any:
    """Return what a YAML document says, by the rules of evohpc's config files.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except (ValueError, RecursionError) as error:  # a number of more digits than Python reads, or nested too deeply
        raise yaml.YAMLError(str(error)) from None


def dump(document: Mapping[str, Any]) -> str:
    """Return a mapping as YAML; `parse` reads it back to an equal value."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; a section that says nothing is left out.

    Args:
        what: it is, for the message, e.g. 'a config'.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is no mapping.
    """
    try:
        document = parse(read_input_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot read {what}: {reason}{_meant(path)}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        raise ConfigError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(document, dict):
        found = "nothing" if document is None else type(document).__name__
        raise ConfigError(f"{path}: {what} is a mapping of sections; this file holds {found}")
    return {key: value for key, value in document.items() if value is not None}


def _meant(path: Path) -> str:
    """Return a question with the name that is there and nearest to one that is not; '' if none is."""
    there = [] if path.exists() else [file.name for file in path.parent.glob("*.y*ml")]
    near = difflib.get_close_matches(path.name, there, n=1)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def validate(model: type[Document], document: Mapping[str, Any], where: Path | str) -> Document:
    """Return the sections that a mapping holds.

    Args:
        where: it is from, for the message.

    Raises:
        ConfigError: an unknown key or a bad value.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error, model)}") from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem as one sentence: where, what is there, what would be right."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown_key(problem["loc"], model)
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "model_type":
        return f"{where} is a section, a mapping of keys to values; it is {_short(problem['input'])}"
    if problem["type"] == "tuple_type":
        return f"{where}: input should be a list, e.g. {_as_list(problem['input'])}; it is {_short(problem['input'])}"
    message = _IN_YAML.get(problem["type"], problem["msg"])
    return f"{where}: {message[0].lower()}{message[1:]}; it is {_short(problem['input'])}"


_IN_YAML = {
    "path_type": "input should be a path",
    "dict_type": "input should be a mapping, e.g. {key: value}",
    "too_short": "the list is too short",
}
"""Kinds of problems of which pydantic speaks in terms of Python."""


def _as_list(value: object) -> str:
    """Return an example of a list: what was meant by a value that stands there alone."""
    is_word = isinstance(value, str | int | float) and 0 < len(str(value)) <= 40 and "\n" not in str(value)
    return f"[{value}]" if is_word else "[1, 2]"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    *sections, key = (str(part) for part in location)
    known = list(_fields(model, sections))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    elsewhere = [f"{name}.{key}" for name, section in _sections(model).items() if key in section.model_fields]
    if elsewhere:
        advice = f"did you mean {elsewhere[0]}?"
    elif near:
        advice = f"did you mean {'.'.join([*sections, near[0]])}?"
    else:
        advice = f"known keys: {', '.join(known)}"
    return f"unknown key {'.'.join([*sections, key])}; {advice}"


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    kinds = {name: (field.annotation, *get_args(field.annotation)) for name, field in model.model_fields.items()}
    return {
        name: kind
        for name, alternatives in kinds.items()
        for kind in alternatives
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def _fields(model: type[BaseModel], sections: Sequence[str]) -> Mapping[str, Any]:
    for section in sections:
        model = _sections(model)[section]
    return model.model_fields

"""Source to candidate, or the reason why it is refused, before a GPU is spent on it. Pure; executes nothing.

Screening saves time and names reasons; it is no security boundary: that is the sandbox.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from evohpc.config.evaluation import ScreeningConfig
from evohpc.evolution import entry, trees
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.prompts import candidate_source
from evohpc.messages import SEED_ROUND, Candidate, Completion, LMRequest, Status, TaskInterface

BIDI = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
FORBIDDEN_NAMES = frozenset({"eval", "exec", "compile", "__import__", "open", "breakpoint", "__builtins__"})
ALLOWED_DUNDERS = frozenset({"__init__", "__class__"})
_BRACKETS = re.compile(r"[][(){}]")
MAX_INTEGER_BITS = 256
"""No network needs more, and Python refuses to print an integer of more than 4300 digits."""
_CUT = {"length": " (cut at lm.max_new_tokens)", "context": " (cut where the language model takes no more tokens)"}
"""By `Completion.stop`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` is PENDING where the source may be evaluated."""

    status: Status
    detail: str = ""
    code_hash: str = ""


Digest = Callable[[ast.Module, str], str]
"""Of a syntax tree and its source: `code_hash`, or another by which duplicates are found."""


def screen(source: str, task: TaskInterface, config: ScreeningConfig, digest: Digest = code_hash) -> Verdict:
    """Judge the whole module of a candidate. Duplicates are found by the digest, which the caller compares."""
    tree = _parse(source, config)
    if isinstance(tree, Verdict):
        return tree
    for status, reason in _problems(tree, source, task, config):
        return Verdict(status, reason)
    return Verdict(Status.PENDING, code_hash=digest(tree, source))


def _parse(source: str, config: ScreeningConfig) -> ast.Module | Verdict:
    size = len(source.encode(errors="surrogatepass"))
    if size > config.max_source_bytes:
        return Verdict(Status.SCREENED, f"{size} bytes of source, limit {config.max_source_bytes}")
    if _bracket_depth(source) > config.max_depth:
        return Verdict(Status.SCREENED, f"brackets nested deeper than {config.max_depth}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a child's invalid escape is no news of ours
            return ast.parse(source)
    except SyntaxError as error:
        return Verdict(Status.SYNTAX, _said(error))
    except ValueError as error:  # null bytes, before Python 3.12
        return Verdict(Status.SYNTAX, str(error))
    except (RecursionError, MemoryError):
        return Verdict(Status.SYNTAX, "nested too deeply for Python's parser")


def _said(error: SyntaxError) -> str:
    return f"line {error.lineno or 1}: {error.msg}"


def _bracket_depth(source: str) -> int:
    """Upper bound, brackets in strings counted: keeps CPython's parser off its own stack limit."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(source):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _problems(
    tree: ast.Module, source: str, task: TaskInterface, config: ScreeningConfig
) -> Iterator[tuple[Status, str]]:
    """Yield what is wrong, the plainest first; the caller takes one."""
    if source.translate(BIDI) != source:
        yield Status.SCREENED, "holds bidirectional control characters"
    found = [node for node in tree.body if entry.is_entry(node, task)]
    if len(found) != 1:
        yield Status.SYNTAX, f"defines {entry.named(task)} {len(found)} times"
    elif isinstance(found[0], ast.ClassDef) and not any(isinstance(node, ast.FunctionDef) for node in found[0].body):
        yield Status.SYNTAX, f"class {task.entry} has no methods"
    nodes = trees.nodes(tree)
    if nodes.depth > config.max_depth:
        yield Status.SCREENED, f"syntax tree deeper than {config.max_depth}"
        return
    if len(nodes.every) > config.max_nodes:
        yield Status.SCREENED, f"{len(nodes.every)} nodes, limit {config.max_nodes}"
    literals = sum(_literal_bytes(node.value) for node in nodes.of(ast.Constant))
    literals += sum(len(name) for node in nodes.every for name in trees.long_names(node))
    if literals > config.max_literal_bytes:
        yield Status.SCREENED, f"{literals} bytes of literals, limit {config.max_literal_bytes}"
    for node in nodes.every:
        if node._fields and (reason := _forbidden(node, task, config)):
            yield Status.SCREENED, f"line {getattr(node, 'lineno', 0)}: {reason}"
    if config.rules != "0.1.0" and (reason := _compilers(tree, nodes)):
        yield Status.SYNTAX, reason


def _compilers(tree: ast.Module, nodes: trees.Nodes) -> str:
    """Return what Python's compiler has against a program that parses, such as a parameter of which there are two.

    Only for one whose depth and size are within the limits. One with a `finally` is left to its evaluation: compilers
    write that out once for each way into it, so of 20 in each other a million times.
    """
    if any(getattr(node, "finalbody", ()) for node in nodes.every):
        return ""
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(tree, "candidate", "exec", dont_inherit=True)
    except SyntaxError as error:
        return _said(error)
    except (ValueError, OverflowError, MemoryError, RecursionError, SystemError):  # what a compiler cannot cope with
        return ""
    return ""


def _literal_bytes(value: object) -> int:
    return value.bit_length() // 3 + 1 if isinstance(value, int) else len(repr(value))


def _forbidden(node: ast.AST, task: TaskInterface, config: ScreeningConfig) -> str:
    if isinstance(node, ast.Name):
        return f"uses {node.id}" if node.id in FORBIDDEN_NAMES else ""
    if isinstance(node, ast.Attribute):
        # All that Python gives a meaning to ends in underscores, too; 'self.__conv' is a name of the class's own.
        is_special = node.attr.startswith("__") and (node.attr.endswith("__") or config.rules == "0.1.0")
        return f"reaches for {node.attr}" if is_special and node.attr not in ALLOWED_DUNDERS else ""
    if isinstance(node, ast.Constant):
        bits = node.value.bit_length() if isinstance(node.value, int) else 0
        return f"holds an integer of {bits} bits, limit {MAX_INTEGER_BITS}" if bits > MAX_INTEGER_BITS else ""
    return _forbidden_import(node, task) if isinstance(node, ast.Import | ast.ImportFrom) else ""


def _forbidden_import(node: ast.Import | ast.ImportFrom, task: TaskInterface) -> str:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    else:
        modules = ["." * node.level + (node.module or "")]
    for module in modules:
        if not any(f"{module}.".startswith(f"{allowed}.") for allowed in task.allowed_imports):
            return f"imports {module}; allowed: {', '.join(task.allowed_imports)}"
    return ""


def candidate_id(round: int, prompt: int, sample: int) -> str:
    """Return the id of a child by its place: `candidate_id(3, 7, 12) == 'r003p07s012'`."""
    return f"r{round:03d}p{prompt:02d}s{sample:03d}"


def children(
    request: LMRequest,
    completions: Sequence[Completion],
    task: TaskInterface,
    config: ScreeningConfig,
    digest: Digest = code_hash,
) -> list[Candidate]:
    """Return the candidates of a round in order of place, each screened but for duplicates."""
    by_place = {
        (prompt.index, sample.index): (prompt, sample) for prompt in request.prompts for sample in prompt.samples
    }
    # of a round's children, many are the same text
    judge = cache(partial(screen, task=task, config=config, digest=digest))
    candidates = []
    for completion in sorted(completions, key=lambda c: (c.prompt, c.sample)):
        prompt, sample = by_place[completion.prompt, completion.sample]
        source = candidate_source(completion.text, task)
        verdict = judge(source)
        cut = _CUT.get(completion.stop, "") if verdict.status.is_refused else ""
        candidates.append(
            Candidate(
                id=candidate_id(request.round, prompt.index, sample.index),
                round=request.round,
                prompt=prompt.index,
                sample=sample.index,
                parents=prompt.parents,
                temperature=sample.temperature,
                tokens=completion.tokens,
                source=source,
                code_hash=verdict.code_hash,
                status=verdict.status,
                detail=verdict.detail + cut,
            )
        )
    return candidates


def seeds(
    sources: Mapping[str, str], task: TaskInterface, config: ScreeningConfig, digest: Digest = code_hash
) -> list[Candidate]:
    """Return the seed programs as candidates of `SEED_ROUND`, by file stem."""
    candidates = []
    for index, (name, source) in enumerate(sorted(sources.items())):
        verdict = screen(source, task, config, digest)
        candidates.append(
            Candidate(
                id=f"seed-{name}",
                round=SEED_ROUND,
                prompt=0,
                sample=index,
                parents=(),
                temperature=0.0,
                tokens=0,
                source=source,
                code_hash=verdict.code_hash,
                status=verdict.status,
                detail=verdict.detail,
            )
        )
    return candidates

"""When two programs compute the same though they differ: in layers that neither uses. Pure; executes nothing.

Language models leave layers in a network that its forward pass no longer calls: `self.conv4 = nn.LazyConv1d(8, 5)`. A
lazy layer that never saw an input has no weights, and none was drawn at random for it. So the network is trained to the
same weights without it, bit for bit. An unused `nn.Linear` has weights, which count: it stays.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from copy import copy

from evohpc.evolution import imports, introspection, trees
from evohpc.evolution.code_hash import code_hash

Layer = tuple[int, tuple[str, ...]]
_CONV: Layer = (2, ("out_channels", "kernel_size", "stride", "padding"))
_POOL: Layer = (1, ("kernel_size", "stride", "padding"))
_D = (1, 2, 3)
LAYERS: Mapping[str, Layer] = {
    "LazyLinear": (1, ("out_features",)),
    **{f"Lazy{kind}{d}d": _CONV for d in _D for kind in ("Conv", "ConvTranspose")},
    **{f"{kind}Pool{d}d": _POOL for d in _D for kind in ("Max", "Avg")},
    **{f"Adaptive{kind}Pool{d}d": (1, ("output_size",)) for d in _D for kind in ("Max", "Avg")},
    **dict.fromkeys(("ELU", "GELU", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"), (0, ())),
    **dict.fromkeys(("LogSoftmax", "Softmax"), (0, ("dim",))),
    "Flatten": (0, ("start_dim", "end_dim")),
}
"""Classes of torch.nn that are made of whole numbers without an error, a weight or a random draw: how many arguments
they need, and the names of all that may be given here, in order."""
LARGEST = 1000
"""Of these numbers."""
_FREE = frozenset({"out_channels", "out_features"})
"""What a lazy layer keeps and does not look at until it sees an input."""
OF_MODULES = frozenset(
    {
        *("T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile"),
        *("cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "get_buffer", "get_extra_state"),
        *("get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers"),
        *("named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook"),
        *("register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"),
        *("register_full_backward_pre_hook", "register_load_state_dict_post_hook", "register_module"),
        *("register_load_state_dict_pre_hook", "register_parameter", "register_state_dict_post_hook"),
        *("register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory"),
        *("state_dict", "to", "to_empty", "train", "type", "xpu", "zero_grad"),
    }
)
"""What every `nn.Module` has, `forward` and `training` aside."""
_REACHING = frozenset({name for name in OF_MODULES if name.startswith(("get_", "named_", "register_", "state_"))}) | {
    *("_buffers", "_modules", "_parameters", "__dict__", "apply", "buffers", "children", "modules", "parameters"),
    *("delattr", "dir", "getattr", "hasattr", "setattr", "super", "vars"),
}
"""Names by which a program reaches layers that it does not name, or has others do; `super` but for its constructor."""
_SHOWN = 4
"""How many names of layers are told."""


def computation_hash(tree: ast.Module, source: str) -> str:
    """Return 16 hex digits that two programs share if they share their `code_hash` without layers that they make and
    never use (`unused`). One that has none such has its `code_hash`.

    Args:
        tree: of the source, as `ast.parse` returns it. It is not changed.
        source: the text of the whole module.
    """
    left_out = {id(statement) for statements in unused(tree).values() for statement in statements}
    if not left_out:
        return code_hash(tree, source)
    return code_hash(ast.Module([_without(node, left_out) for node in tree.body], []), source)


DIGESTS: Mapping[str, Callable[[ast.Module, str], str]] = {
    "same_program": code_hash,
    "same_computation": computation_hash,
}
"""By which duplicates are found, by the values of `search.duplicates`."""


def likeness(source: str, original: str, name: str) -> str:
    """Say in how far a program is that of another candidate, whose `computation_hash` it shares, and which layers are
    left out of account, if any are.

    Args:
        name: of the other candidate.

    Raises:
        SyntaxError: one is no Python.
    """
    with warnings.catch_warnings(action="ignore"):  # of invalid escapes in strings
        both = [(ast.parse(text), text) for text in (source, original)]
    if len({code_hash(*program) for program in both}) == 1:
        return f"same program as {name}"
    layers = sorted({layer for tree, _ in both for layer in unused(tree)})
    shown = [*layers[:_SHOWN], *(["others"] if len(layers) > _SHOWN else [])]
    return f"same computation as {name}; nothing uses {', '.join(shown)}"


def unused(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Return the layers that the constructor of a network gives to `self` and nothing names again, by name, each with
    its statements; none where it may be reached otherwise.

    It is so if the program can see its own text, names the network's class or hands `self` on, asks PyTorch about
    `self`, or gives a method, a class or `nn` another meaning. That a task reaches into a network is not foreseen.
    """
    nodes = trees.nodes(tree)
    if introspection.can_see_itself(tree) or not _is_torch_nn(nodes) or not all(map(_is_definition, tree.body)):
        return {}
    attributes = list(nodes.of(ast.Attribute))
    begins = {
        id(node.value.func) for node in attributes if node.attr == "__init__" and isinstance(node.value, ast.Call)
    }
    mentioned = {node.id for node in nodes.of(ast.Name) if not (node.id == "super" and id(node) in begins)}
    named = Counter(node.attr for node in attributes)
    if any(map(_is_patch, attributes)) or not _REACHING.isdisjoint(mentioned | named.keys()):
        return {}
    networks = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name not in mentioned)
    made: dict[str, list[ast.stmt]] = defaultdict(list)
    for name, statement in (layer for node in networks if _is_plain(node) for layer in _made(node)):
        made[name].append(statement)
    return {name: statements for name, statements in made.items() if named[name] == len(statements)}


def _without(node: ast.stmt, left_out: AbstractSet[int]) -> ast.stmt:
    """Return a class without some statements of its methods; anything else as it is."""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node
    rest = copy(node)
    rest.body = [_without(part, left_out) for part in node.body if id(part) not in left_out]
    return rest


def _made(network: ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """Yield name and statement of the layers in its constructor that it could do without."""
    taken = {*OF_MODULES, "forward", "training", *imports.names_in_body(network), *map(_name, network.body)}
    for method in network.body:
        if not (isinstance(method, ast.FunctionDef) and method.name == "__init__"):
            continue
        begun, numbers = False, _numbers(method)
        for statement in method.body:
            begun = begun or ast.unparse(statement) == "super().__init__()"
            match statement:
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=value):
                    if begun and _is_layer(value, numbers) and name not in taken and not name.startswith("_"):
                        yield name, statement


def _name(node: ast.AST) -> str:
    return str(getattr(node, "name", ""))


def _numbers(method: ast.FunctionDef) -> set[str]:
    """Return the parameters that stay what they are, but for those with a default that is no number."""
    arguments = method.args
    named, by_keyword = [*arguments.posonlyargs, *arguments.args], arguments.kwonlyargs
    last = len(named) - len(arguments.defaults)
    pairs = [*zip(named[last:], arguments.defaults, strict=True)]
    pairs += [(by_keyword[index], default) for index, default in enumerate(arguments.kw_defaults) if default]
    others = {argument.arg for argument, default in pairs if not _is_number(default, set())}
    others |= {n.id for n in trees.walk(method) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    return {argument.arg for argument in (*named[1:], *by_keyword)} - others


def _is_number(node: ast.expr, numbers: AbstractSet[str]) -> bool:
    """Say whether this is a number, or made of two; one made of more may be too large for Python."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value <= LARGEST
        case ast.Name(id=name):
            return name in numbers
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
            simple = not isinstance(left, ast.BinOp) and not isinstance(right, ast.BinOp)
            return simple and _is_number(left, numbers) and _is_number(right, numbers)
    return False


def _is_size(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= LARGEST


def _is_layer(node: ast.expr, numbers: AbstractSet[str]) -> bool:
    """Say whether this makes a layer that can be left out, and makes it without an error."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="nn"), attr=kind)) if kind in LAYERS:
            return _is_made_well(node, *LAYERS[kind], numbers)
    return False


def _is_made_well(call: ast.Call, needed: int, names: tuple[str, ...], numbers: AbstractSet[str]) -> bool:
    """Say whether a call gives each argument that is needed, none twice, and all as numbers that do no harm."""
    given = [*zip(names, call.args, strict=False), *((keyword.arg or "", keyword.value) for keyword in call.keywords)]
    found = {name for name, _ in given}
    if not set(names[:needed]) <= found <= set(names) or len(found) < len(call.args) + len(call.keywords):
        return False
    return all(_is_size(value) or (name in _FREE and _is_number(value, numbers)) for name, value in given)


def _is_torch_nn(nodes: trees.Nodes) -> bool:
    """Say whether 'nn' is torch.nn and `super` Python's; in a class without its imports, which a prompt shows, too."""
    aliases = [(alias, "") for node in nodes.of(ast.Import) for alias in node.names]
    aliases += [(alias, f"{node.module}.") for node in nodes.of(ast.ImportFrom) for alias in node.names]
    origins = {f"{module}{alias.name}" for alias, module in aliases if (alias.asname or alias.name) in ("nn", "*")}
    bound = {_name(node) for node in nodes.every if not isinstance(node, ast.alias)}
    bound |= {node.arg for node in nodes.of(ast.arg)}
    bound |= {node.id for node in nodes.of(ast.Name) if not isinstance(node.ctx, ast.Load)}
    return origins <= {"torch.nn"} and bound.isdisjoint({"nn", "super"})


def _is_definition(node: ast.stmt) -> bool:
    """Say whether a statement of the module is an import, a definition or a docstring."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef)


def _is_patch(node: ast.Attribute) -> bool:
    """Say whether this gives a new value to an attribute of anything but `self`."""
    return not isinstance(node.ctx, ast.Load) and not _is_self(node.value)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_plain(network: ast.ClassDef) -> bool:
    """Say whether a class is an `nn.Module` whose methods do nothing with `self` but name its attributes."""
    if [ast.unparse(base) for base in network.bases] != ["nn.Module"] or network.keywords or network.decorator_list:
        return False
    methods = [part for part in network.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not all(map(_is_plain_method, methods)) or any(map(_is_special, imports.names_in_body(network))):
        return False
    inside = list(trees.walk(network))
    reached = [node for node in inside if isinstance(node, ast.Attribute) and _is_self(node.value)]
    is_named_only = len(reached) == sum(map(_is_self, inside))
    return is_named_only and not any(_is_of_torch(node.attr) for node in reached)


def _is_plain_method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)][:1]
    return first == ["self"] and not node.decorator_list and (node.name == "__init__" or not _is_of_torch(node.name))


def _is_special(name: str) -> bool:
    return name.startswith("__")


def _is_of_torch(name: str) -> bool:
    """Say whether an attribute may be PyTorch's own, `forward` and `training` aside."""
    return name in OF_MODULES or name.startswith("_")

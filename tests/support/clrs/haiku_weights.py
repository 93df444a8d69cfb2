"""Haiku's names of dm-clrs's weights, by the names that evohpc's network has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from evohpc.tasks.clrs.network import Network

_CODERS = "net/~_construct_encoders_decoders/algo_0_"
_PROCESSOR = "net/mpnn_aggr_clrs_processor/"

# In the order in which dm-clrs makes them; Haiku numbers what has the same name.
_LINEARS = (
    *("receiver", "sender", "edge", "graph", "skip", "update"),
    *("triplets.node_1", "triplets.node_2", "triplets.node_3"),
    *("triplets.edge_1", "triplets.edge_2", "triplets.edge_3", "triplets.graph", "triplets.output"),
    *("gate_skip", "gate_update", "gate"),
)
_DECODER_PARTS = {
    "NodeDecoder": ("node",),
    "GraphDecoder": ("node", "graph"),
    "EdgeDecoder": ("source", "target", "edge.linear"),
    "NodePointerDecoder": ("source", "target", "edge.linear", "out"),
    "EdgePointerDecoder": ("source", "target", "edge.linear", "node", "out"),
}


def load_haiku(network: Network, weights: Mapping[str, np.ndarray]) -> None:
    """Copy weights by name; each must fit, and none be left over."""
    state = {}
    for ours, theirs in _names(network):
        state[f"{ours}.weight"] = torch.from_numpy(weights[f"weights/{theirs}/w"].T.copy())
        state[f"{ours}.bias"] = torch.from_numpy(weights[f"weights/{theirs}/b"])
    norm = f"weights/{_PROCESSOR}layer_norm"
    state["processor.norm.weight"] = torch.from_numpy(weights[f"{norm}/scale"])
    state["processor.norm.bias"] = torch.from_numpy(weights[f"{norm}/offset"])
    network.load_state_dict(state, strict=True)
    assert len(state) == sum(name.startswith("weights/") for name in weights)


def _names(network: Network) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(_LINEARS):
        yield f"processor.{name}", f"{_PROCESSOR}linear{_number(index)}"
    yield "processor.message.0", f"{_PROCESSOR}mlp/~/linear_0"
    yield "processor.message.2", f"{_PROCESSOR}mlp/~/linear_1"
    for where, encoder in network.encoders.items():
        for name, _ in encoder.get_submodule("layers").named_children():
            feature = name.removesuffix("_2")
            yield f"encoders.{where}.layers.{name}", f"{_CODERS}{feature}_enc_linear{'_1' if feature != name else ''}"
    for name, decoder in network.decoders.items():
        feature = name.partition("_")[2]
        for index, part in enumerate(_DECODER_PARTS[type(decoder).__name__]):
            yield f"decoders.{name}.{part}", f"{_CODERS}{feature}_dec_linear{_number(index)}"


def _number(index: int) -> str:
    return f"_{index}" if index else ""

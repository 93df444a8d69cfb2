"""The features of CLRS-30's algorithms as dm-clrs 2.0.3 specifies them, written down.

So nobody who builds a network or predicts with it needs dm-clrs, which can answer what a network is asked: a process
that predicts cannot read it (`Clrs30.hidden_modules`). A test holds that this is what dm-clrs says.
"""

from __future__ import annotations

from typing import Literal, cast

Stage = Literal["input", "output", "hint"]
Location = Literal["node", "edge", "graph"]
Row = tuple[str, Stage, Location, str, int]
"""Name, stage, location, kind as dm-clrs calls it, number of classes."""

_TABLE = """
# algorithm
#   stage   name:location:kind, and :classes of a categorical one
activity_selector
  input  pos:node:scalar s:node:scalar f:node:scalar
  output selected:node:mask
  hint   pred_h:node:pointer selected_h:node:mask m:node:mask_one k:node:mask_one
articulation_points
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output is_cut:node:mask
  hint   is_cut_h:node:mask pi_h:node:pointer color:node:categorical:3 d:node:scalar f:node:scalar low:node:scalar
  hint   child_cnt:node:scalar s_prev:node:pointer s:node:mask_one u:node:mask_one v:node:mask_one
  hint   s_last:node:mask_one time:graph:scalar
bellman_ford
  input  pos:node:scalar s:node:mask_one A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   pi_h:node:pointer d:node:scalar msk:node:mask
bfs
  input  pos:node:scalar s:node:mask_one A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   reach_h:node:mask pi_h:node:pointer
binary_search
  input  pos:node:scalar key:node:scalar target:graph:scalar
  output return:node:mask_one
  hint   pred_h:node:pointer low:node:mask_one high:node:mask_one mid:node:mask_one
bridges
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output is_bridge:edge:mask
  hint   is_bridge_h:edge:mask pi_h:node:pointer color:node:categorical:3 d:node:scalar f:node:scalar low:node:scalar
  hint   s_prev:node:pointer s:node:mask_one u:node:mask_one v:node:mask_one s_last:node:mask_one time:graph:scalar
bubble_sort
  input  pos:node:scalar key:node:scalar
  output pred:node:should_be_permutation
  hint   pred_h:node:pointer i:node:mask_one j:node:mask_one
dag_shortest_paths
  input  pos:node:scalar s:node:mask_one A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   pi_h:node:pointer d:node:scalar mark:node:mask topo_h:node:pointer topo_head_h:node:mask_one
  hint   color:node:categorical:3 s_prev:node:pointer u:node:mask_one v:node:mask_one s_last:node:mask_one
  hint   phase:graph:mask
dfs
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   pi_h:node:pointer color:node:categorical:3 d:node:scalar f:node:scalar s_prev:node:pointer s:node:mask_one
  hint   u:node:mask_one v:node:mask_one s_last:node:mask_one time:graph:scalar
dijkstra
  input  pos:node:scalar s:node:mask_one A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   pi_h:node:pointer d:node:scalar mark:node:mask in_queue:node:mask u:node:mask_one
find_maximum_subarray_kadane
  input  pos:node:scalar key:node:scalar
  output start:node:mask_one end:node:mask_one
  hint   pred_h:node:pointer best_low:node:mask_one best_high:node:mask_one best_sum:graph:scalar i:node:mask_one
  hint   j:node:mask_one sum:graph:scalar
floyd_warshall
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output Pi:edge:pointer
  hint   Pi_h:edge:pointer D:edge:scalar msk:edge:mask k:node:mask_one
graham_scan
  input  pos:node:scalar x:node:scalar y:node:scalar
  output in_hull:node:mask
  hint   best:node:mask_one atans:node:scalar in_hull_h:node:mask stack_prev:node:pointer last_stack:node:mask_one
  hint   i:node:mask_one phase:graph:categorical:5
heapsort
  input  pos:node:scalar key:node:scalar
  output pred:node:should_be_permutation
  hint   pred_h:node:pointer parent:node:pointer i:node:mask_one j:node:mask_one largest:node:mask_one
  hint   heap_size:node:mask_one phase:graph:categorical:3
insertion_sort
  input  pos:node:scalar key:node:scalar
  output pred:node:should_be_permutation
  hint   pred_h:node:pointer i:node:mask_one j:node:mask_one
jarvis_march
  input  pos:node:scalar x:node:scalar y:node:scalar
  output in_hull:node:mask
  hint   pred_h:node:pointer in_hull_h:node:mask best:node:mask_one last_point:node:mask_one endpoint:node:mask_one
  hint   i:node:mask_one phase:graph:categorical:2
kmp_matcher
  input  string:node:mask pos:node:scalar key:node:categorical:4
  output match:node:mask_one
  hint   pred_h:node:pointer pi:node:pointer is_reset:node:mask k:node:mask_one k_reset:graph:mask q:node:mask_one
  hint   q_reset:graph:mask s:node:mask_one i:node:mask_one phase:graph:mask
lcs_length
  input  string:node:mask pos:node:scalar key:node:categorical:4
  output b:edge:categorical:4
  hint   pred_h:node:pointer b_h:edge:categorical:4 c:edge:scalar
matrix_chain_order
  input  pos:node:scalar p:node:scalar
  output s:edge:pointer
  hint   pred_h:node:pointer m:edge:scalar s_h:edge:pointer msk:edge:mask
minimum
  input  pos:node:scalar key:node:scalar
  output min:node:mask_one
  hint   pred_h:node:pointer min_h:node:mask_one i:node:mask_one
mst_kruskal
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output in_mst:edge:mask
  hint   in_mst_h:edge:mask pi:node:pointer u:node:mask_one v:node:mask_one root_u:node:mask_one root_v:node:mask_one
  hint   mask_u:node:mask mask_v:node:mask phase:graph:categorical:3
mst_prim
  input  pos:node:scalar s:node:mask_one A:edge:scalar adj:edge:mask
  output pi:node:pointer
  hint   pi_h:node:pointer key:node:scalar mark:node:mask in_queue:node:mask u:node:mask_one
naive_string_matcher
  input  string:node:mask pos:node:scalar key:node:categorical:4
  output match:node:mask_one
  hint   pred_h:node:pointer s:node:mask_one i:node:mask_one j:node:mask_one
optimal_bst
  input  pos:node:scalar p:node:scalar q:node:scalar
  output root:edge:pointer
  hint   pred_h:node:pointer root_h:edge:pointer e:edge:scalar w:edge:scalar msk:edge:mask
quickselect
  input  pos:node:scalar key:node:scalar
  output median:node:mask_one
  hint   pred_h:node:pointer p:node:mask_one r:node:mask_one i:node:mask_one j:node:mask_one i_rank:graph:scalar
  hint   target:graph:scalar pivot:node:mask_one
quicksort
  input  pos:node:scalar key:node:scalar
  output pred:node:should_be_permutation
  hint   pred_h:node:pointer p:node:mask_one r:node:mask_one i:node:mask_one j:node:mask_one
segments_intersect
  input  pos:node:scalar x:node:scalar y:node:scalar
  output intersect:graph:mask
  hint   i:node:mask_one j:node:mask_one k:node:mask_one dir:node:scalar on_seg:node:mask
strongly_connected_components
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output scc_id:node:pointer
  hint   scc_id_h:node:pointer A_t:edge:mask color:node:categorical:3 d:node:scalar f:node:scalar s_prev:node:pointer
  hint   s:node:mask_one u:node:mask_one v:node:mask_one s_last:node:mask_one time:graph:scalar phase:graph:mask
task_scheduling
  input  pos:node:scalar d:node:scalar w:node:scalar
  output selected:node:mask
  hint   pred_h:node:pointer selected_h:node:mask i:node:mask_one t:graph:scalar
topological_sort
  input  pos:node:scalar A:edge:scalar adj:edge:mask
  output topo:node:pointer topo_head:node:mask_one
  hint   topo_h:node:pointer topo_head_h:node:mask_one color:node:categorical:3 s_prev:node:pointer s:node:mask_one
  hint   u:node:mask_one v:node:mask_one s_last:node:mask_one
"""


def read() -> dict[str, tuple[Row, ...]]:
    """Return the features of each algorithm, in dm-clrs's order."""
    found: dict[str, list[Row]] = {}
    for line in _TABLE.splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            rows = found.setdefault(line, [])
            continue
        stage, *features = line.split()
        for feature in features:
            name, location, kind, classes = [*feature.split(":"), "1"][:4]
            rows.append((name, cast(Stage, stage), cast(Location, location), kind, int(classes)))
    return {algorithm: tuple(rows) for algorithm, rows in found.items()}

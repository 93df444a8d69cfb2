"""CLRS-30 (Velickovic et al. 2022): graph networks that learn to execute classical algorithms step by step.

The data come from the samplers of `dm-clrs`, of which only the numpy part is loaded; the networks are PyTorch, and
equal to the published Triplet-GMPNN (Ibarz et al. 2022) in parameters, predictions and losses. A candidate of a search
is only the network's triplet representation: see `evohpc.tasks.clrs.triplets`.
"""

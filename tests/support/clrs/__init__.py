"""CLRS-30 as dm-clrs computes it, to compare with."""

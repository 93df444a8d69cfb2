"""The benchmarks: how data are made, and how a candidate is built, trained, predicted with and scored."""

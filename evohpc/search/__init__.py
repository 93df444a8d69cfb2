"""A run: made, driven, opened again, rebuilt, and driven by a job of Slurm's."""

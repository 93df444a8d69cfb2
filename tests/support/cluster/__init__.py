"""A real Slurm and a real Apptainer, brought up by the tests."""

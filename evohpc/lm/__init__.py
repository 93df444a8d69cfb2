"""The language model inside an LM job: tuned on the last round, then drawn from."""

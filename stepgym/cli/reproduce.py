"""`stepgym reproduce`: published results, trained and measured on this machine."""

from __future__ import annotations

import click

from stepgym.cli.lazy_group import LazyGroup

CLAIMS = {
    "small-beats-14x": (
        "stepgym.claims.small_beats_large.command:command",
        "A small model with search against a model 15 times its size, at equal FLOPs.",
    ),
    "transfer": (
        "stepgym.claims.transfer.command:command",
        "Train on one family of problems, measure on all of them.",
    ),
    "alphazero": (
        "stepgym.claims.alphazero.command:command",
        "Self-play without labels improves the policy; a random teacher does not.",
    ),
    "data-gate": (
        "stepgym.claims.data_gate.command:command",
        "A proposer and a solver, with and without a gate on the problems.",
    ),
    "llm-generation": (
        "stepgym.claims.llm_generation.command:command",
        "A language model learns arithmetic from its own verified answers.",
    ),
}
"""Claim -> the dotted path of its command, and its line in `stepgym reproduce --help`."""


@click.group(cls=LazyGroup, members=CLAIMS, noun="claim")
def command() -> None:
    """Train, play and measure: reproduce published results on this machine."""

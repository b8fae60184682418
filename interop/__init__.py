"""Adapters to other projects, one file each. A peer is imported inside its own file only.

Every adapter is built on `stepgym.envs.session.EnvSession` (an episode as a conversation) or on a verifier, so that each
is short. Names are imported from the peer's file: `from stepgym.interop.trl import spec`.
"""

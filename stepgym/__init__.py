"""stepgym: a gym for reasoning agents. Importing it registers the environments, and does nothing else."""

from stepgym.envs.gymnasium_hook import register_with_gymnasium as _register_with_gymnasium

__version__ = "0.1.0"
__all__ = ["__version__"]

_register_with_gymnasium()

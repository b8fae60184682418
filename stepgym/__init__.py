"""stepgym: the gym in which reasoning agents learn. Importing it registers the environments, and does nothing else."""

from stepgym.envs.registry import register_all as _register_all

__version__ = "0.1.0"
__all__ = ["__version__"]

_register_all()

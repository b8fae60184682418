"""Editable installs that type checkers and editors can follow; everything else stands in pyproject.toml.

The rooms are top-level folders that `package-dir` maps into the package `stepgym`. For such a mapping setuptools installs an
import hook, which mypy, pyright and editors do not run. An editable install therefore puts the folder `editable` on the
path, whose only entry is a link to `stepgym`, which links to the rooms. Where the checkout has no links (an unpacked
sdist, or Windows without them), the import hook is installed.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel


class LinkedEditable(editable_wheel):
    """The usual editable install, with the packages found through the links."""

    def finalize_options(self) -> None:
        """Choose the path that the editable install adds."""
        if (Path(__file__).parent / "editable" / "stepgym" / "envs").is_dir():
            self.distribution.package_dir = {"": "editable"}
        super().finalize_options()


setup(cmdclass={"editable_wheel": LinkedEditable})

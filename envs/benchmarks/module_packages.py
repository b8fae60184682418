"""Which packages hold the modules that tasks of published data sets import."""

from __future__ import annotations

import sys
from collections.abc import Iterable

PACKAGES = {
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "Levenshtein": "python-Levenshtein",
    "mpl_toolkits": "matplotlib",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Modules that are not called like the package that holds them."""


def packages_of_modules(modules: Iterable[str]) -> list[str]:
    """Return the packages of modules by dotted name, without those of the standard library."""
    tops = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    return sorted({PACKAGES.get(top, top) for top in tops})

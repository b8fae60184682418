"""The syntax tree of a test file, parsed once for everything that reads it during a check."""

import ast
import functools


@functools.lru_cache(maxsize=2)
def parsed(source):
    """Return the syntax tree of tests, which nobody may change; raises what `ast.parse` raises."""
    return ast.parse(source)

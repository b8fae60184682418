"""Whether tests may leave something behind in their process that the tests of another task could notice.

A tester's process runs the tests of many tasks, each with fresh globals. Tests that touch nothing else leave it as it was;
after others it is replaced. The text of the tests decides: a word for something that outlives them is enough. Tests are
trusted, so none builds such a word from pieces.
"""

import ast
import builtins
import functools

from stepgym.envs.coding.harness.syntax import parsed

STATEFUL = frozenset(
    """__builtins__ __dict__ __globals__ __import__ alarm asyncio atexit builtins chdir ctypes delattr environ eval exec
    faulthandler filterwarnings gc getcontext globals importlib locale logging mock modules monkeypatch multiprocessing
    patch putenv register reload resetwarnings resource set_option set_printoptions setattr setcontext seterr setitem
    setitimer setlocale setprofile setswitchinterval settrace signal simplefilter subprocess threading
    tracemalloc tzset umask unsetenv vars""".split()
)


@functools.lru_cache(maxsize=512)
def leaves_no_trace(source):
    """Whether running this source changes nothing in its process but its own globals."""
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # it does not run
    words, imported, changed = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.arg):
            words.add(node.arg)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
            if not isinstance(node.ctx, ast.Load):
                changed.add(_root(node))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            words.update((getattr(node, "module", None) or "").split("."))
            for alias in node.names:
                words.update(alias.name.split("."))
                imported.add((alias.asname or alias.name).partition(".")[0])
    if "seed" in words and "numpy" in words:
        return False
    foreign = {name for name in changed if name in imported or hasattr(builtins, name)}
    return not (words & STATEFUL or foreign or "" in changed)


def _root(node):
    """Return the name that an attribute is reached from, empty if it is no name."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""

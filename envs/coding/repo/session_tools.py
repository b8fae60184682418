"""The tools of a folder's task, as Python functions in the policy's session. Executed there; not imported here.

`run` and `test` work in a child process, so that each call loads the folder's modules anew and cannot harm the session.
At the end of an episode `look` hands over the folder. A session that changed these functions only gives another answer.
"""

import os
import sys
from collections.abc import Callable

ROOT = os.getcwd()


def files() -> None:
    """Print the folder's files with their sizes."""
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(folder, name)[2:]
            print(path, os.lstat(path).st_size)


def read(path: str) -> None:
    """Print a file's text."""
    with open(path, encoding="utf-8") as stream:
        print(stream.read())


def write(path: str, content: str | bytes) -> None:
    """Write a file, text or bytes; folders on the way are made."""
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    data = content if isinstance(content, bytes) else str(content).encode("utf-8")
    with open(path, "wb") as stream:
        stream.write(data)
    print(f"wrote {path}, {len(data)} bytes")


def replace(path: str, old: str, new: str) -> None:
    """Replace the one occurrence of a text in a file."""
    with open(path, encoding="utf-8", newline="") as stream:
        text = stream.read()
    count = text.count(old)
    if count != 1:
        raise ValueError(f"{path} has the text {count} times; it must be there once")
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.write(text.replace(old, new))
    print(f"changed {path}")


def run(path: str, *args: object, stdin: str = "") -> None:
    """Run a Python file of the folder as a program."""

    def action() -> None:
        import io
        import runpy

        sys.argv = [path, *map(str, args)]
        sys.stdin = io.StringIO(stdin)
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        runpy.run_path(path, run_name="__main__")

    _in_child(action)


def test(path: str | None = None) -> None:
    """Run the tests of one file, or of all files `test_*.py` and `*_test.py`: unittest classes and test functions."""

    def action() -> None:
        import importlib.util
        import inspect
        import unittest

        suite = unittest.TestSuite()
        for file in [path] if path else _test_files():
            name = file.removesuffix(".py").replace("/", ".")
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
            for thing, function in vars(module).items():
                if thing.startswith("test") and inspect.isfunction(function):
                    suite.addTest(unittest.FunctionTestCase(function, description=thing))
        result = unittest.TestResult()
        suite.run(result)
        wrong = result.failures + result.errors
        for case, trace in wrong:
            print(f"FAILED {case.shortDescription() or case.id()}\n{_local(trace)}")
        print(f"{result.testsRun} tests, {len(wrong)} failed, {len(result.skipped)} skipped")

    _in_child(action)


def _test_files() -> list[str]:
    found: list[str] = []
    for folder, _, names in os.walk("."):
        found += [
            os.path.join(folder, name)[2:]
            for name in names
            if name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))
        ]
    return sorted(found)


def _local(trace: str) -> str:
    """Return a traceback with the paths of the folder as the policy knows them."""
    return trace.replace(ROOT + os.sep, "")


def _in_child(action: Callable[[], None]) -> None:
    """Do something in a child process that has not loaded the folder's modules."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            print(f"exit status {status}")
        return
    status = 0
    try:
        here = os.getcwd() + os.sep
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(here):
                del sys.modules[name]
        sys.dont_write_bytecode = True
        action()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - the policy's program may fail in any way
        import traceback

        print(_local(traceback.format_exc()))
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)


def look(max_files: int, max_bytes: int) -> None:
    """Print the regular files of the folder as compressed JSON, or what is wrong with them."""
    import base64
    import json
    import stat
    import zlib

    found: dict[str, str] = {}
    size, fault = 0, None
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            if not stat.S_ISREG(about.st_mode) or name.endswith(".pyc"):
                continue
            size += about.st_size
            if size > max_bytes or len(found) >= max_files:
                fault = f"the folder holds more than {max_files} files or {max_bytes} bytes"
                break
            with open(path, "rb") as stream:
                found[os.path.relpath(path, ROOT)] = base64.b64encode(stream.read()).decode()
    text = json.dumps({"fault": fault} if fault else {"files": found})
    print("\n" + base64.b64encode(zlib.compress(text.encode())).decode())

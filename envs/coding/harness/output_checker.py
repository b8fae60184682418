"""Run as a program of its own: compare what programs printed with what is accepted.

Prints a list as JSON: for each case a boolean, or a sentence if the task's own checker does not answer with one.

Reads `{"checker", "tolerance", "source", "cases": [[stdin, stdout, [accepted, ...]], ...]}` as JSON on standard input.
"""

import json
import math
import sys


def tokens(got, accepted, tolerance):
    """Words agree, however they are spaced."""
    return got.split() == accepted.split()


def exact(got, accepted, tolerance):
    """Trailing spaces of lines and trailing line ends do not count."""
    return [line.rstrip() for line in got.rstrip().split("\n")] == [
        line.rstrip() for line in accepted.rstrip().split("\n")
    ]


def floats(got, accepted, tolerance):
    """Words agree, numbers among them within a tolerance."""
    left, right = got.split(), accepted.split()
    return len(left) == len(right) and all(
        map(lambda a, b: a == b or near(a, b, tolerance), left, right)
    )


def near(a, b, tolerance):
    """Whether two words are finite numbers close to each other; an expected integer must be met exactly."""
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    if b.lstrip("+-").isdigit():
        return x == y
    return math.isfinite(x) and math.isfinite(y) and abs(x - y) <= tolerance * max(1.0, abs(y))


def said(answer):
    """Return a checker's answer as a boolean, 0, 1 and numpy's included; for another answer, a sentence about it."""
    if type(answer).__module__ == "numpy" and getattr(answer, "shape", None) == ():
        answer = answer.item()
    if type(answer) is bool or (type(answer) is int and answer in (0, 1)):
        return bool(answer)
    return f"the task's checker answered {repr(answer)[:80]}, not True or False"


def main():
    """Read the task, print the verdicts."""
    task = json.load(sys.stdin)
    if task["source"]:
        names = {"__name__": "checker"}
        exec(task["source"], names)
        verdicts = [
            said(names["check"](stdin, got, accepted)) for stdin, got, accepted in task["cases"]
        ]
    else:
        compare = {"exact": exact, "tokens": tokens, "float": floats}[task["checker"]]
        verdicts = [
            any(compare(got, one, task["tolerance"]) for one in accepted)
            for _, got, accepted in task["cases"]
        ]
    print(json.dumps(verdicts))


main()

"""HumanEval+ and MBPP+ in the shape that EvalPlus publishes (Liu et al. 2023).

Columns: `task_id`, `prompt`, `entry_point`, `canonical_solution`, `base_input`, `plus_input`, `atol`. The candidate is
compared with the canonical solution on both lists of inputs. The hub's copies have `test` instead, a `check` or asserts with
all inputs and results, and MBPP+ has `code`. Some tasks have rules of their own, as in EvalPlus: sets
instead of lists, matches instead of truth, a root instead of the reference's root.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.mbpp import entry_points
from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.coding.code_set import CodeOptions, code_env, code_problem, code_set
from stepgym.envs.coding.styles import pack_inputs
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

HUMANEVAL_PLUS, MBPP_PLUS = "stepgym/HumanEvalPlus-v0", "stepgym/MBPPPlus-v0"
HUBS = {
    HUMANEVAL_PLUS: HubName("evalplus/humanevalplus", "test"),
    MBPP_PLUS: HubName("evalplus/mbppplus", "test"),
}
EXAMPLES = {HUMANEVAL_PLUS: "humaneval_plus", MBPP_PLUS: "mbpp_plus"}
LIMITS = {"cpu_s": 60.0, "wall_s": 90.0, "memory_mib": 2048}
"""For all inputs of a task together; the slowest canonical solution takes 20 s on a slow machine."""
SAME_SET = (
    "similar_elements find_char_long common_in_nested_lists extract_singly larg_nnum intersection_array "
    "find_dissimilar Diff"
).split()
EQUALITY = dict.fromkeys(SAME_SET, "same_set") | {
    "check_str": "same_truth",
    "text_match_three": "same_truth",
    "text_starta_endb": "same_truth",
    "sum_div": "equal_or_zero",
    "find_zero": "is_root",
}
ALTERNATIVES = {
    "surface_Area": """\
def surface_Area(base_edge, height):
    slant = ((base_edge / 2) ** 2 + height**2) ** 0.5
    return round(base_edge**2 + 2 * base_edge * slant)
""",
    "digit_distance_nums": """\
def digit_distance_nums(a, b):
    a, b = str(a), str(b)
    width = max(len(a), len(b))
    return sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(width), b.zfill(width)))
""",
}
"""Readings of two MBPP tasks that differ from the canonical solution and are right as well."""


def _tuples(value: Any) -> Any:
    """Make tuples of all lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _items(value: Any) -> Any:
    """Make tuples of a list's items."""
    return [tuple(item) if isinstance(item, list) else item for item in value]


Read = Callable[[list[Any]], list[Any]]
READERS: dict[Read, str] = {
    lambda args: [tuple(arg) for arg in args]: (
        "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"
    ),
    lambda args: [
        _items(arg) for arg in args
    ]: "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    lambda args: [_items(args[0]), *args[1:]]: "75 413 444 753",
    lambda args: [args[0], tuple(args[1])]: "106 750",
    lambda args: [[set(item) if item else {} for item in args[0]]]: "115",
    lambda args: [float(args[0]), complex(args[1])]: "124",
    lambda args: [tuple(args[0]), *args[1:]]: "250 307 405 446 617 720 763 808",
    lambda args: [tuple(_items(arg)) for arg in args]: "259 278 401 445",
    lambda args: [{key: tuple(row) for key, row in args[0].items()}, *args[1:]]: "722",
    lambda args: [complex(args[0])]: "252",
    lambda args: list(_tuples(args)): "580 615 791",
}
"""How inputs of MBPP tasks, by number, regain the types that JSON cannot write."""
READER_OF = {int(number): read for read, numbers in READERS.items() for number in numbers.split()}


def matches(row: Row) -> bool:
    """Whether a row is of HumanEval+ or MBPP+, as its authors publish the file."""
    return "plus_input" in row.data and "canonical_solution" in row.data


def plus_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    data = row.data
    if "plus_input" not in data:
        return _hub_problem(row, index, name)
    family, _, number = str(data.get("task_id", index)).partition("/")
    inputs = [*(data.get("base_input") or []), *(data["plus_input"] or [])]
    if not all(isinstance(args, list) for args in inputs):
        raise row.error("column 'plus_input' must hold lists of arguments")
    if family == "Mbpp" and int(number) in READER_OF:
        try:
            inputs = [READER_OF[int(number)](args) for args in inputs]
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise row.error(
                f"the inputs of Mbpp/{number} have not the types of EvalPlus: {error}"
            ) from error
    entry_point = row.text("entry_point")
    prompt = row.text("prompt")
    completes = f"def {entry_point}" in prompt
    solution = str(data["canonical_solution"])
    reference = prompt + solution if completes else solution
    tests = {
        "style": "reference",
        "reference": reference,
        "inputs": pack_inputs(inputs),
        "tolerance": float(data.get("atol") or 0),
        "equality": EQUALITY.get(entry_point, "equal"),
        "alternative": ALTERNATIVES.get(entry_point),
    }
    return code_problem(
        row,
        id=f"{name}/{number or family}",
        index=index,
        question=prompt,
        tests=tests,
        reference=reference,
        entry_point=entry_point,
        prompt=prompt if completes else "",
        limits=LIMITS,
    )


def _hub_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row of the hub, which has the tests as source."""
    data, test, prompt = row.data, row.text("test"), row.text("prompt")
    id = f"{name}/{str(data.get('task_id', index)).rpartition('/')[2]}"
    if "canonical_solution" in data:
        return code_problem(
            row,
            id=id,
            index=index,
            question=prompt,
            tests={"style": "check", "source": test},
            reference=prompt + row.text("canonical_solution"),
            entry_point=row.text("entry_point"),
            prompt=prompt,
            limits=LIMITS,
        )
    code = row.text("code")
    setup = list(data.get("test_imports") or [])
    shown = "\n".join(data.get("test_list") or [])
    source = "\n".join([*setup, test])
    return code_problem(
        row,
        id=id,
        index=index,
        question=f"{prompt}\nThe code must pass these tests:\n{shown}",
        tests={"style": "asserts", "source": source, "names": entry_points(code, source)},
        reference=code,
        prompt="\n".join(setup),
        limits=LIMITS,
    )


def _make(name: str, file: str | Path | None, options: CodeOptions) -> ReasoningEnv:
    rows = benchmark_rows(file, HUBS[name], EXAMPLES[name])
    return code_env(code_set(name, rows, plus_problem), **options)


def make_humaneval_plus(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/HumanEvalPlus-v0` from `HumanEvalPlus.jsonl.gz` of EvalPlus."""
    return _make(HUMANEVAL_PLUS, file, options)


def make_mbpp_plus(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/MBPPPlus-v0` from `MbppPlus.jsonl.gz` of EvalPlus."""
    return _make(MBPP_PLUS, file, options)

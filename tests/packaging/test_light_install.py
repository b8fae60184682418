"""Environments, verification, sandboxes, search with small policies and the command line work without torch."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "openai", "pyarrow", "matplotlib", "fastapi"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocked())

import gymnasium
import stepgym
from click.testing import CliRunner
from stepgym.agents import solve
from stepgym.cli import main
from stepgym.envs.coding import grade
from stepgym.envs.maths.verify import verify_answer
from stepgym.sandbox import open_sandbox

env = gymnasium.make("stepgym/Countdown-v0")
env.reset(seed=1)
env.step("1 + 1")
assert verify_answer("\\\\frac{1}{2}", reference="0.5").correct
with open_sandbox("local") as sandbox:
    tests = "def check(f):\\n    assert f(2) == 4\\n"
    [verdict] = grade(["def f(x):\\n    return 2 * x"], tests=[tests], entry_points=["f"], sandbox=sandbox)
    assert verdict.correct
[record] = solve("stepgym/Countdown-v0", agent="mcts", policy="random", reward_model="random")
assert record.nodes
for command in [[], *([name] for name in main.list_commands(None))]:
    done = CliRunner().invoke(main, [*command, "--help"])
    assert done.exit_code == 0, (command, done.output, done.exception)
done = CliRunner().invoke(main, ["solve", "--env", "Words-v0", "--policy", "embedded"])
assert done.exit_code != 0 and "torch is not installed" in done.output, done.output
print("all of it works")
"""


def test_a_process_without_torch_plays_verifies_and_shows_help() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120
    )
    assert "all of it works" in done.stdout, done.stdout + done.stderr


def test_importing_the_package_loads_less_than_a_dozen_modules_of_its_own() -> None:
    """Import time follows from what is imported; a time measured here would measure how busy the machine is.

    With these modules alone `python -X importtime -c "import stepgym"` shows 25 ms on an idle core.
    """
    script = (
        "import sys; before = set(sys.modules); import stepgym; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    modules = done.stdout.split()
    foreign = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"stepgym"}
    assert not foreign, f"import stepgym loads other packages: {sorted(foreign)}"
    own = sorted(name for name in modules if name.startswith("stepgym"))
    assert len(own) < 12, f"import stepgym loads {own}"

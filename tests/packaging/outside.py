"""What a user does first, run by the Python of a clean environment in a folder that is no checkout.

`python -I outside.py` uses environments, verification, the sandbox and search without torch; with the word `full` it also plays
the embedded policy, records a run and writes its page.
"""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import gymnasium

import stepgym
from stepgym.agents import solve
from stepgym.envs.coding import grade
from stepgym.envs.maths.verify import verify_answer
from stepgym.envs.registry import load_env
from stepgym.sandbox import open_sandbox

assert Path(stepgym.__file__).is_relative_to(sysconfig.get_path("purelib")), stepgym.__file__
env = gymnasium.make("stepgym/Countdown-v0")
env.reset(seed=1)
env.step("1 + 1")
assert verify_answer(r"\frac{1}{2}", reference="0.5").correct
assert verify_answer("x + x", reference="2x").correct
with open_sandbox("local") as sandbox:
    tests = "def check(f):\n    assert f(2) == 4\n"
    [verdict] = grade(
        ["def f(x):\n    return 2 * x"], tests=[tests], entry_points=["f"], sandbox=sandbox
    )
    assert verdict.correct, verdict
for name in ("GSM8K-v0", "MBPP-v0", "Repo-v0", "Code-v0", "Math-v0"):  # these read data files
    assert load_env(name).problems[0].prompt, name
[record] = solve(
    "stepgym/Countdown-v0", agent="mcts", policy="random", reward_model="random", episodes=1
)
assert record.nodes


def command(*words: str) -> str:
    """Run a command of the installed script and return what it printed."""
    script = Path(sysconfig.get_path("scripts")) / "stepgym"
    done = subprocess.run([str(script), *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


assert "Countdown-v0" in command("envs")
if "full" in sys.argv:
    with tempfile.TemporaryDirectory() as folder:
        run, page = f"{folder}/run", Path(folder) / "page.html"
        play = ["--agent", "best_of_n", "--reward-model", "embedded", "--episodes", "4"]
        command("selfplay", "--env", "Countdown-v0", *play, "--out", run)
        command("view", run, "--out", str(page))
        assert "<html" in page.read_text(encoding="utf-8")
        command("verify", run)
        command("export", run, "--format", "sft", "--out", f"{folder}/rows.jsonl")
print("outside the checkout: all of it works on Python", sys.version.split()[0])

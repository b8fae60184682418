"""The policy-and-value network: an embedded policy with a second, small head that scores positions (AlphaZero, Silver et
al. 2018, doi:10.1126/science.aar6404).

The head's weights are in a file of their own beside the policy's, which transformers loads as before. Policy and
reward model of one folder are one set of weights but two readings: a position is read when it is scored and again when
steps are proposed from it, and both are charged, as two networks would be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stepgym.agents.embedded import net

HEAD = "value_head.safetensors"


class PolicyValueNet(nn.Module):
    """A policy and one linear layer on its hidden state where a reading ends; `net.position_logits` reads it as a reward model."""

    def __init__(self, policy: Any) -> None:
        """Begin with a head of zeros, which says 0.5 of every position."""
        super().__init__()
        self.policy = policy
        self.score = nn.Linear(policy.config.hidden_size, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    @property
    def model(self) -> Any:
        """The transformer without heads."""
        return self.policy.model

    @property
    def config(self) -> Any:
        return self.policy.config


def save(model: PolicyValueNet, folder: Path) -> None:
    """Write the policy as `net.save` does, then the head; each file is whole, the one before or this one."""
    net.save(model.policy, folder)
    part = folder / (HEAD + ".part")
    save_file(
        {name: weight.detach().contiguous() for name, weight in model.score.state_dict().items()},
        part,
    )
    net.put(part, folder / HEAD)


def load(folder: Path) -> PolicyValueNet:
    """Load a policy with the head beside it, or with a fresh one where there is none. Raises `CheckpointError`."""
    model = PolicyValueNet(net.load(net.POLICY, folder))
    file = folder / HEAD
    if file.is_file():
        try:
            model.score.load_state_dict(load_file(file))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise net.CheckpointError(
                f"{file} is cut short or no value head of this policy ({error}); delete it to start with a fresh one"
            ) from error
    return model.eval()


def load_scorer(folder: Path) -> Any:
    """Load what scores positions: a `prm`, or a policy that has a value head. Raises `CheckpointError`."""
    return load(folder) if (folder / HEAD).is_file() else net.load(net.PRM, folder)

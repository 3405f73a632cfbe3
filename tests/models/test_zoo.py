from __future__ import annotations

import pytest
import torch

from models import zoo


def test_a_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first = zoo.create("resnet18", seed=7).state_dict()
    second = zoo.create("resnet18", seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = zoo.create("resnet18", seed=8).state_dict()
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown architecture 'resnet19'"):
        zoo.create("resnet19")

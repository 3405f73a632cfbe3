"""Which tests run when: what is slow is left out, and said to be, unless everything is asked for."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project.conftest import environment, run

TESTS = """
import pytest

def test_quick(): pass

@pytest.mark.slow
def test_long(): pass

@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_long_in_one_case(n): pass
"""


@pytest.mark.parametrize(
    ("arguments", "variables", "passed", "left_out"),
    [
        ("", {}, 2, 2),
        ("-k long", {}, 1, 2),
        ("--slow", {}, 4, 0),
        ("", {"RESNET_TEST_REQUIRE_ALL": "1"}, 4, 0),
        ("test_some.py", {}, 4, 0),
        ("test_some.py::test_long", {}, 1, 0),
    ],
)
def test_slow_tests_run_where_they_are_asked_for_and_else_are_counted(
    arguments: str, variables: dict[str, str], passed: int, left_out: int, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    command = f"{sys.executable} -m pytest -q --strict-markers -p no:cacheprovider -c /dev/null --rootdir . {arguments}"
    # No plugin makes a difference here, and loading them all takes longer than the rest.
    result = run(command, tmp_path, env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **variables))
    assert result.returncode == 0, result.stdout
    assert f"{passed} passed" in result.stdout.splitlines()[-1]
    assert re.findall(r"^SLOW \[(\d+)\] left out", result.stdout, re.MULTILINE) == ([str(left_out)] if left_out else [])

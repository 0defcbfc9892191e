import os

import pytest

from findings import cores


def test_there_are_as_many_as_the_affinity_allows():
    allowed = os.sched_getaffinity(0)
    assert 1 <= cores.available() <= len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.available() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("torn", None), ("", None)],
)
def test_a_containers_limit_counts(tmp_path, text, expected):
    (tmp_path / "cpu.max").write_text(text)
    assert cores.quota(tmp_path / "cpu.max") == expected


def test_without_a_control_group_there_is_no_limit(tmp_path):
    assert cores.quota(tmp_path / "nothing") is None

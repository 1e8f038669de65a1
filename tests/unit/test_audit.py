"""What is said of pinned packages that were looked up among known vulnerabilities."""

from devtools.audit import judged

SOUND = {"name": "six", "version": "1.17.0", "vulns": []}
UNKNOWN = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}
FLAWED = {"name": "django", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]}


def test_what_has_no_known_flaw_passes() -> None:
    """All of it was looked up, and nothing found."""
    assert judged([SOUND]) == (["1 packages audited"], 0)


def test_a_known_flaw_fails() -> None:
    """It is named with the releases that do not have it."""
    lines, status = judged([SOUND, FLAWED])

    assert status == 1
    assert lines == ["django 1.0 has PYSEC-1, mended in: 1.1, 2.0", "2 packages audited"]


def test_what_could_not_be_looked_up_is_said() -> None:
    """It is no failure, and is not passed over either."""
    assert judged([UNKNOWN]) == (["1 of 1 packages not audited: the index knows nothing of them"], 0)
    assert judged([UNKNOWN, FLAWED])[1] == 1

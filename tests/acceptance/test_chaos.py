"""The fault suite in short; ``make chaos`` runs it for ten minutes."""

from pathlib import Path

import pytest

from tests.chaos.engine import Run
from tests.chaos.plan import Plan

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "plan",
    [
        Plan(seed=1, seconds=8.0),
        Plan(seed=2, seconds=8.0, one_name=True),
        Plan(seed=3, seconds=8.0, losses=8.0),
    ],
    ids=["two names", "one name", "with losses"],
)
def test_under_random_faults_every_event_is_accounted_for(tmp_path: Path, plan: Plan) -> None:
    """Two pools of a group, all kinds of faults: each event is handled, dead or in the ledger, and few are repeated."""
    result = Run(plan, tmp_path).play()

    assert result.wrong == []
    assert result.faults.total() > 5
    assert len(result.books.handled) > 100

from __future__ import annotations

from tests.waiting import wait_until
from utils.training.database import open_database
from utils.training.job_queue import JobManager


def changes(manager, count, cursor=None, **options):
    """A page of so many changes, once no older transaction (of the server too) holds them back."""

    def look():
        page = manager.changes(cursor, **options)
        return len(page.items) >= count and page

    return wait_until(look)


def test_all_jobs_changes_are_followed_by_a_cursor(manager):
    first, second = (manager.submit_job("training", {}) for _ in range(2))
    page = changes(manager, 2)
    assert [event.job_id for event in page.items] == [first, second]
    nothing = manager.changes(page.next_cursor)
    assert (nothing.items, nothing.next_cursor) == ((), page.next_cursor)
    manager.claim_job("w")
    manager.cancel(second)
    seen = changes(manager, 1, page.next_cursor, limit=1)
    assert [(event.job_id, str(event.to_status)) for event in seen.items] == [(first, "claimed")]
    rest = changes(manager, 1, seen.next_cursor)
    assert [(event.job_id, str(event.to_status)) for event in rest.items] == [(second, "cancelled")]


def test_a_change_that_commits_late_is_not_left_out(postgres_url):
    manager = JobManager(postgres_url)
    early, late = (manager.submit_job("training", {}) for _ in range(2))
    cursor = changes(manager, 2).next_cursor
    engine = open_database(postgres_url)
    with engine.begin() as slow:
        # Its event has an id now, and is seen by nobody before the block ends.
        slow.exec_driver_sql(f"UPDATE job SET status = 'cancelled' WHERE id = {early}")
        manager.cancel(late)
        before = manager.changes(cursor)
    after = changes(manager, 2 - len(before.items), before.next_cursor)
    assert sorted(event.job_id for event in before.items + after.items) == [early, late]


def test_a_change_made_by_hand_is_recorded_too(manager, database_url):
    job_id = manager.submit_job("training", {})
    with open_database(database_url).begin() as connection:
        connection.exec_driver_sql(
            "UPDATE job SET status = 'cancelled', status_reason = 'by hand', status_actor = 'ann'"
        )
    last = manager.events(job_id)[-1]
    assert (str(last.from_status), str(last.to_status)) == ("pending", "cancelled")
    assert (last.reason, last.actor) == ("by hand", "ann")

"""A hot item that expires under full load is loaded once, by one of all workers."""
import os

SECONDS = min(10, float(os.environ.get("FAULT_SECONDS", 4)))
TTL = 1
LOADED_WITHIN = "40"  # ms; others wait for it for about twice that
CALM = {"HOB_CACHE_TTL": f"{TTL}s", "HOB_CACHE_TIMEOUT": "500ms", "ITEMS_PAUSE": LOADED_WITHIN}


def loads(operations):
    """When each load began, in s."""
    return sorted(o.begin / 1e9 for o in operations if o.kind == "load")


def test_one_load_a_period(service_of, history_of):
    service = service_of("history", workers=4, **CALM)
    operations, _ = history_of(service, SECONDS, items=1, threads=24)
    begun = loads(operations)
    workers = {o.worker for o in operations}
    print(f"{len(operations)} reads by {len(workers)} workers, {len(begun)} loads")
    assert all(o.status == 200 for o in operations) and len(workers) == 4
    assert len(operations) > 100 * len(begun)
    assert SECONDS / TTL - 1 <= len(begun) <= SECONDS / TTL + 2, begun


def test_finds_a_stampede(service_of, history_of):
    service = service_of("naive_set_after_read", workers=4, **CALM)
    operations, _ = history_of(service, 2, items=1, threads=24)
    assert len(loads(operations)) > 10 * 2 / TTL

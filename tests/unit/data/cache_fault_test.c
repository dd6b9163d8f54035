/* What the cache promises when a server is frozen, killed, restarted, or not there. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>

#include "cache_fixture.h"

#define AT_ONCE (TIMEOUT / 2) /* without having waited for a server, on a busy machine too */

/* A task beside the cache's, to show that the loop turns. */
typedef struct ticker {
    actor actor;
    bool stop;
    int64_t longest; /* between two ticks of 1 ms */
    int ticks;
} ticker;

static void tick(actor *a) {
    ticker *t = (ticker *)a;
    for (int64_t last = hob__clock_ns(), now; !t->stop; last = now) {
        (void)hob__task_park(&a->task, hob__loop_now(loop) + HOB_MS);
        now = hob__clock_ns();
        t->longest = now - last > t->longest ? now - last : t->longest;
        t->ticks++;
    }
}

static void keep(hob_cache *of, const char *key, const char *value) {
    hob_cache_lease lease;
    assert_int_equal(get_by(of, key, &lease, NULL), HOB_CACHE_FILL);
    fill_by(of, key, lease, value);
}

static void a_frozen_server_is_soon_left_alone(void **state) {
    (void)state;
    ticker t = {.stop = false};
    keep(cache, "a", "kept");
    start(&t.actor, tick, NULL, "");
    server_freeze(&servers[0]);
    int waited = 0;
    for (int i = 0; i < 20; i++) {
        actor a;
        start(&a, do_get, cache, "a");
        finish(&a);
        assert_int_equal(a.result, HOB_CACHE_LOAD);
        assert_int_equal(a.lease.id, 0);
        waited += a.took > AT_ONCE;
    }
    assert_in_range(waited, 1, HOB_CACHE_FAILURES + 1);
    assert_false(hob__cache_up(cache));
    assert_int_equal(cache->counters.failures, HOB_CACHE_FAILURES);
    assert_true(cache->counters.skipped >= 16);
    t.stop = true;
    finish(&t.actor);
    assert_true(t.ticks > 50);
    assert_true(t.longest < TIMEOUT); /* a poll that blocked would have taken all of it */

    server_thaw(&servers[0]);
    await_up(cache, true); /* nobody asks: the service probes by itself */
    get_by(cache, "a", NULL, "kept");
}

/* Those that wait in one turn wait together, and a probe makes nobody wait. */
static void a_frozen_server_costs_a_crowd_one_timeout(void **state) {
    (void)state;
    enum { N = 300 };
    static actor readers[N];
    server_freeze(&servers[0]);
    for (int round = 0; round < HOB_CACHE_FAILURES; round++) {
        for (int i = 0; i < N; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            start(&readers[i], do_get, cache, key);
        }
        for (int i = 0; i < N; i++) {
            finish(&readers[i]);
            assert_int_equal(readers[i].result, HOB_CACHE_LOAD);
            assert_true(readers[i].took < 3 * TIMEOUT);
        }
    }
    await_up(cache, false);
    int64_t end = hob__clock_ns() + 3 * HOB_S; /* a probe or two fall into it */
    while (hob__clock_ns() < end) {
        actor a;
        start(&a, do_get, cache, "a");
        finish(&a);
        assert_true(a.took < AT_ONCE);
        turn_for(20 * HOB_MS);
    }
    assert_true(cache->counters.failures > HOB_CACHE_FAILURES);
}

static void tasks_go_while_the_server_is_frozen(void **state) {
    (void)state;
    actor late, cancelled;
    server_freeze(&servers[0]);
    start(&late, do_get, cache, "a");
    late.task.deadline = hob__clock_ns() + 10 * HOB_MS;
    start(&cancelled, do_get, cache, "a");
    hob__loop_turn(loop, HOB_MS);
    hob__task_cancel(&cancelled.task);
    finish(&cancelled);
    finish(&late);
    assert_int_equal(cancelled.result, HOB_CACHE_GONE);
    assert_int_equal(late.result, HOB_CACHE_GONE);
}

/* The number of the CAS starts anew too: what counts is the id in the placeholder. */
static void a_restart_between_lease_and_fill_voids_the_fill(void **state) {
    (void)state;
    hob_cache *other = cache_on(servers[0].path);
    hob_cache_lease mine, theirs;
    await_up(other, true);
    assert_int_equal(get_by(cache, "a", &mine, NULL), HOB_CACHE_FILL);
    server_kill(&servers[0]);
    server_start(&servers[0]);
    assert_int_equal(get_by(other, "a", &theirs, NULL), HOB_CACHE_FILL);
    fill_by(cache, "a", mine, "stale");
    assert_int_equal(cache->counters.voided, 1);
    assert_int_equal(cache->counters.fills, 0);
    fill_by(other, "a", theirs, "fresh");
    get_by(cache, "a", NULL, "fresh");
    hob__cache_free(other);
}

/* The connections are dead, which costs one call each; it is made again, so nobody notices. */
static void a_restart_is_not_noticed(void **state) {
    (void)state;
    keep(cache, "a", "old");
    server_kill(&servers[0]);
    server_start(&servers[0]);
    keep(cache, "a", "new");
    get_by(cache, "a", NULL, "new");
    server_kill(&servers[0]);
    server_start(&servers[0]);
    assert_true(tombstone_by(cache, "a"));
    delete_by(cache, "a");
    assert_int_equal(cache->counters.failures + cache->counters.skipped, 0);
}

static void a_server_that_is_absent_at_the_start(void **state) {
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "%s", servers[1].path);
    hob_cache *early = cache_on(path);
    assert_int_equal(get_by(early, "a", NULL, NULL), HOB_CACHE_LOAD);
    for (int i = 0; i < 10; i++) {
        actor a;
        start(&a, do_get, early, "a");
        finish(&a);
        assert_int_equal(a.result, HOB_CACHE_LOAD);
        assert_true(a.took < AT_ONCE);
    }
    assert_false(tombstone_by(early, "a"));
    assert_false(hob__cache_up(early));
    server_start(&servers[1]);
    await_up(early, true);
    await_count(&early->counters.tombstones, 2); /* they were owed */
    delete_by(early, "a");
    keep(early, "a", "found");
    get_by(early, "a", NULL, "found");
    hob__cache_free(early);
}

/* The server reads but cannot be written to, as far as this worker knows. */
static void cut_writes(void) {
    cache->servers[0].links[HOB_CACHE_WRITES].breaker = (hob_cache_breaker){.pause = HOB_S, .probe_at = HOB_FOREVER};
}

static void mend_writes(void) {
    cache->servers[0].links[HOB_CACHE_WRITES].breaker = (hob_cache_breaker){0};
    hob__cache_wake(&cache->servers[0].services[HOB_CACHE_WRITES]);
}

/* A placeholder that cannot be filled would only make the others wait for it. */
static void no_lease_while_nothing_can_be_written(void **state) {
    (void)state;
    cut_writes();
    for (int i = 0; i < 3; i++) {
        actor a;
        start(&a, do_get, cache, "a");
        finish(&a);
        assert_int_equal(a.result, HOB_CACHE_LOAD);
        assert_true(a.took < AT_ONCE);
    }
    mend_writes();
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
}

/* A write whose tombstone or delete does not get through must not be followed by a read of the old value. */
static void what_is_owed_is_not_read(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        keep(cache, "a", "old");
        cut_writes();
        if (i == 0)
            assert_false(tombstone_by(cache, "a"));
        else
            delete_by(cache, "a");
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
        assert_false(hob__cache_up(cache));
        mend_writes();
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
        await_up(cache, true);
        assert_int_equal(cache->counters.tombstones, 2); /* the value's and the generation's */
        assert_int_equal(cache->counters.deletes, 2 * i);
        hob_cache_lease lease;
        assert_int_equal(get_by(cache, "a", &lease, NULL), i == 0 ? HOB_CACHE_LOAD : HOB_CACHE_FILL);
        if (i == 0)
            delete_by(cache, "a");
        cache->counters.deletes = 0;
    }
}

/* The frozen server still has all that was sent to it, and works it off when it thaws. */
static void a_frozen_server_is_invalidated_when_it_thaws(void **state) {
    (void)state;
    keep(cache, "a", "old");
    keep(cache, "b", "untouched");
    server_freeze(&servers[0]);
    assert_false(tombstone_by(cache, "a"));
    delete_by(cache, "a");
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
    server_thaw(&servers[0]);
    int64_t end = hob__clock_ns() + PATIENCE;
    hob_cache_result result;
    hob_cache_lease lease;
    while ((result = get_by(cache, "a", &lease, NULL)) == HOB_CACHE_LOAD) {
        turn_for(5 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
    assert_int_equal(result, HOB_CACHE_FILL); /* never the old one */
    assert_true(cache->counters.deletes >= 1);
    get_by(cache, "b", NULL, "untouched");
}

/* A fill that was on its way when the delete failed carries the old value. */
static void a_fill_behind_an_owed_delete_is_dropped(void **state) {
    (void)state;
    hob_cache_lease lease;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    cut_writes();
    delete_by(cache, "a");
    mend_writes();
    hob__cache_fill(cache, HOB_TEXT("a"), lease, HOB_TEXT("old"), TTL);
    await_count(&cache->counters.deletes, 2);
    turn_for(20 * HOB_MS);
    assert_int_equal(cache->counters.fills, 0);
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
}

static void delete_too_often(actor *a) {
    for (int i = 0; i < HOB_CACHE_OWED_MAX / 2 + 10; i++)
        do_delete(a);
}

static void more_than_can_be_owed_flushes_the_server(void **state) {
    (void)state;
    actor a;
    keep(cache, "b", "not even written to");
    server_freeze(&servers[0]);
    start(&a, delete_too_often, cache, "a");
    finish(&a);
    assert_in_range(cache->servers[0].owed_count, 1, 40);
    assert_int_equal(get_by(cache, "b", NULL, NULL), HOB_CACHE_LOAD);
    server_thaw(&servers[0]);
    await_up(cache, true);
    assert_int_equal(cache->counters.flushes, 1);
    assert_int_equal(get_by(cache, "b", NULL, NULL), HOB_CACHE_FILL);
}

/* ---- Several workers of one service ---- */

static hob_cache_shared shared;

/* A second worker beside `cache`, which gets slot 0. */
static hob_cache *become_two(void) {
    memset(&shared, 0, sizeof shared);
    hob__cache_free(cache);
    cache = worker_on(servers[0].path, &shared, 0);
    hob_cache *other = worker_on(servers[0].path, &shared, 1);
    await_up(cache, true);
    await_up(other, true);
    return other;
}

static void await_fill(hob_cache *of, const char *key) {
    int64_t end = hob__clock_ns() + PATIENCE;
    hob_cache_result result;
    while ((result = get_by(of, key, NULL, NULL)) == HOB_CACHE_LOAD) {
        turn_for(5 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
    assert_int_equal(result, HOB_CACHE_FILL);
}

static void what_one_worker_owes_nobody_reads(void **state) {
    (void)state;
    hob_cache *other = become_two();
    keep(cache, "a", "old");
    get_by(other, "a", NULL, "old");
    cut_writes();
    assert_false(tombstone_by(cache, "a"));
    assert_int_equal(get_by(other, "a", NULL, NULL), HOB_CACHE_LOAD);
    assert_false(hob__cache_up(other));
    delete_by(cache, "a");
    assert_int_equal(get_by(other, "a", NULL, NULL), HOB_CACHE_LOAD);
    mend_writes();
    await_fill(other, "a");
    assert_int_equal(cache->counters.flushes + other->counters.flushes, 0);
    hob__cache_free(other);
}

/* The answer was under way when somebody failed to invalidate it. */
static void a_hit_that_became_doubtful_is_none(void **state) {
    (void)state;
    actor a;
    hob_cache *other = become_two();
    keep(cache, "a", "old");
    server_freeze(&servers[0]);
    start(&a, do_get, other, "a");
    for (int i = 0; i < 3; i++)
        hob__loop_turn(loop, HOB_MS);
    hob__cache_debts_enter(cache->servers[0].debts, 0);
    server_thaw(&servers[0]);
    finish(&a);
    assert_int_equal(a.result, HOB_CACHE_LOAD);
    assert_int_equal(other->counters.failures, 0);
    hob__cache_debts_clear(cache->servers[0].debts, 0);
    get_by(other, "a", NULL, "old");
    hob__cache_free(other);
}

/* The one who writes could not wait for the tombstone; the write may be committed all the same. */
static void a_writer_that_goes_leaves_a_debt(void **state) {
    (void)state;
    actor a;
    hob_cache *other = become_two();
    keep(cache, "a", "old");
    server_freeze(&servers[0]);
    start(&a, do_tombstone, cache, "a");
    hob__loop_turn(loop, HOB_MS);
    hob__task_cancel(&a.task);
    finish(&a);
    assert_int_equal(a.result, HOB_CACHE_LOAD);
    assert_true(hob__cache_debts_any(other->servers[0].debts));
    server_thaw(&servers[0]);
    await_count(&cache->counters.tombstones, 2);
    delete_as(cache, "a", 0);
    int64_t end = hob__clock_ns() + PATIENCE;
    while (hob__cache_debts_any(other->servers[0].debts)) {
        hob__loop_turn(loop, HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
    hob__cache_free(other);
}

static void what_a_dead_worker_owed_is_flushed_once(void **state) {
    (void)state;
    hob_cache *other = become_two();
    hob_cache_debts *debts = cache->servers[0].debts;
    keep(cache, "a", "perhaps stale");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        hob__cache_shared_claim(&shared, 5, getpid());
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    hob__cache_shared_claim(&shared, 5, pid); /* memory of the test's own: say it for him */
    hob__cache_debts_enter(debts, 5);
    assert_int_equal(get_by(other, "a", NULL, NULL), HOB_CACHE_LOAD);
    await_fill(cache, "a");
    assert_int_equal(cache->counters.flushes + other->counters.flushes, 1);
    turn_for(20 * HOB_MS);
    keep(cache, "a", "new");
    get_by(other, "a", NULL, "new");
    hob__cache_free(other);
}

static void what_a_stopped_worker_owed_is_flushed_by_the_next(void **state) {
    (void)state;
    hob_cache *other = become_two();
    keep(cache, "a", "old");
    cut_writes();
    assert_false(tombstone_by(cache, "a"));
    hob__cache_free(cache);
    cache = NULL;
    hob__cache_free(other);
    cache = worker_on(servers[0].path, &shared, 3);
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
    await_fill(cache, "a");
    assert_int_equal(cache->counters.flushes, 1);
}

static void freeing_with_a_frozen_server(void **state) {
    (void)state;
    hob_cache_lease lease;
    get_by(cache, "a", &lease, NULL);
    server_freeze(&servers[0]);
    for (int i = 0; i < 100; i++)
        hob__cache_fill(cache, HOB_TEXT("a"), lease, HOB_TEXT("x"), TTL);
    delete_by(cache, "a");
    turn_for(5 * HOB_MS);
    int64_t began = hob__clock_ns();
    hob__cache_free(cache);
    cache = NULL;
    assert_true(hob__clock_ns() - began < 2 * HOB_S);
}

/* ---- Several servers ---- */

static size_t get_all(hob_cache *of, hob_cache_result wanted, const hob_cache_server *at) {
    size_t count = 0;
    for (int i = 0; i < 100; i++) {
        char key[16], whole[32];
        snprintf(key, sizeof key, "k%d", i);
        hob_text text = {whole, (size_t)snprintf(whole, sizeof whole, "test:%s", key)};
        if (hob__cache_server_of(of, text) != at)
            continue;
        count++;
        assert_int_equal(get_by(of, key, NULL, NULL), wanted);
    }
    return count;
}

static void a_dead_server_takes_only_its_own_keys_away(void **state) {
    (void)state;
    char list[200];
    server_start(&servers[1]);
    snprintf(list, sizeof list, "%s,%s", servers[0].path, servers[1].path);
    hob_cache *both = cache_on(list);
    await_up(both, true);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        keep(both, key, "value");
    }
    assert_in_range(get_all(both, HOB_CACHE_HIT, &both->servers[0]), 20, 80);
    server_freeze(&servers[1]);
    for (int i = 0; i < 2; i++) {
        (void)get_all(both, HOB_CACHE_LOAD, &both->servers[1]);
        (void)get_all(both, HOB_CACHE_HIT, &both->servers[0]);
    }
    assert_true(hob__cache_up(both));
    hob__cache_free(both);
}

/* One batch asks both, and the frozen one does not keep the other's answers from those who wait for them. */
static void a_batch_over_two_servers(void **state) {
    (void)state;
    enum { N = 60 };
    static actor readers[N];
    char list[200];
    server_start(&servers[1]);
    snprintf(list, sizeof list, "%s,%s", servers[0].path, servers[1].path);
    hob_cache *both = cache_on(list);
    await_up(both, true);
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        keep(both, key, "value");
    }
    for (int round = 0; round < 2; round++) {
        uint64_t before = both->counters.multigets;
        for (int i = 0; i < N; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            start(&readers[i], do_get, both, key);
        }
        int hits = 0;
        for (int i = 0; i < N; i++) {
            finish(&readers[i]);
            hits += readers[i].result == HOB_CACHE_HIT;
        }
        assert_int_equal(both->counters.multigets, before + 2);
        assert_in_range(hits, round == 0 ? N : 10, round == 0 ? N : N - 10);
        server_freeze(&servers[1]);
    }
    hob__cache_free(both);
}

/* ---- Names ---- */

static in_port_t free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void a_server_by_name(void **state) {
    (void)state;
    char list[64], port[8];
    snprintf(port, sizeof port, "%d", free_port());
    snprintf(list, sizeof list, "localhost:%s", port);
    server_run(&servers[1], "-l", "127.0.0.1", "-p", port); /* whatever else the name stands for */
    hob_cache *named = cache_on(list);
    assert_int_equal(get_by(named, "a", NULL, NULL), HOB_CACHE_LOAD); /* not found yet */
    await_up(named, true);
    keep(named, "a", "by name");
    get_by(named, "a", NULL, "by name");
    hob__cache_free(named);
}

static hob_cache *named_on(const char *const *addresses, size_t count) {
    char list[64], port[8];
    snprintf(port, sizeof port, "%d", free_port());
    snprintf(list, sizeof list, "localhost:%s", port);
    server_run(&servers[1], "-l", "127.0.0.1", "-p", port);
    hob_cache *named = cache_on(list);
    hob_cache_server *server = &named->servers[0];
    await_up(named, true);
    snprintf(server->host, sizeof server->host, "no-such-host.invalid"); /* what it stands for is said here */
    server->addresses.count = count;
    for (size_t i = 0; i < count; i++)
        snprintf(server->addresses.text[i], sizeof server->addresses.text[i], "%s", addresses[i]);
    server->address_at = 0;
    server->settled = false;
    snprintf(server->address, sizeof server->address, "%s", addresses[0]);
    server->generation++;
    for (size_t use = 0; use < HOB_CACHE_LINKS; use++) {
        server->links[use].answered = false;
        hob__cache_wake(&server->services[use]);
    }
    return named;
}

/* Where the name stands for several addresses, and the server listens on one of them. */
static void addresses_are_tried_in_turn(void **state) {
    (void)state;
    const char *const addresses[] = {"127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.4"};
    hob_cache *named = named_on(addresses, 4);
    turn_until(&named->servers[0].settled);
    await_up(named, true);
    assert_string_equal(named->servers[0].address, "127.0.0.1");
    keep(named, "a", "found");
    get_by(named, "a", NULL, "found");
    hob__cache_free(named);
}

static void a_name_that_nobody_knows(void **state) {
    (void)state;
    hob_cache *nowhere = cache_on("no-such-host.invalid:11211");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(get_by(nowhere, "a", NULL, NULL), HOB_CACHE_LOAD);
        turn_for(5 * HOB_MS);
    }
    assert_false(hob__cache_up(nowhere));
    hob__cache_free(nowhere);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_frozen_server_is_soon_left_alone),
        TEST(a_frozen_server_costs_a_crowd_one_timeout),
        TEST(tasks_go_while_the_server_is_frozen),
        TEST(a_restart_between_lease_and_fill_voids_the_fill),
        TEST(a_restart_is_not_noticed),
        TEST(a_server_that_is_absent_at_the_start),
        TEST(no_lease_while_nothing_can_be_written),
        TEST(what_is_owed_is_not_read),
        TEST(a_frozen_server_is_invalidated_when_it_thaws),
        TEST(a_fill_behind_an_owed_delete_is_dropped),
        TEST(more_than_can_be_owed_flushes_the_server),
        TEST(what_one_worker_owes_nobody_reads),
        TEST(a_hit_that_became_doubtful_is_none),
        TEST(a_writer_that_goes_leaves_a_debt),
        TEST(what_a_dead_worker_owed_is_flushed_once),
        TEST(what_a_stopped_worker_owed_is_flushed_by_the_next),
        TEST(freeing_with_a_frozen_server),
        TEST(a_dead_server_takes_only_its_own_keys_away),
        TEST(a_batch_over_two_servers),
        TEST(a_server_by_name),
        TEST(addresses_are_tried_in_turn),
        TEST(a_name_that_nobody_knows),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}

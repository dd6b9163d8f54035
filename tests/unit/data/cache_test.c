/* What the cache promises while its server is well. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_fixture.h"

static void miss_fill_hit(void **state) {
    (void)state;
    hob_cache_lease lease;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "a", lease, "{\"id\":1}");
    get_by(cache, "a", NULL, "{\"id\":1}");
    hob_cache *other = cache_on(servers[0].path);
    get_by(other, "a", NULL, "{\"id\":1}");
    hob__cache_free(other);
    const hob_cache_counters *c = hob__cache_counters(cache);
    assert_int_equal(c->lookups, 2);
    assert_int_equal(c->hits, 1);
    assert_int_equal(c->misses, 1);
    assert_int_equal(c->leases, 1);
    assert_int_equal(c->fills, 1);
    assert_int_equal(c->voided + c->failures + c->skipped + c->foreign, 0);
}

static void values_of_any_size(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 8191, 8192, 100000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[16], *value = malloc(sizes[i] + 1);
        hob_cache_lease lease;
        assert_non_null(value);
        memset(value, 'a' + (int)i, sizes[i]);
        value[sizes[i]] = '\0';
        snprintf(key, sizeof key, "size-%zu", sizes[i]);
        assert_int_equal(get_by(cache, key, &lease, NULL), HOB_CACHE_FILL);
        fill_by(cache, key, lease, value);
        get_by(cache, key, NULL, value);
        free(value);
    }
}

/* What the server does not take must not leave the placeholder in everybody's way. */
static void a_value_too_large_gives_the_lease_back(void **state) {
    (void)state;
    const size_t sizes[] = {2 * 1024 * 1024, HOB_CACHE_PAYLOAD_MAX + 1};
    for (size_t i = 0; i < 2; i++) {
        hob_cache_lease lease;
        assert_int_equal(get_by(cache, "large", &lease, NULL), HOB_CACHE_FILL);
        char *value = malloc(sizes[i]);
        assert_non_null(value);
        memset(value, 'x', sizes[i]);
        hob__cache_fill(cache, HOB_TEXT("large"), lease, (hob_text){value, sizes[i]}, TTL);
        free(value);
        turn_for(50 * HOB_MS);
        assert_int_equal(get_by(cache, "large", NULL, NULL), HOB_CACHE_FILL);
        turn_for(20 * HOB_MS);
    }
    assert_true(hob__cache_up(cache));
}

static void good_and_bad_keys(void **state) {
    (void)state;
    char longest[202];
    memset(longest, 'k', sizeof longest);
    assert_true(hob__cache_key_good((hob_text){longest, 200}));
    assert_false(hob__cache_key_good((hob_text){longest, 201}));
    const hob_text bad[] = {
        {0}, HOB_TEXT(""), HOB_TEXT("a b"), HOB_TEXT("a\n"), HOB_TEXT("a\0b"), HOB_TEXT("\x7f"), HOB_TEXT("\xc3\xa4")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(hob__cache_key_good(bad[i]));
    assert_true(hob__cache_key_good(HOB_TEXT("user:1/~!")));
    assert_false(hob__cache_key_good(HOB_TEXT("g:x"))); /* the generations' own */
    assert_true(hob__cache_key_good(HOB_TEXT("g")));
    assert_true(hob__cache_key_good(HOB_TEXT("gg:")));
    assert_int_equal(get_by(cache, "not good", NULL, NULL), HOB_CACHE_LOAD);
    assert_false(tombstone_by(cache, "not good"));
    delete_by(cache, "not good");
}

static void the_longest_prefix_and_key(void **state) {
    (void)state;
    hob_config config = {.cache = servers[0].path, .cache_timeout = TIMEOUT, .cache_ttl = TTL};
    char prefix[42], key[201], error[256];
    hob_cache_lease lease;
    memset(prefix, 'p', sizeof prefix);
    memset(key, 'k', sizeof key);
    prefix[41] = key[200] = '\0';
    assert_null(hob__cache_new(loop, offload, &config, prefix, NULL, 0, error));
    assert_null(hob__cache_new(loop, offload, &config, "", NULL, 0, error));
    assert_null(hob__cache_new(loop, offload, &config, "a b", NULL, 0, error));
    assert_non_null(strstr(error, "HOB_CACHE_PREFIX"));
    prefix[40] = '\0';
    hob_cache *longest = hob__cache_new(loop, offload, &config, prefix, NULL, 0, error);
    assert_non_null(longest);
    assert_int_equal(get_by(longest, key, &lease, NULL), HOB_CACHE_FILL);
    fill_by(longest, key, lease, "value");
    get_by(longest, key, NULL, "value");
    hob__cache_free(longest);
}

/* ---- Leases ---- */

static void another_worker_waits_for_the_winner(void **state) {
    (void)state;
    hob_cache *other = cache_on(servers[0].path);
    hob_cache_lease lease;
    actor reader;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    start(&reader, do_get, other, "a");
    turn_for(10 * HOB_MS);
    assert_false(reader.ended);
    fill_by(cache, "a", lease, "won");
    turn_until(&reader.ended);
    assert_int_equal(reader.result, HOB_CACHE_HIT);
    assert_memory_equal(reader.value.data, "won", 3);
    finish(&reader);
    assert_int_equal(other->counters.leases, 0);
    hob__cache_free(other);
}

static void one_of_many_in_a_turn_gets_the_lease(void **state) {
    (void)state;
    actor readers[50];
    actor *winner = NULL;
    for (int i = 0; i < 50; i++)
        start(&readers[i], do_get, cache, "a");
    await_count(&cache->counters.leases, 1);
    for (int i = 0; i < 50; i++) {
        if (!readers[i].lease.id)
            continue;
        assert_null(winner);
        winner = &readers[i];
    }
    assert_non_null(winner);
    fill_by(cache, "a", winner->lease, "shared");
    for (int i = 0; i < 50; i++) {
        turn_until(&readers[i].ended);
        if (&readers[i] != winner) {
            assert_int_equal(readers[i].result, HOB_CACHE_HIT);
            assert_memory_equal(readers[i].value.data, "shared", 6);
        }
        finish(&readers[i]);
    }
    assert_int_equal(cache->counters.leases, 1);
}

static void a_winner_that_takes_too_long_is_not_waited_for(void **state) {
    (void)state;
    hob_cache_lease lease;
    actor reader;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    start(&reader, do_get, cache, "a");
    finish(&reader);
    assert_int_equal(reader.result, HOB_CACHE_LOAD);
    assert_int_equal(reader.lease.id, 0);
    assert_true(reader.took >= 50 * HOB_MS && reader.took < 2 * HOB_S);
    fill_by(cache, "a", lease, "late"); /* but still in time for its own lease */
    get_by(cache, "a", NULL, "late");
}

static void a_lease_given_up_is_free_at_once(void **state) {
    (void)state;
    hob_cache_lease first, second;
    assert_int_equal(get_by(cache, "a", &first, NULL), HOB_CACHE_FILL);
    hob__cache_give_up(cache, HOB_TEXT("a"), first);
    assert_int_equal(get_by(cache, "a", &second, NULL), HOB_CACHE_FILL);
    assert_true(first.id != second.id);
    fill_by(cache, "a", first, "void");
    assert_int_equal(cache->counters.voided, 1);
    fill_by(cache, "a", second, "good");
    get_by(cache, "a", NULL, "good");
    hob__cache_give_up(cache, HOB_TEXT("a"), second); /* what was filled is not the lease's any more */
    turn_for(20 * HOB_MS);
    get_by(cache, "a", NULL, "good");
}

static void a_dead_holder_is_waited_for_once(void **state) {
    (void)state;
    hob_cache *other = cache_on(servers[0].path);
    hob_cache_lease lease;
    int waited = 0;
    await_up(other, true);
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL); /* and dies */
    for (int i = 0; i < 10; i++) {
        actor a;
        start(&a, do_get, other, "a");
        finish(&a);
        assert_int_equal(a.result, HOB_CACHE_LOAD);
        waited += a.took > 80 * HOB_MS;
    }
    assert_in_range(waited, 1, 2);
    hob__cache_free(other);
}

static void a_lease_fills_once(void **state) {
    (void)state;
    hob_cache_lease lease;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "a", lease, "first");
    fill_by(cache, "a", lease, "second");
    get_by(cache, "a", NULL, "first");
    fill_by(cache, "b", (hob_cache_lease){.id = 12345}, "never leased");
    assert_int_equal(get_by(cache, "b", NULL, NULL), HOB_CACHE_FILL);
    assert_int_equal(cache->counters.voided, 2);
}

/* ---- Foreign values ---- */

static void foreign_values_are_replaced(void **state) {
    (void)state;
    char of_another_key[64], good[64], damaged[64];
    hob_cache_entry entry = {.kind = HOB_CACHE_VALUE, .id = 1, .payload = HOB_TEXT("secret")};
    size_t size = hob__cache_value_size(&entry, HOB_TEXT("test:a"));
    hob__cache_value_write(of_another_key, &entry, HOB_TEXT("test:b"));
    hob__cache_value_write(good, &entry, HOB_TEXT("test:a"));
    memcpy(damaged, good, size);
    damaged[size - 1] ^= 1;
    const hob_text foreign[] = {
        HOB_TEXT("junk"), HOB_TEXT(""), {of_another_key, size}, {good, size - 1}, {damaged, size}};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        hob_cache_lease lease;
        delete_by(cache, "a");
        raw_set("test:a", foreign[i].data, foreign[i].size);
        assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_LOAD);
        assert_int_equal(cache->counters.foreign, i + 1);
        turn_for(30 * HOB_MS);
        assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
        fill_by(cache, "a", lease, "own");
        get_by(cache, "a", NULL, "own");
    }
    assert_int_equal(cache->counters.failures, 0);
}

/* ---- Batches ---- */

static void look_ups_of_a_turn_are_one_multiget(void **state) {
    (void)state;
    enum { N = 100 };
    static actor readers[2 * N];
    for (int i = 0; i < N; i++) {
        char key[16], value[16];
        hob_cache_lease lease;
        snprintf(key, sizeof key, "k%d", i);
        snprintf(value, sizeof value, "v%d", i);
        get_by(cache, key, &lease, NULL);
        fill_by(cache, key, lease, value);
    }
    uint64_t before = cache->counters.multigets;
    for (int i = 0; i < 2 * N; i++) { /* every key twice */
        char key[16];
        snprintf(key, sizeof key, "k%d", i % N);
        start(&readers[i], do_get, cache, key);
    }
    for (int i = 0; i < 2 * N; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i % N);
        turn_until(&readers[i].ended);
        assert_int_equal(readers[i].result, HOB_CACHE_HIT);
        assert_memory_equal(readers[i].value.data, value, strlen(value));
        finish(&readers[i]);
    }
    assert_int_equal(cache->counters.multigets, before + 1);
}

static void a_miss_costs_two_multigets(void **state) {
    (void)state;
    static actor readers[100];
    uint64_t before = cache->counters.multigets;
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        start(&readers[i], do_get, cache, key);
    }
    for (int i = 0; i < 100; i++) {
        finish(&readers[i]);
        assert_int_equal(readers[i].result, HOB_CACHE_FILL);
    }
    assert_int_equal(cache->counters.multigets, before + 2);
}

static void a_large_turn_is_several_multigets(void **state) {
    (void)state;
    enum { N = 1000 };
    static actor readers[N];
    for (int i = 0; i < N; i++) {
        char key[64];
        snprintf(key, sizeof key, "%060d", i);
        start(&readers[i], do_get, cache, key);
    }
    for (int i = 0; i < N; i++) {
        finish(&readers[i]);
        assert_int_equal(readers[i].result, HOB_CACHE_FILL);
    }
    assert_int_equal(cache->counters.failures, 0);
}

static void burn(actor *a) {
    (void)a;
    for (int64_t end = hob__clock_ns() + 2 * TIMEOUT; hob__clock_ns() < end;)
        continue;
}

/* Else a worker that is busy would not use its cache, and become busier. */
static void a_busy_loop_is_not_taken_for_a_slow_server(void **state) {
    (void)state;
    hob_cache_lease lease;
    actor reader, busy;
    get_by(cache, "a", &lease, NULL);
    fill_by(cache, "a", lease, "value");
    start(&reader, do_get, cache, "a");
    start(&busy, burn, NULL, "");
    finish(&busy);
    finish(&reader);
    assert_int_equal(reader.result, HOB_CACHE_HIT);
}

/* ---- Tasks that go ---- */

static void cancelled_and_late_tasks_are_gone(void **state) {
    (void)state;
    actor late, cancelled;
    start(&late, do_get, cache, "a");
    late.task.deadline = hob__clock_ns() - 1;
    finish(&late);
    assert_int_equal(late.result, HOB_CACHE_GONE);
    start(&cancelled, do_get, cache, "a");
    hob__task_cancel(&cancelled.task);
    finish(&cancelled);
    assert_int_equal(cancelled.result, HOB_CACHE_GONE);
    assert_int_equal(cache->counters.lookups, 0);
}

static void tasks_go_while_they_wait_for_a_winner(void **state) {
    (void)state;
    hob_cache_lease lease;
    actor late, cancelled;
    get_by(cache, "a", &lease, NULL);
    start(&late, do_get, cache, "a");
    late.task.deadline = hob__clock_ns() + 30 * HOB_MS;
    start(&cancelled, do_get, cache, "a");
    turn_for(10 * HOB_MS);
    hob__task_cancel(&cancelled.task);
    finish(&cancelled);
    finish(&late);
    assert_int_equal(late.result, HOB_CACHE_GONE);
    assert_int_equal(cancelled.result, HOB_CACHE_GONE);
}

/* Whoever is cancelled between asking and being answered may have placed a placeholder. */
static void a_claim_whose_claimer_went_is_given_up(void **state) {
    (void)state;
    for (int turns = 1; turns < 12; turns++) {
        actor a;
        char key[16];
        snprintf(key, sizeof key, "k%d", turns);
        start(&a, do_get, cache, key);
        for (int i = 0; i < turns && !a.ended; i++)
            hob__loop_turn(loop, HOB_MS);
        hob__task_cancel(&a.task);
        turn_until(&a.ended);
        hob__cache_give_up(cache, hob_text_of(key), a.lease);
        finish(&a);
        turn_for(10 * HOB_MS);
        assert_int_equal(get_by(cache, key, NULL, NULL), HOB_CACHE_FILL);
    }
}

static void more_fills_than_can_be_queued_are_dropped(void **state) {
    (void)state;
    for (int i = 0; i < HOB_CACHE_QUEUE_JOBS + 100; i++)
        hob__cache_fill(cache, HOB_TEXT("a"), (hob_cache_lease){.id = 1}, HOB_TEXT("x"), TTL);
    assert_int_equal(cache->counters.skipped, 100);
    delete_by(cache, "a");
    assert_int_equal(cache->counters.deletes, 2); /* refused is only what can be loaded again */
    await_count(&cache->counters.voided, HOB_CACHE_QUEUE_JOBS);
    char *large = calloc(1, 1024 * 1024);
    assert_non_null(large);
    for (int i = 0; i < 20; i++)
        hob__cache_fill(cache, HOB_TEXT("a"), (hob_cache_lease){.id = 1}, (hob_text){large, 1024 * 1024}, TTL);
    free(large);
    assert_int_equal(cache->counters.skipped, 100 + 20 - 15); /* 16 MiB, less the envelopes */
}

/* Else everybody would wait for fills that never come: a cold cache under load stood still for seconds. */
static void a_fill_that_is_dropped_makes_way(void **state) {
    (void)state;
    enum { N = HOB_CACHE_QUEUE_JOBS + 200 };
    static hob_cache_lease leases[N];
    char key[16];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(get_by(cache, key, &leases[i], NULL), HOB_CACHE_FILL);
    }
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%d", i);
        hob__cache_fill(cache, hob_text_of(key), leases[i], HOB_TEXT("x"), TTL);
    }
    assert_int_equal(cache->counters.skipped, 200);
    await_count(&cache->counters.fills, HOB_CACHE_QUEUE_JOBS);
    turn_for(20 * HOB_MS);
    assert_int_equal(get_by(cache, "k0", NULL, "x"), HOB_CACHE_HIT);
    int64_t begin = hob__clock_ns();
    assert_int_equal(get_by(cache, key, NULL, NULL), HOB_CACHE_FILL);
    assert_true(hob__clock_ns() - begin < 60 * HOB_MS); /* somebody's placeholder costs 94 */
}

static void freeing_finishes_what_is_queued(void **state) {
    (void)state;
    hob_cache_lease lease;
    hob_cache *other = cache_on(servers[0].path);
    get_by(other, "a", &lease, NULL);
    hob__cache_fill(other, HOB_TEXT("a"), lease, HOB_TEXT("last"), TTL);
    hob__cache_free(other);
    get_by(cache, "a", NULL, "last");
}

static void free_in_task(actor *a) {
    hob__cache_free(a->cache);
}

static void freeing_from_a_task(void **state) {
    (void)state;
    actor a;
    start(&a, free_in_task, cache_on(servers[0].path), "");
    finish(&a);
    start(&a, free_in_task, cache_on(servers[0].path), "");
    hob__task_cancel(&a.task); /* at once, and cancelled: it still has to wait */
    finish(&a);
}

/* Sanitizers have allocators of their own. */
#if defined(__SANITIZE_ADDRESS__)
#define COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#define COUNTS_ALLOCATIONS !__has_feature(address_sanitizer)
#else
#define COUNTS_ALLOCATIONS 1
#endif

#if COUNTS_ALLOCATIONS
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
static size_t allocations;

void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    allocations++;
    return __libc_realloc(old, size);
}

static void get_often(actor *a) {
    a->entities[0] = HOB_TEXT("x");
    a->entities[1] = HOB_TEXT("y");
    for (int i = 0; i < 110; i++) {
        if (i == 10)
            allocations = 0; /* buffers have grown */
        do_get(a);
        hob__arena_reset(a->task.arena);
    }
    a->took = (int64_t)allocations;
}

static void a_hit_allocates_nothing(void **state) {
    (void)state;
    hob_cache_lease lease;
    get_by(cache, "a", &lease, NULL);
    fill_by(cache, "a", lease, "value");
    keep_list("value");
    for (size_t entities = 0; entities <= 2; entities += 2) {
        actor a;
        start(&a, get_often, cache, entities ? "list" : "a");
        a.count = entities;
        finish(&a);
        assert_int_equal(a.result, HOB_CACHE_HIT);
        assert_int_equal(a.took, 0);
    }
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(miss_fill_hit),
        TEST(values_of_any_size),
        TEST(a_value_too_large_gives_the_lease_back),
        TEST(good_and_bad_keys),
        TEST(the_longest_prefix_and_key),
        TEST(another_worker_waits_for_the_winner),
        TEST(one_of_many_in_a_turn_gets_the_lease),
        TEST(a_winner_that_takes_too_long_is_not_waited_for),
        TEST(a_lease_given_up_is_free_at_once),
        TEST(a_lease_fills_once),
        TEST(a_dead_holder_is_waited_for_once),
        TEST(foreign_values_are_replaced),
        TEST(look_ups_of_a_turn_are_one_multiget),
        TEST(a_miss_costs_two_multigets),
        TEST(a_large_turn_is_several_multigets),
        TEST(a_busy_loop_is_not_taken_for_a_slow_server),
        TEST(cancelled_and_late_tasks_are_gone),
        TEST(tasks_go_while_they_wait_for_a_winner),
        TEST(a_claim_whose_claimer_went_is_given_up),
        TEST(more_fills_than_can_be_queued_are_dropped),
        TEST(a_fill_that_is_dropped_makes_way),
        TEST(freeing_finishes_what_is_queued),
        TEST(freeing_from_a_task),
#if COUNTS_ALLOCATIONS
        TEST(a_hit_allocates_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}

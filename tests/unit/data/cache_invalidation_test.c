/* Writes: nothing older than a write is read behind it, and nothing younger is lost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_fixture.h"

/* ---- Tombstones and deletes ---- */

static void a_tombstone_voids_a_fill_in_flight(void **state) {
    (void)state;
    hob_cache_lease lease, none;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    assert_true(tombstone_by(cache, "a"));
    fill_by(cache, "a", lease, "old");
    assert_int_equal(cache->counters.voided, 1);
    assert_int_equal(get_by(cache, "a", &none, NULL), HOB_CACHE_LOAD); /* and keeps nothing */
    delete_by(cache, "a");
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "a", lease, "new");
    get_by(cache, "a", NULL, "new");
}

static void a_tombstone_replaces_a_value(void **state) {
    (void)state;
    hob_cache_lease lease;
    get_by(cache, "a", &lease, NULL);
    fill_by(cache, "a", lease, "old");
    assert_true(tombstone_by(cache, "a"));
    actor reader;
    start(&reader, do_get, cache, "a");
    finish(&reader);
    assert_int_equal(reader.result, HOB_CACHE_LOAD);
    assert_true(reader.took < 80 * HOB_MS); /* a tombstone is not waited for as a placeholder is */
    delete_by(cache, "a");
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
}

static void a_delete_voids_a_fill_in_flight(void **state) {
    (void)state;
    hob_cache_lease old, new;
    assert_int_equal(get_by(cache, "a", &old, NULL), HOB_CACHE_FILL);
    delete_by(cache, "a");
    fill_by(cache, "a", old, "old"); /* nothing stands there */
    assert_int_equal(get_by(cache, "a", &old, NULL), HOB_CACHE_FILL);
    delete_by(cache, "a");
    assert_int_equal(get_by(cache, "a", &new, NULL), HOB_CACHE_FILL);
    fill_by(cache, "a", old, "old"); /* another's placeholder does */
    assert_int_equal(cache->counters.voided, 2);
    fill_by(cache, "a", new, "new");
    get_by(cache, "a", NULL, "new");
}

/* Each writer's tombstone stands until its own delete, in whatever order they end. */
static void writers_of_one_key_overlap(void **state) {
    (void)state;
    const struct { uint64_t first, second; } ends[] = {{1, 2}, {2, 1}};
    for (size_t i = 0; i < 2; i++) {
        assert_true(tombstone_as(cache, "a", 1));
        assert_true(tombstone_as(cache, "a", 2));
        delete_as(cache, "a", ends[i].first);
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
        delete_as(cache, "a", ends[i].first); /* once more does no harm */
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
        delete_as(cache, "a", ends[i].second);
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
        turn_for(20 * HOB_MS);
    }
}

/* Nobody is forgotten: it then stays until it expires. */
static void more_writers_than_a_tombstone_holds(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= HOB_CACHE_IDS_MAX + 2; id++)
        assert_true(tombstone_as(cache, "a", id));
    for (uint64_t id = 1; id <= HOB_CACHE_IDS_MAX + 2; id++)
        delete_as(cache, "a", id);
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_LOAD);
    for (uint64_t id = 1; id <= HOB_CACHE_IDS_MAX; id++)
        assert_true(tombstone_as(cache, "b", id));
    for (uint64_t id = 1; id <= HOB_CACHE_IDS_MAX; id++)
        delete_as(cache, "b", id);
    assert_int_equal(get_by(cache, "b", NULL, NULL), HOB_CACHE_FILL);
}

static void put_nobodys_tombstone(const char *key, uint64_t id) {
    hob_cache_entry entry = {.kind = HOB_CACHE_TOMBSTONE, .id = id};
    char stored[100];
    hob__cache_value_write(stored, &entry, hob_text_of(key));
    raw_set(key, stored, hob__cache_value_size(&entry, hob_text_of(key)));
}

/* Each that writes gives a tombstone its time anew; still one who died does not keep what others write out for ever. */
static void a_dead_writer_is_forgotten_by_the_next(void **state) {
    (void)state;
    const int64_t hour = 3600;
    for (int ago = 0; ago < 2; ago++) {
        hob_cache_result expected = ago ? HOB_CACHE_FILL : HOB_CACHE_LOAD;
        const uint64_t dead = written_at(1, ago * hour);
        assert_true(tombstone_as(cache, "a", dead));
        put_nobodys_tombstone("test:b", dead);
        for (size_t i = 0; i < 2; i++) {
            const char *key = (const char *[]){"a", "b"}[i];
            assert_true(tombstone_by(cache, key));
            delete_by(cache, key);
            assert_int_equal(get_by(cache, key, NULL, NULL), expected);
        }
        delete_as(cache, "a", dead);
        turn_for(20 * HOB_MS);
    }
}

/* A tombstone that was evicted: whoever read the old row then must not keep it. */
static void a_delete_voids_what_came_where_the_tombstone_was(void **state) {
    (void)state;
    memcached_st *raw = raw_client(&servers[0]);
    for (int filled = 0; filled < 2; filled++) {
        hob_cache_lease lease;
        assert_true(tombstone_as(cache, "a", 1));
        assert_int_equal(memcached_delete(raw, "test:a", 6, 0), MEMCACHED_SUCCESS);
        assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
        if (filled)
            fill_by(cache, "a", lease, "old");
        delete_as(cache, "a", 1);
        if (!filled)
            fill_by(cache, "a", lease, "old");
        assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
        turn_for(20 * HOB_MS);
    }
    memcached_free(raw);
}

/* ---- Absence ---- */

static void an_absence_is_kept_and_voided(void **state) {
    (void)state;
    hob_cache_lease lease;
    actor a;
    assert_int_equal(get_by(cache, "a", &lease, NULL), HOB_CACHE_FILL);
    hob__cache_fill_absent(cache, HOB_TEXT("a"), lease, HOB_TEXT("no a"), TTL);
    await_count(&cache->counters.fills, 1);
    start(&a, do_get, cache, "a");
    turn_until(&a.ended);
    assert_int_equal(a.result, HOB_CACHE_ABSENT);
    assert_true(hob_text_equal(a.value, HOB_TEXT("no a")));
    finish(&a);
    assert_int_equal(cache->counters.absences, 1);
    assert_true(tombstone_by(cache, "a")); /* an insert's */
    delete_by(cache, "a");
    assert_int_equal(get_by(cache, "a", NULL, NULL), HOB_CACHE_FILL);
}

/* ---- Generations ---- */

static void a_write_to_any_entity_voids_the_list(void **state) {
    (void)state;
    const char *entities[] = {"x", "y", "list"};
    hob_cache *other = cache_on(servers[0].path);
    hob_cache_lease lease;
    keep_list("first");
    get_list(other, &lease, "first");
    for (size_t i = 0; i < 3; i++) {
        assert_true(tombstone_by(cache, entities[i]));
        assert_int_equal(get_list(other, &lease, NULL), HOB_CACHE_LOAD); /* and keeps nothing */
        delete_by(cache, entities[i]);
        keep_list("next");
    }
    assert_int_equal(cache->counters.outdated, 2);
    hob__cache_free(other);
}

static void a_write_during_the_load_of_a_list(void **state) {
    (void)state;
    hob_cache_lease lease;
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
    assert_true(tombstone_by(cache, "x"));
    delete_by(cache, "x");
    fill_by(cache, "list", lease, "old"); /* it is stored, but of a generation that has gone */
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "list", lease, "new");
    get_list(cache, &lease, "new");
}

/* One reader loads; the others wait for it, as after any miss. */
static void a_list_out_of_date_is_loaded_once(void **state) {
    (void)state;
    hob_cache *other = cache_on(servers[0].path);
    hob_cache_lease lease, none;
    await_up(other, true);
    keep_list("old");
    assert_true(tombstone_by(cache, "y"));
    delete_by(cache, "y");
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
    assert_int_equal(get_list(other, &none, NULL), HOB_CACHE_LOAD);
    fill_by(cache, "list", lease, "new");
    get_list(other, &none, "new");
    hob__cache_free(other);
}

/* It must not come back as something it has been before. */
static void an_evicted_generation_voids_the_list(void **state) {
    (void)state;
    memcached_st *raw = raw_client(&servers[0]);
    hob_cache_lease lease;
    keep_list("value");
    assert_int_equal(memcached_delete(raw, "test:g:x", 8, 0), MEMCACHED_SUCCESS);
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
    memcached_free(raw);
}

static void a_list_is_one_multiget(void **state) {
    (void)state;
    hob_cache_lease lease;
    keep_list("value");
    uint64_t before = cache->counters.multigets;
    get_list(cache, &lease, "value");
    assert_int_equal(cache->counters.multigets, before + 1);
}

/* The same key without its entities, or with others in their place, is another value. */
static void a_list_is_not_mistaken_for_a_value(void **state) {
    (void)state;
    hob_cache_lease lease;
    keep_list("value");
    assert_int_equal(get_by(cache, "list", &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "list", lease, "plain");
    get_by(cache, "list", &lease, "plain");
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
}

/* ---- The queue ---- */

static void invalidation_goes_before_fills(void **state) {
    (void)state;
    char key[16];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        hob__cache_fill(cache, hob_text_of(key), (hob_cache_lease){.id = 1}, HOB_TEXT("x"), TTL);
    }
    assert_true(tombstone_by(cache, "a"));
    assert_true(cache->counters.voided < 100);
    await_count(&cache->counters.voided, 500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_tombstone_voids_a_fill_in_flight),
        TEST(a_tombstone_replaces_a_value),
        TEST(a_delete_voids_a_fill_in_flight),
        TEST(writers_of_one_key_overlap),
        TEST(more_writers_than_a_tombstone_holds),
        TEST(a_dead_writer_is_forgotten_by_the_next),
        TEST(a_delete_voids_what_came_where_the_tombstone_was),
        TEST(an_absence_is_kept_and_voided),
        TEST(a_write_to_any_entity_voids_the_list),
        TEST(a_write_during_the_load_of_a_list),
        TEST(a_list_out_of_date_is_loaded_once),
        TEST(an_evicted_generation_voids_the_list),
        TEST(a_list_is_one_multiget),
        TEST(a_list_is_not_mistaken_for_a_value),
        TEST(invalidation_goes_before_fills),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}

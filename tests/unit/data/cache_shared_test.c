#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/cache_shared.h"

static hob_cache_shared *shared;
static hob_cache_debts *debts;

static int setup(void **state) {
    (void)state;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return -1;
    debts = hob__cache_shared_server(shared, "a", 1);
    return debts ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return munmap(shared, sizeof *shared);
}

static void worker_that_dies_owing(size_t slot) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        hob__cache_shared_claim(shared, slot, getpid());
        hob__cache_debts_enter(debts, slot);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_debt_of_any_slot_counts(void **state) {
    (void)state;
    const size_t slots[] = {0, 1, 63, 64, 300, HOB_CACHE_SHARED_SLOTS - 1};
    assert_false(hob__cache_debts_any(debts));
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        hob__cache_debts_enter(debts, slots[i]);
        hob__cache_debts_enter(debts, slots[i]);
        assert_true(hob__cache_debts_any(debts));
        hob__cache_debts_clear(debts, slots[i]);
        assert_false(hob__cache_debts_any(debts));
    }
    hob__cache_debts_enter(debts, 3);
    hob__cache_debts_enter(debts, 4);
    hob__cache_debts_clear(debts, 3);
    assert_true(hob__cache_debts_any(debts));
}

static void servers_are_known_by_name(void **state) {
    (void)state;
    hob_cache_debts *b = hob__cache_shared_server(shared, "a", 2);
    assert_ptr_not_equal(debts, b);
    assert_ptr_equal(hob__cache_shared_server(shared, "a", 1), debts);
    hob__cache_debts_enter(debts, 0);
    assert_false(hob__cache_debts_any(b));
    for (unsigned i = 2; i < HOB_CACHE_SHARED_SERVERS; i++)
        assert_non_null(hob__cache_shared_server(shared, "more", i));
    assert_null(hob__cache_shared_server(shared, "one too many", 1));
    assert_ptr_equal(hob__cache_shared_server(shared, "a", 2), b);
}

static void only_the_dead_are_buried(void **state) {
    (void)state;
    hob__cache_shared_claim(shared, 7, getpid());
    hob__cache_debts_enter(debts, 7);
    hob__cache_shared_bury(shared, debts);
    assert_int_equal(hob__cache_debts_claim(debts, 1, HOB_S), 0);
    hob__cache_debts_clear(debts, 7);
    worker_that_dies_owing(8);
    assert_true(hob__cache_debts_any(debts));
    assert_int_equal(hob__cache_debts_claim(debts, 1, HOB_S), 0); /* nobody has looked yet */
    hob__cache_shared_bury(shared, debts);
    assert_true(hob__cache_debts_any(debts));
    uint64_t claim = hob__cache_debts_claim(debts, 1, HOB_S);
    assert_int_equal(claim, 1);
    hob__cache_debts_settle(debts, claim);
    assert_false(hob__cache_debts_any(debts));
}

/* The pid may even be the same: in a container it often is. */
static void a_new_worker_in_the_slot_keeps_the_debt_alive(void **state) {
    (void)state;
    hob__cache_shared_claim(shared, 9, getpid());
    hob__cache_debts_enter(debts, 9);
    hob__cache_shared_claim(shared, 9, getpid());
    assert_true(hob__cache_debts_any(debts));
    hob__cache_debts_settle(debts, hob__cache_debts_claim(debts, 1, HOB_S));
    assert_false(hob__cache_debts_any(debts));
    hob__cache_shared_claim(shared, 9, getpid());
    assert_false(hob__cache_debts_any(debts));
}

static void a_flush_is_one_workers(void **state) {
    (void)state;
    hob__cache_debts_orphan(debts, 0);
    assert_int_equal(hob__cache_debts_claim(debts, 100, 50), 1);
    assert_int_equal(hob__cache_debts_claim(debts, 149, 50), 0);
    assert_int_equal(hob__cache_debts_claim(debts, 150, 50), 1); /* the first did not come back */
    hob__cache_debts_settle(debts, 0);                           /* it failed */
    assert_true(hob__cache_debts_any(debts));
    assert_int_equal(hob__cache_debts_claim(debts, 200, 50), 1);
    assert_int_equal(hob__cache_debts_claim(debts, 199, 50), 0); /* looked at the clock earlier, and came later */
    assert_int_equal(hob__cache_debts_claim(debts, 10, 50), 1);  /* the clock began anew: the machine was restarted */
}

static void what_is_orphaned_during_a_flush_needs_another(void **state) {
    (void)state;
    hob__cache_debts_orphan(debts, 0);
    uint64_t claim = hob__cache_debts_claim(debts, 1, HOB_S);
    hob__cache_debts_orphan(debts, 1);
    hob__cache_debts_settle(debts, claim);
    assert_true(hob__cache_debts_any(debts));
    uint64_t second = hob__cache_debts_claim(debts, 2, HOB_S);
    hob__cache_debts_settle(debts, second);
    assert_false(hob__cache_debts_any(debts));
    hob__cache_debts_settle(debts, claim); /* a slow one comes back: nothing is undone */
    assert_false(hob__cache_debts_any(debts));
}

/* Processes that all want to flush at once, again and again: one at a time, and all debts are made good. */
static void many_workers_and_one_flush(void **state) {
    (void)state;
    enum { WORKERS = 4, ROUNDS = 200 };
    _Atomic hob_owner *inside = &shared->owners[500]; /* slots that nobody has */
    _Atomic hob_owner *clashes = &shared->owners[501];
    for (size_t i = 0; i < WORKERS; i++) {
        if (fork() != 0)
            continue;
        hob__cache_shared_claim(shared, i, getpid());
        for (int n = 0; n < ROUNDS; n++) {
            hob__cache_debts_enter(debts, i);
            hob__cache_debts_orphan(debts, i);
            uint64_t claim = hob__cache_debts_claim(debts, hob__clock_ns(), 60 * HOB_S);
            if (claim) {
                atomic_fetch_add(clashes, atomic_fetch_add(inside, 1) != 0);
                atomic_fetch_sub(inside, 1);
                hob__cache_debts_settle(debts, claim);
            }
        }
        _exit(0);
    }
    for (size_t i = 0; i < WORKERS; i++)
        assert_true(wait(NULL) > 0);
    assert_int_equal(atomic_load(clashes), 0);
    assert_int_equal(atomic_load(&debts->orphaned), WORKERS * ROUNDS);
    uint64_t claim = hob__cache_debts_claim(debts, hob__clock_ns(), HOB_S);
    if (claim)
        hob__cache_debts_settle(debts, claim);
    assert_false(hob__cache_debts_any(debts));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_debt_of_any_slot_counts),  TEST(servers_are_known_by_name),
        TEST(only_the_dead_are_buried),   TEST(a_new_worker_in_the_slot_keeps_the_debt_alive),
        TEST(a_flush_is_one_workers),     TEST(what_is_orphaned_during_a_flush_needs_another),
        TEST(many_workers_and_one_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

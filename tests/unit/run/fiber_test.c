#include "support.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/fiber.h"

static char trace[64];

static void note(char c) {
    size_t length = strlen(trace);
    trace[length] = c;
    trace[length + 1] = '\0';
}

static void thrice(void *arg) {
    const char *letters = arg;
    note(letters[0]);
    hob__fiber_suspend();
    note(letters[1]);
    hob__fiber_suspend();
    note(letters[2]);
}

static void fibers_interleave(void **state) {
    (void)state;
    trace[0] = '\0';
    hob_fiber *a = hob__fiber_new(thrice, "abc"), *b = hob__fiber_new(thrice, "xyz");
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(hob__fiber_count().live, 2);
    assert_string_equal(trace, "");
    assert_true(hob__fiber_resume(a));
    assert_true(hob__fiber_resume(b));
    assert_true(hob__fiber_resume(b));
    assert_true(hob__fiber_resume(a));
    assert_false(hob__fiber_resume(a));
    assert_false(hob__fiber_resume(b));
    assert_string_equal(trace, "axybcz");
    assert_int_equal(hob__fiber_count().live, 0);
}

/* Enough values alive across a switch that every callee-saved register holds one. */
static void keep_registers(void *arg) {
    uint64_t seed = (uint64_t)(uintptr_t)arg, v[16];
    volatile uint64_t source = seed;
    double d[10];
    for (int i = 0; i < 16; i++)
        v[i] = source * (uint64_t)(i + 3);
    for (int i = 0; i < 10; i++)
        d[i] = (double)(source + (uint64_t)i);
    for (int round = 0; round < 100; round++) {
        hob__fiber_suspend();
        for (int i = 0; i < 16; i++)
            v[i] += seed;
    }
    for (int i = 0; i < 16; i++)
        if (v[i] != seed * (uint64_t)(i + 3) + 100 * seed)
            note('!');
    for (int i = 0; i < 10; i++)
        if (d[i] != (double)(seed + (uint64_t)i))
            note('?');
}

static void registers_survive(void **state) {
    (void)state;
    trace[0] = '\0';
    hob_fiber *fiber[8];
    for (uintptr_t i = 0; i < 8; i++) {
        fiber[i] = hob__fiber_new(keep_registers, (void *)(i * 977 + 1));
        assert_non_null(fiber[i]);
    }
    for (int round = 0; round <= 100; round++)
        for (int i = 0; i < 8; i++)
            assert_int_equal(hob__fiber_resume(fiber[i]), round < 100);
    assert_string_equal(trace, "");
}

static void note_alignment(void *arg) {
    _Alignas(16) char aligned[16];
    char text[64];
    memset(aligned, 1, sizeof(aligned));
    snprintf(text, sizeof(text), "%.3f", 1.5); /* printf keeps SSE registers at aligned places */
    *(bool *)arg = (uintptr_t)aligned % 16 == 0 && strcmp(text, "1.500") == 0;
}

static void stack_is_aligned(void **state) {
    (void)state;
    bool good = false;
    hob_fiber *fiber = hob__fiber_new(note_alignment, &good);
    assert_non_null(fiber);
    assert_false(hob__fiber_resume(fiber));
    assert_true(good);
}

static void note_self(void *arg) {
    *(hob_fiber **)arg = hob__fiber_self();
}

static void *self_elsewhere(void *arg) {
    *(hob_fiber **)arg = hob__fiber_self();
    return NULL;
}

static void ask_in_thread(void *arg) {
    pthread_t thread;
    pthread_create(&thread, NULL, self_elsewhere, arg);
    pthread_join(thread, NULL);
}

static void self_is_of_the_thread(void **state) {
    (void)state;
    hob_fiber *self = NULL, *elsewhere = (hob_fiber *)&self;
    hob_fiber *fiber = hob__fiber_new(note_self, &self);
    assert_non_null(fiber);
    assert_null(hob__fiber_self());
    assert_false(hob__fiber_resume(fiber));
    assert_ptr_equal(self, fiber);
    assert_null(hob__fiber_self());
    fiber = hob__fiber_new(ask_in_thread, &elsewhere);
    assert_non_null(fiber);
    assert_false(hob__fiber_resume(fiber));
    assert_null(elsewhere);
}

static __attribute__((noinline)) int trace_at_depth(int depth, void **addresses) {
    int count = depth > 0 ? trace_at_depth(depth - 1, addresses) : backtrace(addresses, 64);
    __asm__ volatile("" : "+r"(count)); /* no tail call */
    return count;
}

static void take_trace(void *arg) {
    void *addresses[64];
    *(int *)arg = trace_at_depth(5, addresses);
}

static void backtrace_ends_at_the_entry(void **state) {
    (void)state;
    int count = 0;
    hob_fiber *fiber = hob__fiber_new(take_trace, &count);
    assert_non_null(fiber);
    assert_false(hob__fiber_resume(fiber));
    assert_in_range(count, 8, 10); /* six, take_trace, the entry, and no more than an interceptor and an end mark */
}

static const void *below(const void *here, size_t distance) {
    return (const void *)((uintptr_t)here - distance);
}

static void look_around(void *arg) {
    const void *here = __builtin_frame_address(0);
    assert_false(hob__fiber_overflowed(here));
    assert_false(hob__fiber_overflowed(NULL));
    assert_false(hob__fiber_overflowed(arg));
    assert_true(hob__fiber_overflowed(below(here, HOB_FIBER_STACK)));
    assert_false(hob__fiber_overflowed(below(here, 10 * HOB_FIBER_STACK)));
    *(const void **)arg = here;
}

static void the_guard_is_known(void **state) {
    (void)state;
    const void *inside = NULL;
    hob_fiber *fiber = hob__fiber_new(look_around, &inside);
    assert_non_null(fiber);
    assert_false(hob__fiber_resume(fiber));
    assert_false(hob__fiber_overflowed(below(inside, HOB_FIBER_STACK))); /* no fiber runs */
}

/* How deep the recursion goes is up to the compiler; that it writes each frame is not. */
static __attribute__((noinline)) int dig(int depth) {
    volatile char frame[512];
    memset((char *)frame, depth, sizeof(frame));
    int deeper = depth > 0 ? dig(depth - 1) : 0;
    return frame[17] + deeper;
}

static void dig_as_told(void *arg) {
    *(int *)arg = dig(*(int *)arg);
}

static void overflow_hits_the_guard(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL);
        int depth = 100000;
        hob_fiber *fiber = hob__fiber_new(dig_as_told, &depth);
        if (fiber)
            (void)hob__fiber_resume(fiber);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void deep_use_within_the_stack_is_fine(void **state) {
    (void)state;
    int depth = UNDER_ASAN ? 100 : 300; /* over 160 KiB */
    hob_fiber *fiber = hob__fiber_new(dig_as_told, &depth);
    assert_non_null(fiber);
    assert_false(hob__fiber_resume(fiber));
}

static void never_returns_from_frames(void *arg) {
    char frame[200];
    memset(frame, 1, sizeof(frame));
    *(char **)arg = frame;
    hob__fiber_suspend();
    memset(frame, 2, sizeof(frame));
}

/* Many lives on one stack, some of them deep: nothing of a former life may show, in ASan's shadow least of all. */
static void stacks_are_reused(void **state) {
    (void)state;
    hob__fiber_pool_free();
    for (int life = 0; life < 200; life++) {
        char *frame;
        int depth = life % 50;
        hob_fiber *fiber =
            life % 2 ? hob__fiber_new(dig_as_told, &depth) : hob__fiber_new(never_returns_from_frames, &frame);
        assert_non_null(fiber);
        while (hob__fiber_resume(fiber)) {
        }
        assert_int_equal(hob__fiber_count().pooled, 1);
    }
    hob__fiber_pool_free();
    assert_int_equal(hob__fiber_count().pooled, 0);
}

static void suspend_once(void *arg) {
    (void)arg;
    hob__fiber_suspend();
}

static void dig_and_suspend(void *arg) {
    int depth = 300;
    (void)arg;
    dig(depth);
    hob__fiber_suspend();
}

static size_t resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void live_and_die(void (*fn)(void *arg), size_t count, hob_fiber **fibers) {
    for (size_t i = 0; i < count; i++) {
        fibers[i] = hob__fiber_new(fn, NULL);
        assert_non_null(fibers[i]);
        assert_true(hob__fiber_resume(fibers[i]));
    }
    for (size_t i = 0; i < count; i++)
        assert_false(hob__fiber_resume(fibers[i]));
}

static void pool_is_bounded_in_number_and_memory(void **state) {
    (void)state;
    static hob_fiber *fibers[1500];
    hob__fiber_pool_free();
    size_t before = resident();
    live_and_die(suspend_once, 1500, fibers);
    assert_in_range(hob__fiber_count().pooled, 1, 1024);
    if (MEMORY_IS_OURS) {
        live_and_die(dig_and_suspend, 1000, fibers); /* 1000 times 160 KiB and more, while they live */
        assert_true(resident() < before + 40 * 1024 * 1024);
    }
    hob__fiber_pool_free();
}

/* Page faults of 100 rounds in which 3 fibers live after more than are kept warm have lived. */
static void what_is_taken_again_is_warm(void **state) {
    (void)state;
    static hob_fiber *fibers[80];
    struct rusage before, after;
    hob__fiber_pool_free();
    live_and_die(dig_and_suspend, 80, fibers);
    getrusage(RUSAGE_SELF, &before);
    for (int round = 0; round < 100; round++)
        live_and_die(dig_and_suspend, 3, fibers);
    getrusage(RUSAGE_SELF, &after);
    if (MEMORY_IS_OURS)
        assert_in_range(after.ru_minflt - before.ru_minflt, 0, 200);
    hob__fiber_pool_free();
}

static size_t faults_of_waves(size_t count, int waves) {
    static hob_fiber *fibers[3000];
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int wave = 0; wave < waves; wave++)
        live_and_die(suspend_once, count, fibers);
    getrusage(RUSAGE_SELF, &after);
    return (size_t)(after.ru_minflt - before.ru_minflt);
}

/* Of 3000 at once a pool of the usual size would keep a third, and each of the others would fault in its stack anew. */
static void a_crowd_in_waves_keeps_its_stacks_until_it_has_gone(void **state) {
    (void)state;
    hob__fiber_pool_free();
    size_t before = resident();
    faults_of_waves(3000, 5);
    assert_int_equal(hob__fiber_count().pooled, 3000);
    size_t faults = faults_of_waves(3000, 5);
    faults_of_waves(3, 10000);
    assert_in_range(hob__fiber_count().pooled, 3, 1024);
    if (MEMORY_IS_OURS) {
        assert_in_range(faults, 0, 3000);
        assert_true(resident() < before + 12 * 1024 * 1024);
    }
    hob__fiber_pool_free();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fibers_interleave),
        cmocka_unit_test(registers_survive),
        cmocka_unit_test(stack_is_aligned),
        cmocka_unit_test(self_is_of_the_thread),
        cmocka_unit_test(backtrace_ends_at_the_entry),
        cmocka_unit_test(the_guard_is_known),
        cmocka_unit_test(overflow_hits_the_guard),
        cmocka_unit_test(deep_use_within_the_stack_is_fine),
        cmocka_unit_test(stacks_are_reused),
        cmocka_unit_test(pool_is_bounded_in_number_and_memory),
        cmocka_unit_test(what_is_taken_again_is_warm),
        cmocka_unit_test(a_crowd_in_waves_keeps_its_stacks_until_it_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

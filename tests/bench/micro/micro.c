/*
 * Measures small operations in the steady state, for check.py.
 *
 *     micro              "name ns" a line, the calibration loop among them
 *     micro --count      "name times allocations" a line; under callgrind, with a profile dumped by that name
 *     micro --toolchain  what the counts depend on
 *
 * Behind these, --only NAME leaves the others out, for a profiler, and --drill NAME makes that operation 20 us slower,
 * to see that it is seen.
 */
#include <json-c/json.h>
#include <libpq-fe.h>
#include <gnu/libc-version.h>
#include <string.h>
#include <sys/utsname.h>

#undef NVALGRIND /* which the library may be compiled with */
#include <valgrind/callgrind.h>

#include "base/clock.h"
#include "operations.h"

#define ROUNDS 301
#define BATCH_NS (200 * HOB_US) /* so short that most are not disturbed */
#define COUNTED 64
#define WARM 64
#define DRILL_NS (20 * HOB_US)
#define OPERATIONS_MAX 64

/* ---- Allocations, those of libraries too ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

#define STAND_IN __attribute__((visibility("default")))

static size_t allocations;

STAND_IN void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

STAND_IN void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

STAND_IN void *realloc(void *old, size_t size) {
    allocations++;
    return __libc_realloc(old, size);
}

/* ---- The calibration loop ---- */

/* Look-ups, branches and stores, several at a time, as in the code that is measured: a loop of which each step waits
 * for the one before would not slow down with it on a narrower core, or on one that is shared. */

enum { CALIBRATION_BYTES = 2048, CHAINS = 4 };

static volatile uint64_t sink;

static void run_calibration(void) {
    static unsigned char bytes[CALIBRATION_BYTES], copy[CALIBRATION_BYTES], classes[256];
    uint64_t hashes[CHAINS] = {0};
    for (size_t i = 0; i < CALIBRATION_BYTES; i += CHAINS)
        for (size_t k = 0; k < CHAINS; k++) {
            unsigned char byte = bytes[i + k];
            hashes[k] = (hashes[k] ^ byte) * UINT64_C(0x100000001b3);
            copy[i + k] = classes[byte] ? '?' : byte;
            if (byte != (unsigned char)((i + k) & 0x7f))
                bytes[i + k] = (unsigned char)((i + k) & 0x7f);
        }
    sink = hashes[0] ^ hashes[1] ^ hashes[2] ^ hashes[3] ^ copy[hashes[0] % CALIBRATION_BYTES];
}

static const operation calibration[] = {{.name = "calibration", .run = run_calibration}, {0}};

/* ---- Measurement ---- */

typedef struct measured {
    const operation *operation;
    bool slowed;
    size_t times; /* runs a batch */
    double ns[ROUNDS];
} measured;

static measured all[OPERATIONS_MAX];
static size_t count;

static unsigned at_once(const operation *operation) {
    return operation->at_once ? operation->at_once : 1;
}

/* Also in instructions: under valgrind, or where asking for the time is slow, few would fit into that time. */
static void wait_for_drill(void) {
    int64_t end = hob__clock_ns() + DRILL_NS;
    for (volatile int i = 0; i < 5000; i++) {
    }
    while (hob__clock_ns() < end) {
    }
}

static int64_t batch(const measured *m, size_t times) {
    int64_t begin = hob__clock_ns();
    for (size_t i = 0; i < times; i++) {
        m->operation->run();
        if (m->slowed)
            wait_for_drill();
    }
    return hob__clock_ns() - begin;
}

static void size_batch(measured *m) {
    batch(m, WARM);
    for (m->times = 1; batch(m, m->times) < BATCH_NS / 2; m->times *= 2) {
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(measured *m) {
    qsort(m->ns, ROUNDS, sizeof *m->ns, compare);
    printf("%s %.2f\n", m->operation->name, m->ns[ROUNDS / 2]);
}

/* In turns, so that a bad moment of the machine hits few batches of each. */
static void measure(void) {
    for (size_t i = 0; i < count; i++)
        size_batch(&all[i]);
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < count; i++)
            all[i].ns[round] =
                (double)batch(&all[i], all[i].times) / (double)(all[i].times * at_once(all[i].operation));
    for (size_t i = 0; i < count; i++)
        report(&all[i]);
}

static void count_events(void) {
    /* The usual one begins with a random number, so collisions vary. */
    json_global_set_string_hash(JSON_C_STR_HASH_PERLLIKE);
    for (size_t i = 0; i < count; i++) {
        const char *name = all[i].operation->name;
        batch(&all[i], WARM);
        CALLGRIND_START_INSTRUMENTATION;
        size_t before = allocations;
        batch(&all[i], COUNTED);
        CALLGRIND_DUMP_STATS_AT(name);
        CALLGRIND_STOP_INSTRUMENTATION;
        printf("%s %u %zu\n", name, COUNTED * at_once(all[i].operation), allocations - before);
    }
}

/* ---- The program ---- */

static bool is_named(const operation *operation, const char *name) {
    return name && strcmp(operation->name, name) == 0;
}

static void add(const operation *operations, const char *only, const char *drill) {
    for (; operations->name; operations++) {
        if (only && !is_named(operations, only))
            continue;
        EXPECT(count < OPERATIONS_MAX);
        all[count++] = (measured){.operation = operations, .slowed = is_named(operations, drill)};
        if (operations->begin)
            operations->begin();
    }
}

/* Major versions of libraries whose part in it is small. */
static void print_toolchain(void) {
    struct utsname machine;
    uname(&machine);
#ifdef __clang__
    const char *compiler = "clang", *version = __clang_version__;
#else
    const char *compiler = "gcc", *version = __VERSION__;
#endif
    bool avx2 = false;
#ifdef __x86_64__
    avx2 = __builtin_cpu_supports("avx2"); /* valgrind, too, passes it on or not */
#endif
    printf("%s %s, glibc %s, json-c %s, libpq %d, %s%s\n", compiler, version, gnu_get_libc_version(), json_c_version(),
           PQlibVersion() / 10000, machine.machine, avx2 ? " with AVX2" : "");
}

/* What stands behind the option; NULL when it is not given. */
static const char *value_of(char **arguments, const char *option) {
    for (; *arguments; arguments++)
        if (strcmp(*arguments, option) == 0)
            return arguments[1];
    return NULL;
}

int main(int argc, char **argv) {
    static const operation *const floors[] = {calibration, base_operations, run_operations, json_operations,
                                              http_operations};
    const char *mode = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof floors / sizeof *floors; i++)
        add(floors[i], value_of(argv, "--only"), value_of(argv, "--drill"));
    if (strcmp(mode, "--toolchain") == 0)
        print_toolchain();
    else if (strcmp(mode, "--count") == 0)
        count_events();
    else
        measure();
    return 0;
}

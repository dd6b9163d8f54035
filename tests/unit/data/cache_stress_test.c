/* Workers in processes of their own, a database of numbers in shared memory, servers that freeze, thaw, die and come
 * back, and a worker that is killed: nobody reads anything older than a write that had been acknowledged before he
 * asked. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>

#include "base/random.h"
#include "cache_fixture.h"

enum { WORKERS = 3, ROWS = 3, TASKS = 6 };
#define DURATION (6 * HOB_S)

typedef struct row {
    _Atomic uint64_t committed;
    _Atomic uint64_t acknowledged; /* never above committed */
    _Atomic int locked;            /* as a row is while it is written to */
} row;

static struct service {
    hob_cache_shared cache;
    row rows[ROWS];
    _Atomic uint64_t stale, hits, list_hits, fills, writes;
} * service;

static hob_cache *mine;
static int64_t end;

static void pause_ms(actor *a, int64_t ms) {
    int64_t until = hob__loop_now(loop) + ms * HOB_MS;
    while (hob__loop_now(loop) < until)
        (void)hob__task_park(&a->task, until);
}

/* How long a statement takes. */
static void query(actor *a) {
    pause_ms(a, hob__random() % 8 == 0 ? 5 : (int64_t)(hob__random() % 2));
}

static hob_text key_of_row(char key[16], int i) {
    return (hob_text){key, (size_t)snprintf(key, 16, "row-%d", i)};
}

static void write_row(actor *a, int i) {
    char key[16];
    row *r = &service->rows[i];
    hob_text text = key_of_row(key, i);
    uint64_t id = hob__cache_new_write_id();
    (void)hob__cache_tombstone(mine, &a->task, text, id);
    while (atomic_exchange(&r->locked, 1))
        pause_ms(a, 1);
    query(a);
    uint64_t version = atomic_fetch_add(&r->committed, 1) + 1;
    atomic_store(&r->locked, 0);
    if (hob__random() % 4 == 0)
        pause_ms(a, 2);
    hob__cache_delete(mine, &a->task, text, id);
    uint64_t before = atomic_load(&r->acknowledged);
    while (before < version && !atomic_compare_exchange_weak(&r->acknowledged, &before, version))
        continue;
    atomic_fetch_add(&service->writes, 1);
}

/* Rows `first` up to `last`: one of them, or the list of all. */
static void read_rows(actor *a, hob_text key, const hob_text *entities, size_t count, int first, int last) {
    uint64_t least[ROWS], got[ROWS] = {0};
    hob_text value;
    hob_cache_lease lease;
    for (int i = first; i < last; i++)
        least[i] = atomic_load(&service->rows[i].acknowledged);
    hob_cache_result result = hob__cache_get(mine, &a->task, key, entities, count, &value, &lease);
    if (result == HOB_CACHE_HIT) {
        memcpy(got, value.data, sizeof got);
        atomic_fetch_add(count ? &service->list_hits : &service->hits, 1);
        for (int i = first; i < last; i++)
            if (got[i] < least[i])
                atomic_fetch_add(&service->stale, 1);
        return;
    }
    for (int i = first; i < last; i++)
        got[i] = atomic_load(&service->rows[i].committed);
    query(a); /* the row has been read; its way here takes time */
    hob__cache_fill(mine, key, lease, (hob_text){(char *)got, sizeof got}, TTL);
    atomic_fetch_add(&service->fills, lease.id != 0);
}

static void act_at_random(actor *a) {
    char keys[ROWS][16];
    hob_text entities[ROWS];
    for (int i = 0; i < ROWS; i++)
        entities[i] = key_of_row(keys[i], i);
    while (hob__clock_ns() < end) {
        int i = (int)(hob__random() % ROWS);
        uint64_t what = hob__random() % 100;
        if (what < 8)
            write_row(a, i);
        else if (what < 30)
            read_rows(a, HOB_TEXT("list"), entities, ROWS, 0, ROWS);
        else
            read_rows(a, entities[i], NULL, 0, i, i + 1);
        hob__arena_reset(a->task.arena);
        pause_ms(a, (int64_t)(hob__random() % 3));
    }
}

static void work(size_t slot, const char *list) {
    static actor actors[TASKS];
    if (setup_loop(NULL) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(1);
    hob_config config = {.cache = list, .cache_timeout = 20 * HOB_MS, .cache_ttl = TTL, .request_timeout = 5 * HOB_S};
    char error[256];
    mine = hob__cache_new(loop, offload, &config, "test", &service->cache, slot, error);
    if (!mine)
        _exit(2);
    for (int i = 0; i < TASKS; i++)
        start(&actors[i], act_at_random, mine, "");
    for (int i = 0; i < TASKS; i++)
        while (!actors[i].ended)
            hob__loop_turn(loop, 10 * HOB_MS);
    hob__cache_free(mine);
    _exit(0);
}

static pid_t worker_start(size_t slot, const char *list) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        work(slot, list);
    return pid;
}

/* A worker that is killed within a write may leave its row locked; whether it committed, its client never heard. */
static void worker_kill(pid_t pid) {
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    usleep(20000);
    for (int i = 0; i < ROWS; i++)
        atomic_store(&service->rows[i].locked, 0);
}

/* A worker that is killed may leave a tombstone, and none of the list is kept until that is over: so first one is. */
static void trouble(pid_t workers[WORKERS], const char *list) {
    while (atomic_load(&service->list_hits) == 0 && hob__clock_ns() < end)
        usleep(1000);
    while (hob__clock_ns() + HOB_S < end) {
        server *s = &servers[hob__random() % 2];
        usleep(50000 + (useconds_t)(hob__random() % 150000));
        switch (hob__random() % 4) {
        case 0:
        case 1:
            server_freeze(s);
            usleep(10000 + (useconds_t)(hob__random() % 150000));
            server_thaw(s);
            break;
        case 2:
            server_kill(s);
            server_start(s);
            break;
        default:
            worker_kill(workers[0]);
            workers[0] = worker_start(0, list);
        }
    }
}

static void nothing_stale_is_read(void **state) {
    (void)state;
    char list[200];
    pid_t workers[WORKERS];
    service = mmap(NULL, sizeof *service, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(service, MAP_FAILED);
    snprintf(list, sizeof list, "%s,%s", servers[0].path, servers[1].path);
    server_start(&servers[0]);
    server_start(&servers[1]);
    end = hob__clock_ns() + DURATION;
    for (size_t i = 0; i < WORKERS; i++)
        workers[i] = worker_start(i, list);
    trouble(workers, list);
    for (size_t i = 0; i < WORKERS; i++) {
        int status;
        assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
        assert_int_equal(status, 0);
    }
    print_message("%llu hits, %llu of the list, %llu fills, %llu writes\n", (unsigned long long)service->hits,
                  (unsigned long long)service->list_hits, (unsigned long long)service->fills,
                  (unsigned long long)service->writes);
    assert_int_equal(atomic_load(&service->stale), 0);
    assert_true(service->hits > 100 && service->list_hits > 0 && service->writes > 50);
    munmap(service, sizeof *service);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_stale_is_read),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}

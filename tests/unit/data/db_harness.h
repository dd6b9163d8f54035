/* Tasks that ask the database, on a loop that the test turns. Assertions belong outside of tasks: a failed one leaves
 * by longjmp. */
#ifndef TESTS_UNIT_DATA_DB_HARNESS_H
#define TESTS_UNIT_DATA_DB_HARNESS_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/db.h"
#include "postgres.h"
#include "run/loop.h"

#define ACTORS 64
#define PATIENCE (30 * HOB_S) /* a test that hangs fails */

typedef struct actor {
    hob_task task; /* first */
    void (*fn)(struct actor *actor);
    hob_query query;
    const hob_param *params;
    size_t param_count;
    hob_rows *rows;
    hob_outcome outcome;
    void *arg;
    int order; /* in which the actors ended, from 1; 0: not yet */
} actor;

static hob_loop *loop;
static hob_offload_pool *offload;
static hob_config config;
static hob_db *db;
static actor actors[ACTORS];
static size_t actor_count;
static int ended;

static inline void default_config(void) {
    config = (hob_config){.database_url = server.url,
                          .db_max_open = 4,
                          .db_max_idle = 4,
                          .db_statement_timeout = 5 * HOB_S,
                          .db_lock_timeout = 2 * HOB_S,
                          .db_prepare = true};
}

static inline int open_loop(void **state) {
    (void)state;
    loop = hob__loop_new();
    offload = loop ? hob__offload_new(loop, 2) : NULL;
    default_config();
    return offload ? 0 : -1;
}

static inline void forget_actors(void) {
    for (size_t i = 0; i < actor_count; i++)
        hob__arena_free(actors[i].task.arena);
    actor_count = 0;
    ended = 0;
}

static inline int close_all(void **state) {
    (void)state;
    forget_actors();
    if (db)
        hob__db_free(db);
    db = NULL;
    hob__offload_free(offload);
    hob__loop_free(loop);
    hob__fiber_pool_free();
    return 0;
}

static inline void turn_ms(int64_t ms) {
    for (int64_t end = hob__clock_ns() + ms * HOB_MS, now; (now = hob__clock_ns()) < end;)
        hob__loop_turn(loop, end - now);
}

/* Turns until what value points to is at least that. */
static inline void turn_until(const uint64_t *value, uint64_t least) {
    for (int64_t end = hob__clock_ns() + PATIENCE; *value < least && hob__clock_ns() < end;)
        hob__loop_turn(loop, 20 * HOB_MS);
    assert_true(*value >= least);
}

static inline void open_db(void) {
    db = hob__db_new(loop, offload, &config, "db_test");
    assert_non_null(db);
}

static inline void open_warm_db(void) {
    int64_t warm = config.db_max_idle < config.db_max_open ? config.db_max_idle : config.db_max_open;
    open_db();
    turn_until(&hob__db_counters(db)->connects, warm > 0 ? (uint64_t)warm : 1);
}

static inline void on_task(hob_task *task) {
    actor *self = (actor *)task;
    self->fn(self);
    self->order = ++ended;
}

static inline actor *act(void (*fn)(actor *self), int64_t deadline_ms) {
    assert_true(actor_count < ACTORS);
    actor *self = &actors[actor_count++];
    *self = (actor){.fn = fn};
    self->task.loop = loop;
    self->task.arena = hob__arena_new(64 << 20);
    self->task.deadline = hob__clock_ns() + deadline_ms * HOB_MS;
    assert_true(hob__task_start(&self->task, on_task));
    return self;
}

static inline void act_query(actor *self) {
    self->rows = hob__db_query(db, &self->task, &self->query, self->params, self->param_count);
    self->outcome = self->rows->outcome;
}

static inline actor *ask_within(int64_t deadline_ms, hob_query query, const hob_param *params, size_t count) {
    actor *self = act(act_query, deadline_ms);
    self->query = query;
    self->params = params;
    self->param_count = count;
    return self;
}

static inline actor *ask_read(const char *sql) {
    return ask_within(20000, (hob_query)HOB_READ(sql), NULL, 0);
}

static inline actor *ask_write(const char *sql) {
    return ask_within(20000, (hob_query)HOB_WRITE(sql), NULL, 0);
}

static inline void finish(const actor *self) {
    for (int64_t end = hob__clock_ns() + PATIENCE; !self->order && hob__clock_ns() < end;)
        hob__loop_turn(loop, 20 * HOB_MS);
    assert_int_not_equal(self->order, 0);
}

static inline void finish_all(void) {
    for (size_t i = 0; i < actor_count; i++)
        finish(&actors[i]);
}

/* Until it counts as quick. */
static inline void warm(hob_query query, const hob_param *params, size_t count) {
    for (int i = 0; i < 12; i++) {
        actor *self = ask_within(20000, query, params, count);
        finish(self);
        assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
        forget_actors();
    }
}

static inline hob_text value_of(const actor *self) {
    const PGresult *result = self->rows->result;
    return result && PQntuples(result) > 0 ? (hob_text){PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0)}
                                           : (hob_text){0};
}

static inline void assert_value(const actor *self, const char *expected) {
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    hob_text value = value_of(self);
    assert_int_equal(value.size, strlen(expected));
    assert_memory_equal(value.data, expected, value.size);
}

static inline int create_server(void **state) {
    (void)state;
    server_create();
    server_sql("CREATE TABLE item (id int PRIMARY KEY, name varchar(20) CONSTRAINT item_name UNIQUE, "
               "size int CONSTRAINT item_size CHECK (size > 0), parent int CONSTRAINT item_parent REFERENCES item, "
               "tag int CONSTRAINT item_tag UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    return hob__log_open(getenv("HOB_TEST_LOG") ? getenv("HOB_TEST_LOG") : "/dev/null", HOB_LOG_DEBUG) ? 0 : -1;
}

#define DB_TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_all)
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

#endif

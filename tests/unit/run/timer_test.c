#include "support.h"

#define TIMERS 400

typedef struct probe {
    hob_timer timer;  /* first: on_expire gets back to the probe */
    int64_t model_at; /* INT64_MAX: unset */
} probe;

static probe probes[TIMERS];
static int64_t last_at;
static size_t fired;
static hob_loop *loop_of_test;

static uint64_t random_state;
static uint64_t next_random(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state >> 33;
}

static void on_probe(hob_timer *timer) {
    probe *p = (probe *)timer;
    assert_null(timer->link);
    assert_int_equal(timer->at, p->model_at);
    assert_true(timer->at <= hob__loop_now(loop_of_test));
    assert_true(timer->at >= last_at);
    last_at = timer->at;
    p->model_at = INT64_MAX;
    fired++;
}

/* How many the model has set, up to a time. */
static size_t model_set(int64_t up_to) {
    size_t set = 0;
    for (size_t i = 0; i < TIMERS; i++)
        set += probes[i].model_at <= up_to;
    return set;
}

static void turn_and_compare(int64_t longest_wait) {
    size_t before = model_set(INT64_MAX - 1);
    fired = 0;
    last_at = 0;
    hob__loop_turn(loop_of_test, longest_wait);
    assert_int_equal(model_set(hob__loop_now(loop_of_test)), 0);
    assert_int_equal(model_set(INT64_MAX - 1) + fired, before);
}

/* Sets, moves and clears at random; whatever is due fires, in order, once, and nothing else does. */
static void random_order_against_a_model(void **state) {
    loop_of_test = *state;
    random_state = 7;
    int64_t start = hob__loop_now(loop_of_test);
    for (size_t i = 0; i < TIMERS; i++)
        probes[i] = (probe){.timer.on_expire = on_probe, .model_at = INT64_MAX};
    for (int round = 0; round < 300; round++) {
        for (int step = 0; step < 100; step++) {
            probe *p = &probes[next_random() % TIMERS];
            if (next_random() % 3 == 0) {
                hob__timer_clear(loop_of_test, &p->timer);
                p->model_at = INT64_MAX;
            } else {
                p->model_at = start + (int64_t)(next_random() % 40) * HOB_MS; /* many at the same time */
                hob__timer_set(loop_of_test, &p->timer, p->model_at);
            }
        }
        turn_and_compare(0);
    }
    while (model_set(INT64_MAX - 1) > 0) {
        turn_and_compare(HOB_FOREVER); /* ends only because a timer ends it */
        assert_true(fired > 0);
    }
}

static void on_counted(hob_timer *timer) {
    (void)timer;
    fired++;
}

static void on_again(hob_timer *timer) {
    fired++;
    hob__timer_set(loop_of_test, timer, 0);
}

static void setting_a_past_time_again_waits_for_the_next_turn(void **state) {
    loop_of_test = *state;
    hob_timer timer = {.on_expire = on_again};
    fired = 0;
    hob__timer_set(loop_of_test, &timer, 0);
    for (size_t turn = 1; turn <= 5; turn++) {
        hob__loop_turn(loop_of_test, HOB_FOREVER);
        assert_int_equal(fired, turn);
    }
    hob__timer_clear(loop_of_test, &timer);
    hob__loop_turn(loop_of_test, 0);
    assert_int_equal(fired, 5);
}

static hob_timer victims[3];

static void on_kill(hob_timer *timer) {
    (void)timer;
    for (size_t i = 0; i < 3; i++)
        hob__timer_clear(loop_of_test, &victims[i]);
    fired += 100;
}

static void a_callback_clears_others_that_are_due(void **state) {
    loop_of_test = *state;
    fired = 0;
    int64_t at = hob__loop_now(loop_of_test);
    hob_timer killer = {.on_expire = on_kill}, later = {.on_expire = on_counted};
    hob__timer_set(loop_of_test, &killer, at - 10);
    hob__timer_set(loop_of_test, &later, at - 1);
    for (int64_t i = 0; i < 3; i++) {
        victims[i] = (hob_timer){.on_expire = on_counted};
        hob__timer_set(loop_of_test, &victims[i], at - 5 + i);
    }
    hob__loop_turn(loop_of_test, 0);
    assert_int_equal(fired, 101);
}

static void clearing_an_unset_timer_does_nothing(void **state) {
    hob_timer timer = {0};
    hob__timer_clear(*state, &timer);
    hob__timer_clear(*state, &timer);
    assert_null(timer.link);
}

static void a_timer_is_never_early_and_ends_the_wait(void **state) {
    loop_of_test = *state;
    fired = 0;
    hob_timer timer = {.on_expire = on_counted};
    int64_t at = hob__clock_ns() + 3 * HOB_MS + 100;
    hob__timer_set(loop_of_test, &timer, at);
    int turns = 0;
    while (!fired) {
        hob__loop_turn(loop_of_test, HOB_FOREVER);
        turns++;
        if (fired)
            assert_true(hob__loop_now(loop_of_test) >= at);
    }
    assert_in_range(turns, 1, 3); /* no spinning up to the moment */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(random_order_against_a_model),
        LOOP_TEST(setting_a_past_time_again_waits_for_the_next_turn),
        LOOP_TEST(a_callback_clears_others_that_are_due),
        LOOP_TEST(clearing_an_unset_timer_does_nothing),
        LOOP_TEST(a_timer_is_never_early_and_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

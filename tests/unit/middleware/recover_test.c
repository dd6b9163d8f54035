#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../http/fixture.h"

static int returned;

static int handler(hob_ctx *c) {
    (void)hob_text_reply(c, 200, HOB_TEXT("hello"));
    return returned;
}

static int silent(hob_ctx *c) {
    (void)c;
    return returned;
}

static int recovered(fixture *f, hob_handler *of, int status) {
    fixture_get(f, "/");
    returned = status;
    return hob_recover(&f->ctx, &(hob_chain){.rest = (hob_middleware *const[]){NULL}, .handler = of});
}

static void a_good_answer_is_left_alone(void **state) {
    fixture f;
    (void)state;
    assert_int_equal(recovered(&f, handler, 200), 200);
    assert_text(f.response.body, "hello");
    fixture_end(&f);
}

static void what_is_no_answer_becomes_a_500(void **state) {
    static const struct {
        hob_handler *handler;
        int status;
    } cases[] = {{silent, 0}, {silent, 200}, {silent, -1}, {silent, 404}, {silent, 1000}, {handler, 0}, {handler, 201}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        assert_int_equal(recovered(&f, cases[i].handler, cases[i].status), 500);
        assert_int_equal(f.response.status, 500);
        assert_contains(f.response.body, "\"title\":\"Internal Server Error\"");
        fixture_end(&f);
    }
}

static int greedy(hob_ctx *c) {
    assert_null(hob_alloc(c, FIXTURE_MEMORY));
    return hob_text_reply(c, 200, HOB_TEXT("hello"));
}

static void memory_that_ran_out_becomes_a_503(void **state) {
    fixture f;
    (void)state;
    assert_int_equal(recovered(&f, greedy, 0), 503);
    assert_int_equal(f.response.status, 503);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_answer_is_left_alone),
        cmocka_unit_test(what_is_no_answer_becomes_a_500),
        cmocka_unit_test(memory_that_ran_out_becomes_a_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../http/fixture.h"
#include "base/random.h"

static fixture f;
static bool ran;

static int handler(hob_ctx *c) {
    ran = true;
    return hob_not_found(c, "no");
}

static hob_middleware *const NONE[] = {NULL};

static void pass(char *header) {
    fixture_begin(&f, (char *[]){"REQUEST_METHOD=GET", header, NULL});
    ran = false;
    assert_int_equal(hob_request_id(&f.ctx, &(hob_chain){.rest = NONE, .handler = handler}), 404);
    assert_true(ran);
}

static void assert_told(const char *id) {
    char instance[128];
    assert_text(f.request.id, id);
    assert_text(hob__response_header(&f.response, HOB_TEXT("X-Request-ID")), id);
    snprintf(instance, sizeof instance, "\"instance\":\"%s\"", id);
    assert_contains(f.response.body, instance);
    fixture_end(&f);
}

static void a_well_formed_id_is_kept(void **state) {
    static const char *const ids[] = {"a", "A.b_c-9", "-",
                                      "0123456789012345678901234567890123456789012345678901234567890123"};
    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char header[128];
        snprintf(header, sizeof header, "HTTP_X_REQUEST_ID=%s", ids[i]);
        pass(header);
        assert_told(ids[i]);
    }
}

static void anything_else_is_replaced_by_a_uuid(void **state) {
    static const char *const ids[] = {
        "",         " ",   "a b", "a/b",   "a\r\nb",
        "\xc3\xa9", "a\"", "{a}", "a\x7f", "01234567890123456789012345678901234567890123456789012345678901234"};
    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char header[128];
        snprintf(header, sizeof header, "HTTP_X_REQUEST_ID=%s", ids[i]);
        pass(header);
        assert_true(hob__uuid_valid(f.request.id));
        assert_int_equal(f.request.id.data[14], '7');
        assert_told(f.request.own_id);
    }
    pass("X=y");
    assert_true(hob__uuid_valid(f.request.id));
    fixture_end(&f);
}

static void ids_differ(void **state) {
    (void)state;
    pass("X=y");
    char first[HOB_UUID_SIZE];
    memcpy(first, f.request.own_id, sizeof first);
    fixture_end(&f);
    pass("X=y");
    assert_string_not_equal(first, f.request.own_id);
    fixture_end(&f);
}

static int settled(hob_ctx *c) {
    return hob__settle(c, hob_text_reply(c, 200, HOB_TEXT("x")));
}

static void needs_no_memory(void **state) {
    (void)state;
    fixture_get(&f, "/");
    hob__arena_fail(f.arena);
    assert_int_equal(hob_request_id(&f.ctx, &(hob_chain){.rest = NONE, .handler = settled}), 503);
    assert_text(hob__response_header(&f.response, HOB_TEXT("X-Request-ID")), f.request.own_id);
    assert_true(hob__uuid_valid(f.request.id));
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_well_formed_id_is_kept),
        cmocka_unit_test(anything_else_is_replaced_by_a_uuid),
        cmocka_unit_test(ids_differ),
        cmocka_unit_test(needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "fixture.h"

static hob_arena *arena;
static hob_response response;

static int begin(void **state) {
    (void)state;
    arena = hob__arena_new(FIXTURE_MEMORY);
    memset(&response, 0, sizeof response);
    return arena ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

static void writes_a_head(void **state) {
    (void)state;
    response.status = 201;
    response.content_type = HOB_TEXT("application/json");
    response.body = HOB_TEXT("{}");
    assert_true(hob__response_set(&response, arena, HOB_TEXT("Location"), HOB_TEXT("/a")));
    assert_text(hob__response_head(&response, arena), "Location: /a\r\nStatus: 201 Created\r\n"
                                                      "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n");
}

static void a_location_leaves_room_for_the_status(void **state) {
    (void)state;
    char large[HOB_HEADER_BLOCK_MAX];
    memset(large, 'x', sizeof large);
    response.status = 201;
    assert_true(hob__response_set(&response, arena, HOB_TEXT("Location"), (hob_text){large, sizeof large - 20}));
    assert_text(hob__response_head(&response, arena), "Status: 201 Created\r\nContent-Length: 0\r\n\r\n");
}

static void a_status_without_content_says_no_length(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *head;
    } cases[] = {{204, "Status: 204 No Content\r\n\r\n"}, {304, "Status: 304 Not Modified\r\n\r\n"}};
    for (size_t i = 0; i < 2; i++) {
        response.status = cases[i].status;
        response.body = HOB_TEXT("nothing of this");
        response.content_type = HOB_TEXT("text/plain");
        assert_text(hob__response_head(&response, arena), cases[i].head);
        assert_false(hob__response_has_body(&response, HOB_GET));
    }
}

static void a_head_tells_the_length_of_what_get_would_bring(void **state) {
    (void)state;
    response.status = 200;
    response.body = HOB_TEXT("12345");
    assert_contains(hob__response_head(&response, arena), "\r\nContent-Length: 5\r\n");
    assert_false(hob__response_has_body(&response, HOB_HEAD));
    assert_true(hob__response_has_body(&response, HOB_GET));
}

static void an_unknown_status_has_no_phrase(void **state) {
    (void)state;
    response.status = 299;
    assert_text(hob__response_head(&response, arena), "Status: 299\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(hob__status_phrase(299), "");
    assert_string_equal(hob__status_phrase(404), "Not Found");
}

static void replaces_headers_in_any_case(void **state) {
    (void)state;
    assert_true(hob__response_set(&response, arena, HOB_TEXT("ETag"), HOB_TEXT("\"1\"")));
    assert_true(hob__response_set(&response, arena, HOB_TEXT("etag"), HOB_TEXT("\"2\"")));
    assert_int_equal(response.header_count, 1);
    assert_text(hob__response_header(&response, HOB_TEXT("ETAG")), "\"2\"");
    assert_null(hob__response_header(&response, HOB_TEXT("E")).data);
}

static void copies_what_it_is_given(void **state) {
    (void)state;
    char name[] = "X-A", value[] = "b";
    assert_true(hob__response_set(&response, arena, hob_text_of(name), hob_text_of(value)));
    name[0] = value[0] = '!';
    assert_text(hob__response_header(&response, HOB_TEXT("x-a")), "b");
}

static void no_control_byte_reaches_the_wire(void **state) {
    (void)state;
    response.status = 200;
    hob_text evil = HOB_TEXT("a\r\nSet-Cookie: x\0y\x7f\x01\tz\xc3\xa9");
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-A"), evil));
    assert_true(hob__response_set(&response, arena, HOB_TEXT("Content-Type"), HOB_TEXT("text/plain\r\nX-B: c")));
    hob_text head = hob__response_head(&response, arena);
    assert_contains(head, "\r\nX-A: aSet-Cookie: xyz\xc3\xa9\r\n");
    assert_contains(head, "\r\nContent-Type: text/plainX-B: c\r\n");
    assert_text(hob__wire_text(arena, HOB_TEXT("\n")), "");
}

static void refuses_names_that_would_break_the_head(void **state) {
    static const hob_text names[] = {HOB_TEXT(""),
                                     HOB_TEXT("A B"),
                                     HOB_TEXT("A:"),
                                     HOB_TEXT("A\r\nB"),
                                     HOB_TEXT("A\0"),
                                     HOB_TEXT("\xc3\xa9"),
                                     HOB_TEXT("status"),
                                     HOB_TEXT("CONTENT-LENGTH"),
                                     HOB_TEXT("Transfer-Encoding")};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(hob__response_set(&response, arena, names[i], HOB_TEXT("1")));
    assert_int_equal(response.header_count, 0);
}

static void content_type_has_one_place(void **state) {
    (void)state;
    response.content_type = HOB_TEXT("text/plain");
    assert_true(hob__response_set(&response, arena, HOB_TEXT("content-type"), HOB_TEXT("text/html")));
    assert_int_equal(response.header_count, 0);
    assert_text(response.content_type, "text/html");
    assert_text(hob__response_header(&response, HOB_TEXT("Content-Type")), "text/html");
}

static void a_header_that_does_not_fit_is_left_out(void **state) {
    (void)state;
    char large[HOB_HEADER_BLOCK_MAX];
    memset(large, 'x', sizeof large);
    response.status = 200;
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-A"), HOB_TEXT("1")));
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-Large"), (hob_text){large, sizeof large}));
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-B"), HOB_TEXT("2")));
    assert_text(hob__response_head(&response, arena),
                "Status: 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\nX-B: 2\r\n\r\n");
}

static void a_block_is_filled_to_its_end(void **state) {
    (void)state;
    static const char frame[] = "Status: 200 OK\r\nContent-Length: 0\r\nX-A: \r\n\r\n";
    char large[HOB_HEADER_BLOCK_MAX];
    size_t fits = HOB_HEADER_BLOCK_MAX - (sizeof frame - 1);
    memset(large, 'x', sizeof large);
    response.status = 200;
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-A"), (hob_text){large, fits}));
    assert_int_equal(hob__response_head(&response, arena).size, HOB_HEADER_BLOCK_MAX);
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-A"), (hob_text){large, fits + 1}));
    assert_text(hob__response_head(&response, arena), "Status: 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void keeps_many_headers(void **state) {
    (void)state;
    char name[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "X-%d", i);
        assert_true(hob__response_set(&response, arena, hob_text_of(name), hob_text_of(name + 2)));
    }
    assert_int_equal(response.header_count, 40);
    assert_text(hob__response_header(&response, HOB_TEXT("x-0")), "0");
    assert_text(hob__response_header(&response, HOB_TEXT("x-39")), "39");
}

static void without_memory_the_head_is_that_of_a_503(void **state) {
    (void)state;
    char id[65] = {0};
    memset(id, 'i', 64);
    response.status = 200;
    response.body = HOB_TEXT("an answer");
    assert_true(hob__response_set(&response, arena, HOB_TEXT("X-Request-ID"), hob_text_of(id)));
    assert_true(hob__response_set(&response, arena, HOB_TEXT("Location"), HOB_TEXT("/a")));
    hob__arena_fail(arena);
    assert_false(hob__response_set(&response, arena, HOB_TEXT("X-B"), HOB_TEXT("2")));
    hob_text head = hob__response_head(&response, arena);
    assert_int_equal(response.status, 503);
    assert_contains(head, "Status: 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n");
    assert_contains(head, "\r\nRetry-After: 1\r\n");
    assert_contains(head, id);
    assert_null(memmem(head.data, head.size, "Location", 8));
    assert_memory_equal(head.data + head.size - 4, "\r\n\r\n", 4);
    assert_contains(response.body, "\"status\":503");
    char length[64];
    snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", response.body.size);
    assert_contains(head, length);
}

static void a_503_for_want_of_memory_may_have_no_id(void **state) {
    (void)state;
    hob__arena_fail(arena);
    assert_int_equal(hob__response_out_of_memory(&response, (hob_text){0}), 503);
    assert_int_equal(hob__response_out_of_memory(&response, HOB_TEXT("late")), 503);
    assert_int_equal(response.header_count, 1);
    assert_text(hob__response_header(&response, HOB_TEXT("Retry-After")), "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(writes_a_head),
        TEST(a_location_leaves_room_for_the_status),
        TEST(a_status_without_content_says_no_length),
        TEST(a_head_tells_the_length_of_what_get_would_bring),
        TEST(an_unknown_status_has_no_phrase),
        TEST(replaces_headers_in_any_case),
        TEST(copies_what_it_is_given),
        TEST(no_control_byte_reaches_the_wire),
        TEST(refuses_names_that_would_break_the_head),
        TEST(content_type_has_one_place),
        TEST(a_header_that_does_not_fit_is_left_out),
        TEST(a_block_is_filled_to_its_end),
        TEST(keeps_many_headers),
        TEST(without_memory_the_head_is_that_of_a_503),
        TEST(a_503_for_want_of_memory_may_have_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

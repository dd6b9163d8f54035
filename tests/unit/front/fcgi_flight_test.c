#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/random.h"
#include "front/fcgi_flight.h"

static const hob_arena *const an_arena = (const hob_arena *)&an_arena; /* only compared */

static void set_id(hob_request *request, const char *id) {
    memcpy(request->own_id, id, strlen(id) + 1);
}

/* ---- Which are in flight ---- */

static size_t count_flights(void) {
    size_t count = 0;
    for (const hob_flight *flight = NULL; (flight = hob__flight_next(flight)) != NULL; count++)
        assert_non_null(flight->request);
    return count;
}

static void those_in_flight_are_found(void **state) {
    (void)state;
    static hob_request requests[3];
    hob_flight *flights[3];
    for (size_t i = 0; i < 3; i++)
        flights[i] = hob__flight_open(10 + (int)i);
    assert_int_equal(count_flights(), 0);
    for (size_t i = 0; i < 3; i++)
        hob__flight_begin(flights[i], &requests[i], an_arena, 1);
    assert_int_equal(count_flights(), 3);
    hob__flight_end(flights[1]);
    const hob_flight *first = hob__flight_next(NULL), *second = hob__flight_next(first);
    assert_ptr_equal(first->request, &requests[0]);
    assert_ptr_equal(second->request, &requests[2]);
    assert_ptr_equal(second->arena, an_arena);
    assert_null(hob__flight_next(second));
    hob__flight_close(flights[1]);
    assert_ptr_equal(hob__flight_open(20), flights[1]); /* a spare one is used again */
    assert_int_equal(count_flights(), 2);
    for (size_t i = 0; i < 3; i++) {
        hob__flight_end(flights[i]);
        hob__flight_close(flights[i]);
    }
    assert_null(hob__flight_next(NULL));
}

static void too_many_are_served_without(void **state) {
    (void)state;
    static hob_flight *flights[40000];
    static hob_request request;
    size_t count = 0;
    while (count < 40000 && (flights[count] = hob__flight_open(1000)) != NULL)
        hob__flight_begin(flights[count++], &request, an_arena, 1);
    assert_in_range(count, 30000, 39999); /* HOB_MAX_IN_FLIGHT, at most, and some */
    assert_int_equal(count_flights(), count);
    for (size_t i = 0; i <= count; i++) { /* the last is none */
        hob__flight_end(flights[i]);
        hob__flight_close(flights[i]);
    }
    hob__flight_begin(NULL, &request, an_arena, 1);
    assert_int_equal(count_flights(), 0);
}

static bool has_ended(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void only_idle_connections_are_hung_up(void **state) {
    (void)state;
    int idle[2], busy[2], closed[2];
    hob_request request = {.method = HOB_GET};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, idle), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, busy), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, closed), 0);
    hob_flight *of_idle = hob__flight_open(idle[0]), *of_busy = hob__flight_open(busy[0]);
    hob__flight_close(hob__flight_open(closed[0]));
    hob__flight_begin(of_busy, &request, an_arena, 1);
    hob__flight_hang_up_idle();
    assert_true(has_ended(idle[1]));
    assert_false(has_ended(busy[1]));
    assert_false(has_ended(closed[1]));
    hob__flight_end(of_busy);
    hob__flight_close(of_busy);
    hob__flight_close(of_idle);
    for (int i = 0; i < 2; i++) {
        close(idle[i]);
        close(busy[i]);
        close(closed[i]);
    }
}

/* ---- Answers ---- */

typedef struct answer {
    char http[1024];
    size_t size;
    bool complete; /* up to FCGI_END_REQUEST, and nothing behind it but the end */
} answer;

static void parse_records(const uint8_t *at, const uint8_t *end, int fcgi_id, answer *answer) {
    bool stdout_ended = false;
    while (end - at >= FCGI_HEADER_LEN) {
        size_t size = (size_t)(at[4] << 8 | at[5]);
        assert_int_equal(at[0], FCGI_VERSION_1);
        assert_int_equal(at[2] << 8 | at[3], fcgi_id);
        assert_true(FCGI_HEADER_LEN + size + at[6] <= (size_t)(end - at));
        assert_false(answer->complete);
        if (at[1] == FCGI_STDOUT) {
            memcpy(answer->http + answer->size, at + FCGI_HEADER_LEN, size);
            answer->size += size;
            stdout_ended = size == 0;
        } else {
            assert_int_equal(at[1], FCGI_END_REQUEST);
            assert_int_equal(size, sizeof(FCGI_EndRequestBody));
            answer->complete = stdout_ended;
        }
        at += FCGI_HEADER_LEN + size + at[6];
    }
    assert_ptr_equal(at, end);
}

static answer answer_of(hob_request *request, int fcgi_id, int status, const char *detail) {
    int pair[2];
    uint8_t bytes[2048];
    answer answer = {0};
    size_t size = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    hob_flight *flight = hob__flight_open(pair[0]);
    hob__flight_begin(flight, request, an_arena, fcgi_id);
    assert_true(hob__flight_answer(flight, status, detail));
    hob__flight_end(flight);
    hob__flight_close(flight);
    for (ssize_t n; (n = read(pair[1], bytes + size, sizeof bytes - size)) > 0;) /* it is shut down, so this ends */
        size += (size_t)n;
    parse_records(bytes, bytes + size, fcgi_id, &answer);
    assert_true(answer.complete);
    close(pair[0]);
    close(pair[1]);
    return answer;
}

static const char *body_of(const answer *answer) {
    const char *end = strstr(answer->http, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void an_answer_is_a_problem_with_the_requests_id(void **state) {
    (void)state;
    hob_request request = {.method = HOB_POST};
    set_id(&request, "an-id.1");
    answer answer = answer_of(&request, 1, 500, "it broke");
    assert_non_null(strstr(answer.http, "Status: 500 Internal Server Error\r\n"));
    assert_non_null(strstr(answer.http, "Content-Type: application/problem+json\r\n"));
    assert_non_null(strstr(answer.http, "X-Request-ID: an-id.1\r\n"));
    assert_string_equal(body_of(&answer),
                        "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\",\"status\":500,"
                        "\"detail\":\"it broke\",\"instance\":\"an-id.1\"}");
    const char *length = strstr(answer.http, "Content-Length: ");
    assert_int_equal(strtol(length + strlen("Content-Length: "), NULL, 10), strlen(body_of(&answer)));
}

static void the_longest_id_fits(void **state) {
    (void)state;
    hob_request request = {.method = HOB_GET};
    memset(request.own_id, 'x', HOB_REQUEST_ID_MAX);
    answer answer = answer_of(&request, 65535, 504, "the server did not answer in time; its log knows it by this one");
    assert_non_null(strstr(answer.http, "Status: 504 Gateway Timeout\r\n"));
    assert_non_null(strstr(body_of(&answer), request.own_id));
}

static void head_has_the_length_but_no_body(void **state) {
    (void)state;
    hob_request request = {.method = HOB_HEAD};
    set_id(&request, "a");
    answer answer = answer_of(&request, 256, 500, "it broke");
    assert_string_equal(body_of(&answer), "");
    assert_null(strstr(answer.http, "Content-Length: 0\r\n"));
}

static void who_has_no_id_gets_one(void **state) {
    (void)state;
    hob_request request = {.method = HOB_GET};
    (void)answer_of(&request, 1, 500, "it broke");
    assert_true(hob__uuid_valid(request.id));
}

/* The heap may have been overwritten. */
static void a_damaged_id_does_no_harm(void **state) {
    (void)state;
    hob_request request = {.method = (hob_http_method)77};
    memset(request.own_id, '"', sizeof request.own_id);
    memcpy(request.own_id, "a\r\nX: \xff\\", 8);
    answer answer = answer_of(&request, 1, 500, "it broke");
    assert_null(strstr(answer.http, "\r\nX: "));
    assert_non_null(strstr(answer.http, "X-Request-ID: a??X?"));
    assert_int_equal(request.id.size, HOB_REQUEST_ID_MAX);
    assert_null(memchr(request.id.data, '"', request.id.size));
}

static void a_full_socket_is_not_waited_for(void **state) {
    (void)state;
    int pair[2];
    char filling[4096] = {0};
    hob_request request = {.method = HOB_GET};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    while (write(pair[0], filling, sizeof filling) > 0) {
    }
    hob_flight *flight = hob__flight_open(pair[0]);
    hob__flight_begin(flight, &request, an_arena, 1);
    assert_false(hob__flight_answer(flight, 500, "it broke"));
    close(pair[1]);
    assert_false(hob__flight_answer(flight, 500, "it broke")); /* nor does a peer that has gone raise SIGPIPE */
    hob__flight_end(flight);
    hob__flight_close(flight);
    close(pair[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_in_flight_are_found),
        cmocka_unit_test(too_many_are_served_without),
        cmocka_unit_test(only_idle_connections_are_hung_up),
        cmocka_unit_test(an_answer_is_a_problem_with_the_requests_id),
        cmocka_unit_test(the_longest_id_fits),
        cmocka_unit_test(head_has_the_length_but_no_body),
        cmocka_unit_test(who_has_no_id_gets_one),
        cmocka_unit_test(a_damaged_id_does_no_harm),
        cmocka_unit_test(a_full_socket_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

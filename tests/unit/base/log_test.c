#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char directory[64], path[96], moved[96];
static char bytes[1 << 20]; /* what was read last */

static int set_up(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/hob-log-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/log", directory);
    snprintf(moved, sizeof moved, "%s/log.1", directory);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    unlink(moved);
    return rmdir(directory);
}

static size_t slurp(int fd) {
    size_t size = 0;
    ssize_t got;
    while ((got = read(fd, bytes + size, sizeof bytes - 1 - size)) > 0)
        size += (size_t)got;
    bytes[size] = '\0';
    return size;
}

static size_t slurp_file(const char *name) {
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    size_t size = slurp(fd);
    close(fd);
    return size;
}

/* Takes the line at *at, which must be a JSON object whose strings are UTF-8. */
static json_object *next_line(char **at) {
    char *end = strchr(*at, '\n');
    assert_non_null(end);
    assert_true(end - *at < HOB_LOG_LINE);
    *end = '\0';
    hob_text text = hob_text_of(*at);
    assert_int_equal(hob__utf8_valid_prefix(text), text.size);
    json_object *line = json_tokener_parse(*at);
    if (line == NULL)
        fail_msg("no JSON: %s", *at);
    *at = end + 1;
    return line;
}

/* The only line in the file, which is then emptied. */
static json_object *only_line(void) {
    slurp_file(path);
    char *at = bytes;
    json_object *line = next_line(&at);
    assert_string_equal(at, "");
    assert_int_equal(truncate(path, 0), 0);
    return line;
}

static hob_text member(json_object *line, const char *key) {
    json_object *value;
    if (!json_object_object_get_ex(line, key, &value))
        return (hob_text){NULL, 0};
    return (hob_text){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

static bool has(json_object *line, const char *key) {
    return json_object_object_get_ex(line, key, NULL);
}

static int64_t number(json_object *line, const char *key) {
    return json_object_get_int64(json_object_object_get(line, key));
}

static void assert_member(json_object *line, const char *key, hob_text expected) {
    hob_text value = member(line, key);
    assert_non_null(value.data);
    assert_int_equal(value.size, expected.size);
    assert_memory_equal(value.data, expected.data, expected.size);
}

static void test_line(void **state) {
    (void)state;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    hob__log(HOB_LOG_WARN, "%s is %d", "it", 42);
    json_object *line = only_line();
    assert_member(line, "msg", HOB_TEXT("it is 42"));
    assert_member(line, "level", HOB_TEXT("warn"));
    assert_int_equal(number(line, "pid"), getpid());
    assert_int_equal(member(line, "ts").size, strlen("2026-11-24T21:59:23.000001Z"));
    assert_int_equal(json_object_object_length(line), 4);
    json_object_put(line);

    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0007, 0);
}

static void test_levels(void **state) {
    (void)state;
    for (int open = HOB_LOG_ERROR; open <= HOB_LOG_DEBUG; open++) {
        assert_true(hob__log_open(path, (hob_log_level)open));
        for (int level = HOB_LOG_ERROR; level <= HOB_LOG_DEBUG; level++) {
            assert_int_equal(hob__log_enabled((hob_log_level)level), level <= open);
            hob__log((hob_log_level)level, "x");
        }
        slurp_file(path);
        char *at = bytes;
        for (int level = HOB_LOG_ERROR; level <= open; level++) {
            json_object *line = next_line(&at);
            assert_member(line, "level", hob_text_of(hob__log_level_name((hob_log_level)level)));
            json_object_put(line);
        }
        assert_string_equal(at, "");
        assert_int_equal(truncate(path, 0), 0);
    }
}

static void test_escapes(void **state) {
    (void)state;
    static const struct {
        hob_text text;
        const char *raw;    /* in the line */
        hob_text read_back; /* no text: the same */
    } cases[] = {
        {HOB_TEXT(""), "\"\"", {NULL, 0}},
        {HOB_TEXT("a\"b\\c/"), "\"a\\\"b\\\\c/\"", {NULL, 0}},
        {HOB_TEXT("a\nb\r\t\x01\x1f"), "\"a\\u000ab\\u000d\\u0009\\u0001\\u001f\"", {NULL, 0}},
        {HOB_TEXT("a\0b"), "\"a\\u0000b\"", {NULL, 0}},
        {HOB_TEXT("\x7f\x1b[31m"), "\"\\u007f\\u001b[31m\"", {NULL, 0}},
        {HOB_TEXT("\xc2\x85\xc2\x9b\xc2\xa0"), "\"\\u0085\\u009b\xc2\xa0\"", {NULL, 0}},
        {HOB_TEXT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"", {NULL, 0}},
        {HOB_TEXT("a\xffz"), "\"a\\ufffdz\"", HOB_TEXT("a\xef\xbf\xbdz")},
        {HOB_TEXT("\n\x80\xc3"), "\"\\u000a\\ufffd\\ufffd\"", HOB_TEXT("\n\xef\xbf\xbd\xef\xbf\xbd")},
    };
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    for (size_t i = 0; i < COUNT(cases); i++) {
        hob_log_line line;
        hob_text expected = cases[i].read_back.data ? cases[i].read_back : cases[i].text;
        hob__log_begin(&line, HOB_LOG_INFO, cases[i].text);
        hob__log_text(&line, "value", cases[i].text);
        hob__log_end(&line);
        slurp_file(path);
        if (strstr(bytes, cases[i].raw) == NULL)
            fail_msg("case %zu: %s", i, bytes);
        json_object *read = only_line();
        assert_member(read, "msg", expected);
        assert_member(read, "value", expected);
        assert_false(has(read, "cut"));
        json_object_put(read);
    }
}

static void test_members(void **state) {
    (void)state;
    hob_log_line line;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    hob__log_begin(&line, HOB_LOG_ERROR, HOB_TEXT("m"));
    hob__log_int(&line, "min", INT64_MIN);
    hob__log_int(&line, "max", INT64_MAX);
    hob__log_text(&line, "none", (hob_text){NULL, 0});
    hob__log_text(&line, "empty", HOB_TEXT(""));
    hob__log_end(&line);
    json_object *read = only_line();
    assert_int_equal(number(read, "min"), INT64_MIN);
    assert_int_equal(number(read, "max"), INT64_MAX);
    assert_false(has(read, "none"));
    assert_member(read, "empty", HOB_TEXT(""));
    json_object_put(read);
}

/* A text of one character again and again, NUL-terminated; good until the next call. */
static hob_text many(const char *character, size_t size) {
    static char text[20001];
    assert_true(size < sizeof text);
    for (size_t i = 0; i < size; i++)
        text[i] = character[i % strlen(character)];
    text[size] = '\0';
    return (hob_text){text, size};
}

/* However the cut falls: a line stays one JSON object of at most HOB_LOG_LINE bytes, with its message and pid. */
static void test_cut(void **state) {
    (void)state;
    static const char *const characters[] = {"a", "\x01", "\"", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff"};
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    for (size_t i = 0; i < COUNT(characters); i++)
        for (size_t offset = 0; offset < 12; offset++) {
            hob_log_line line;
            hob_text value = many(characters[i], 12000);
            hob__log_begin(&line, HOB_LOG_INFO, many("xyz", offset));
            hob__log_text(&line, "first", value);
            hob__log_text(&line, "second", value);
            hob__log_int(&line, "third", 1);
            hob__log_end(&line);
            json_object *read = only_line();
            assert_true(has(read, "cut") && has(read, "pid"));
            assert_in_range(member(read, "first").size, 600, HOB_LOG_LINE);
            json_object_put(read);

            hob__log_begin(&line, HOB_LOG_INFO, many(characters[i], 12000 + offset));
            hob__log_text(&line, "request_id", HOB_TEXT("018f3c2a-7bcd-7def-8abc-0123456789ab"));
            hob__log_end(&line);
            read = only_line();
            assert_true(has(read, "cut") && has(read, "pid"));
            assert_member(read, "request_id", HOB_TEXT("018f3c2a-7bcd-7def-8abc-0123456789ab"));
            json_object_put(read);
        }
    hob__log(HOB_LOG_INFO, "%s", many("z", 20000).data);
    json_object *read = only_line();
    assert_true(has(read, "cut"));
    json_object_put(read);
}

/* A short member still finds its place behind one that was cut or left out. */
static void test_left_out(void **state) {
    (void)state;
    hob_log_line line;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    hob__log_begin(&line, HOB_LOG_INFO, many("m", 20000));
    for (int i = 0; i < 200; i++)
        hob__log_int(&line, i == 0 ? "k" : "n", INT64_MIN);
    hob__log_text(&line, "a_key_that_is_too_long_for_what_is_left", HOB_TEXT("x"));
    hob__log_end(&line);
    json_object *read = only_line();
    assert_true(has(read, "k") && has(read, "n") && has(read, "cut"));
    assert_false(has(read, "a_key_that_is_too_long_for_what_is_left"));
    json_object_put(read);
}

static void test_errno_kept(void **state) {
    (void)state;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    errno = ENOTTY;
    hob__log(HOB_LOG_INFO, "x");
    assert_int_equal(errno, ENOTTY);
}

static void test_open_fails(void **state) {
    (void)state;
    char absent[128], longer[5000];
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    snprintf(absent, sizeof absent, "%s/absent/log", directory);
    assert_false(hob__log_open(absent, HOB_LOG_DEBUG));
    assert_int_equal(errno, ENOENT);
    assert_false(hob__log_open(directory, HOB_LOG_DEBUG));
    assert_int_equal(errno, EISDIR);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(hob__log_open(longer, HOB_LOG_DEBUG));
    assert_int_equal(errno, ENAMETOOLONG);
    hob__log(HOB_LOG_INFO, "still here");
    hob__log(HOB_LOG_DEBUG, "the level too");
    json_object_put(only_line());
}

static void test_reopen(void **state) {
    (void)state;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    int fd = hob__log_fd();
    hob__log(HOB_LOG_INFO, "one");
    assert_int_equal(rename(path, moved), 0);
    hob__log(HOB_LOG_INFO, "two");
    assert_true(hob__log_reopen());
    assert_int_equal(hob__log_fd(), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    hob__log(HOB_LOG_INFO, "three");
    json_object *line = only_line();
    assert_member(line, "msg", HOB_TEXT("three"));
    json_object_put(line);
    slurp_file(moved);
    char *at = bytes;
    json_object_put(next_line(&at));
    json_object_put(next_line(&at));
    assert_string_equal(at, "");
}

static void test_reopen_fails(void **state) {
    (void)state;
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(hob__log_reopen());
    assert_int_equal(errno, EISDIR);
    hob__log(HOB_LOG_INFO, "to the old file");
    assert_true(slurp_file(moved) > 0);
    assert_int_equal(rmdir(path), 0);
}

/* A write that the disk took in part only: the next line does not continue it. */
static void test_torn(void **state) {
    (void)state;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    uint64_t dropped = hob__log_dropped();
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    limit = (struct rlimit){20, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    hob__log(HOB_LOG_INFO, "torn");
    hob__log(HOB_LOG_INFO, "lost");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(hob__log_dropped() - dropped, 2);
    hob__log(HOB_LOG_INFO, "whole");
    hob__log(HOB_LOG_INFO, "next");

    slurp_file(path);
    assert_int_equal(strcspn(bytes, "\n"), 20);
    char *at = bytes + 21;
    json_object *line = next_line(&at);
    assert_member(line, "msg", HOB_TEXT("whole"));
    assert_int_equal(number(line, "dropped"), 2);
    json_object_put(line);
    line = next_line(&at);
    assert_false(has(line, "dropped"));
    json_object_put(line);
    assert_string_equal(at, "");
}

static void test_many_processes(void **state) {
    (void)state;
    enum { PROCESSES = 4, LINES = 200 };
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        for (int k = 0; child == 0 && k < LINES; k++)
            hob__log(HOB_LOG_INFO, "%s", many("abc", (size_t)(k * 7 % 900)).data);
        if (child == 0)
            _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++)
        assert_true(wait(NULL) > 0);
    slurp_file(path);
    char *at = bytes;
    for (int i = 0; i < PROCESSES * LINES; i++)
        json_object_put(next_line(&at));
    assert_string_equal(at, "");
}

/* ---- stderr: fd 2 is replaced for the time of a test ---- */

static int real_stderr = -1;

static void replace_stderr(int fd) {
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    assert_true(real_stderr >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

static int restore_stderr(void **state) {
    if (real_stderr >= 0) {
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        real_stderr = -1;
    }
    return hob__log_open(NULL, HOB_LOG_INFO) ? tear_down(state) : -1;
}

/* Fills the log at fd 2 until lines are dropped, empties it, and expects the next line to say how many they were. */
static void check_overflow(int reader) {
    uint64_t dropped = hob__log_dropped();
    int sent = 0;
    for (; hob__log_dropped() < dropped + 3; sent++) {
        assert_true(sent < 100000);
        hob__log(HOB_LOG_INFO, "%s", many("f", 1000).data);
    }
    assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    slurp(reader);
    char *at = bytes;
    for (int i = 0; i < sent - 3; i++)
        json_object_put(next_line(&at));
    assert_string_equal(at, "");

    hob__log(HOB_LOG_INFO, "after");
    slurp(reader);
    at = bytes;
    json_object *line = next_line(&at);
    assert_member(line, "msg", HOB_TEXT("after"));
    assert_int_equal(number(line, "dropped"), 3);
    json_object_put(line);
}

static int pipe_as_stderr(void) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    replace_stderr(ends[1]);
    return ends[0];
}

/* The first test of all, since it is of what holds until hob__log_open. */
static void test_before_open(void **state) {
    (void)state;
    int reader = pipe_as_stderr();
    check_overflow(reader);
    close(reader);
}

static void test_pipe(void **state) {
    (void)state;
    int reader = pipe_as_stderr();
    assert_true(hob__log_open("stderr", HOB_LOG_INFO));
    check_overflow(reader);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0); /* others share it */
    assert_true(fcntl(hob__log_fd(), F_GETFD) & FD_CLOEXEC);
    close(reader);
}

static void test_socket(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    replace_stderr(ends[1]);
    assert_true(hob__log_open("", HOB_LOG_INFO));
    check_overflow(ends[0]);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    close(ends[0]);
    uint64_t dropped = hob__log_dropped();
    hob__log(HOB_LOG_INFO, "nobody reads");
    assert_int_equal(hob__log_dropped(), dropped + 1);
}

static void test_reader_gone(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    int reader = pipe_as_stderr();
    close(reader);
    assert_true(hob__log_open(NULL, HOB_LOG_INFO)); /* it cannot be reopened, which is no failure */
    uint64_t dropped = hob__log_dropped();
    hob__log(HOB_LOG_INFO, "nobody reads");
    assert_int_equal(hob__log_dropped(), dropped + 1);
}

static void test_regular_stderr(void **state) {
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    replace_stderr(fd);
    assert_true(hob__log_open(NULL, HOB_LOG_INFO));
    assert_true(hob__log_reopen()); /* nothing to do */
    hob__log(HOB_LOG_INFO, "x");
    json_object_put(only_line());
}

static void test_closed_stderr(void **state) {
    (void)state;
    replace_stderr(open("/dev/null", O_WRONLY | O_CLOEXEC));
    close(STDERR_FILENO);
    assert_false(hob__log_open(NULL, HOB_LOG_INFO));
    assert_int_equal(errno, EBADF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define STDERR_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, restore_stderr)

int main(void) {
    const struct CMUnitTest tests[] = {
        STDERR_TEST(test_before_open),
        TEST(test_line),
        TEST(test_levels),
        TEST(test_escapes),
        TEST(test_members),
        TEST(test_cut),
        TEST(test_left_out),
        TEST(test_errno_kept),
        TEST(test_open_fails),
        TEST(test_reopen),
        TEST(test_reopen_fails),
        TEST(test_torn),
        TEST(test_many_processes),
        STDERR_TEST(test_pipe),
        STDERR_TEST(test_socket),
        STDERR_TEST(test_reader_gone),
        STDERR_TEST(test_regular_stderr),
        STDERR_TEST(test_closed_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "observe/notify.h"

static int listener_at(const struct sockaddr_un *address, socklen_t size) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)address, size), 0);
    return fd;
}

static void must_hear(int fd, const char *expected) {
    char text[2048];
    ssize_t size = recv(fd, text, sizeof(text) - 1, 0);
    assert_true(size >= 0);
    text[size] = '\0';
    assert_string_equal(text, expected);
}

static void test_a_path(void **state) {
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/hob-notify-test-%d", (int)getpid());
    int fd = listener_at(&address, sizeof(address));
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    hob__notify("READY=1\nSTATUS=%d workers", 3);
    hob__notify("STOPPING=1");
    must_hear(fd, "READY=1\nSTATUS=3 workers");
    must_hear(fd, "STOPPING=1");
    close(fd);
    unlink(address.sun_path);
}

static void test_an_abstract_name(void **state) {
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    int size = snprintf(name, sizeof(name), "@hob-notify-test-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, (size_t)size - 1);
    int fd = listener_at(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size));
    setenv("NOTIFY_SOCKET", name, 1);
    hob__notify("WATCHDOG=1");
    must_hear(fd, "WATCHDOG=1");
    close(fd);
}

/* It goes on, whatever the socket is. */
static void test_nobody_to_tell(void **state) {
    (void)state;
    char long_name[200];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[0] = '/';
    long_name[sizeof(long_name) - 1] = '\0';
    const char *const names[] = {"", "relative", "/nonexistent/socket", "@nobody-is-there", long_name};
    unsetenv("NOTIFY_SOCKET");
    hob__notify("READY=1");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        hob__notify("READY=1");
    }
}

static void test_the_interval(void **state) {
    (void)state;
    char self[16];
    snprintf(self, sizeof(self), "%d", (int)getpid());
    const struct {
        const char *us, *pid;
        int64_t expected;
    } CASES[] = {{NULL, NULL, 0},
                 {"3000000", NULL, 1500 * HOB_MS},
                 {"3000000", self, 1500 * HOB_MS},
                 {"0", NULL, 0},
                 {"3000000", "1", 0},
                 {"-5", NULL, 0},
                 {"many", NULL, 0},
                 {"3000000", "x", 0},
                 {"9223372036854775807", NULL, 0}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (CASES[i].us != NULL)
            setenv("WATCHDOG_USEC", CASES[i].us, 1);
        if (CASES[i].pid != NULL)
            setenv("WATCHDOG_PID", CASES[i].pid, 1);
        assert_int_equal(hob__notify_interval_ns(), CASES[i].expected);
    }
}

int main(void) {
    if (!hob__log_open("/dev/null", HOB_LOG_INFO))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path),
        cmocka_unit_test(test_an_abstract_name),
        cmocka_unit_test(test_nobody_to_tell),
        cmocka_unit_test(test_the_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

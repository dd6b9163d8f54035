#include "observe/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

/* A path, or "@name" in the abstract namespace. The size of the address; 0 when it is none. */
static socklen_t address_of(const char *name, struct sockaddr_un *address) {
    size_t size = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || size >= sizeof(address->sun_path))
        return 0;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, size + 1);
    if (name[0] == '@')
        address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
}

static bool send_to(const struct sockaddr_un *address, socklen_t size, const char *text) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t sent;
    do {
        sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)address, size);
    } while (sent < 0 && errno == EINTR);
    int error = errno;
    close(fd);
    errno = error;
    return sent >= 0;
}

void hob__notify(const char *format, ...) {
    const char *name = getenv("NOTIFY_SOCKET");
    char text[1024];
    va_list args;
    if (name == NULL || name[0] == '\0')
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct sockaddr_un address = {0};
    socklen_t size = address_of(name, &address);
    errno = EINVAL;
    if (size == 0 || !send_to(&address, size, text))
        hob__log(HOB_LOG_WARN, "NOTIFY_SOCKET cannot be told: %m");
}

int64_t hob__notify_interval_ns(void) {
    const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t us, meant;
    if (interval == NULL || !hob__text_to_int(hob_text_of(interval), &us) || us <= 0 || us > INT64_MAX / HOB_US)
        return 0;
    if (pid != NULL && (!hob__text_to_int(hob_text_of(pid), &meant) || meant != getpid()))
        return 0;
    return us * HOB_US / 2;
}

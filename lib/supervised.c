#include "supervised.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"

static struct {
    bool known;
    int fd;
    unsigned generation;
} tie = {.fd = -1};

static int64_t taken_from_environment(const char *name) {
    const char *text = getenv(name);
    int64_t value = -1;
    if (text == NULL || !hob__text_to_int(hob_text_of(text), &value) || value > INT32_MAX)
        value = -1;
    unsetenv(name); /* it is meant for this process, not for what it may start */
    return value;
}

static void find(void) {
    struct stat status;
    tie.known = true;
    int fd = (int)taken_from_environment(HOB_SUPERVISED_FD);
    int64_t generation = taken_from_environment(HOB_SUPERVISED_GENERATION);
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode))
        return;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    tie.fd = fd;
    tie.generation = generation > 0 ? (unsigned)generation : 0;
}

int hob__supervised_fd(void) {
    if (!tie.known)
        find();
    return tie.fd;
}

unsigned hob__supervised_generation(void) {
    return hob__supervised_fd() >= 0 ? tie.generation : 0;
}

static void tell(char what) {
    if (hob__supervised_fd() >= 0 && send(tie.fd, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1 && errno != EPIPE)
        hob__log(HOB_LOG_WARN, "the supervisor cannot be told the state of this worker: %m");
}

void hob__supervised_ready(void) {
    tell(HOB_SUPERVISED_READY);
}

void hob__supervised_draining(void) {
    tell(HOB_SUPERVISED_DRAINING);
}

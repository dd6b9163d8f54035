#include "run/owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PID_BITS 24 /* the kernel's largest pid has 22 */

/* The 22nd field of /proc/<pid>/stat; the second, a name in parentheses, may hold anything. */
static bool parse_stat(const char *stat, char *state, uint64_t *ticks) {
    const char *end_of_name = strrchr(stat, ')');
    return end_of_name != NULL && sscanf(end_of_name + 1,
                                         " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                                         "%" SCNu64,
                                         state, ticks) == 2;
}

size_t hob__proc_read(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, out, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

hob_owner hob__owner_of(pid_t pid) {
    char path[32], stat[1024], state;
    uint64_t ticks;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (hob__proc_read(path, stat, sizeof(stat)) == 0 || !parse_stat(stat, &state, &ticks) || state == 'Z' ||
        state == 'X')
        return 0;
    return ticks << PID_BITS | (hob_owner)pid;
}

bool hob__owner_alive(hob_owner owner) {
    return owner != 0 && hob__owner_of(hob__owner_pid(owner)) == owner;
}

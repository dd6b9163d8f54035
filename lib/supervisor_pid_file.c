/* The pid file: the lock on it, not the number in it, says whether its supervisor lives. */
#include "supervisor_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define TRIES 100 /* each fails only when another supervisor has just removed the file */

static pid_t pid_in(int fd) {
    char text[32];
    int64_t pid = 0;
    ssize_t size = pread(fd, text, sizeof(text), 0);
    if (size <= 0 || !hob__text_to_int(hob__text_trim((hob_text){text, (size_t)size}), &pid) || pid <= 0 ||
        pid > INT32_MAX)
        return 0;
    return (pid_t)pid;
}

static bool is_at(int fd, const char *path) {
    struct stat open_file, named;
    return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 && open_file.st_ino == named.st_ino &&
           open_file.st_dev == named.st_dev;
}

/* -1 with errno EWOULDBLOCK: another has it, whose pid is in *holder. */
static int open_locked(const char *path, pid_t *holder) {
    for (int i = 0; i < TRIES; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return -1;
        bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (locked && is_at(fd, path))
            return fd;
        int error = locked ? EAGAIN : errno;
        *holder = pid_in(fd);
        close(fd);
        errno = error;
        if (!locked)
            return -1;
    }
    return -1;
}

void hob__pid_file_link(const char *path, const char *scoreboard) {
    char link[PATH_MAX], target[PATH_MAX];
    snprintf(link, sizeof(link), "%s" HOB_PID_FILE_BOARD, path);
    unlink(link);
    if (scoreboard[0] != '\0' && (realpath(scoreboard, target) == NULL || symlink(target, link) != 0))
        hob__log(HOB_LOG_WARN, "%s cannot be made: reload, stop and status will not work: %m", link);
}

static bool write_pid(int fd) {
    char text[32];
    int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size;
}

int hob__pid_file_take(const char *path, char error[256]) {
    pid_t holder = 0;
    int fd = open_locked(path, &holder);
    if (fd < 0 && holder > 0)
        snprintf(error, 256, "%.150s: process %d serves already", path, (int)holder);
    else if (fd < 0)
        snprintf(error, 256, "%.150s: %m", path);
    else if (write_pid(fd))
        return fd;
    else
        snprintf(error, 256, "%.150s cannot be written: %m", path);
    if (fd >= 0)
        hob__pid_file_release(path, fd);
    return -1;
}

void hob__pid_file_release(const char *path, int fd) {
    char link[PATH_MAX];
    snprintf(link, sizeof(link), "%s" HOB_PID_FILE_BOARD, path);
    unlink(link);
    unlink(path);
    close(fd);
}

pid_t hob__pid_file_read(const char *path, char error[256]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(error, 256, "%.150s: %m", path);
        return 0;
    }
    bool orphaned = flock(fd, LOCK_SH | LOCK_NB) == 0;
    pid_t pid = orphaned ? 0 : pid_in(fd);
    close(fd);
    if (pid == 0)
        snprintf(error, 256, "%.150s: its supervisor does not run", path);
    return pid;
}

/* The file. It never changes its size or layout: one that does not fit is replaced by another of its name. */
#include "observe/scoreboard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define MAGIC UINT64_C(0x6472616f62626f68) /* "hobboard" */
#define LAYOUT 1                           /* raised when a field changes its meaning but not the size of all */
#define MODE 0640
#define TRIES 100 /* each fails only when another process has just replaced the file */

/* ---- Where it is ---- */

/* Where sockets are bound, a worker that runs as someone else may not be allowed to create files; in /dev/shm it is. */
static void shared_memory_path(const char *application, const char *what, char path[PATH_MAX]) {
    int size = snprintf(path, PATH_MAX, "/dev/shm/%s-%u%s", application, (unsigned)geteuid(), what);
    for (char *c = path + strlen("/dev/shm/"); *c != '\0'; c++)
        if (*c == '/')
            *c = '-';
    if (size < NAME_MAX - (int)sizeof(".scoreboard"))
        snprintf(path + size, PATH_MAX - (size_t)size, ".scoreboard");
    else
        snprintf(path, PATH_MAX, "/dev/shm/%.60s-%u.scoreboard", application, (unsigned)geteuid());
}

typedef union address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} address;

/* What tells the socket from others: its absolute path, or "-<port>". "" when nothing does. */
static void name_of_socket(int fd, char name[sizeof(struct sockaddr_un)]) {
    address bound = {0};
    socklen_t size = sizeof(bound);
    memset(name, 0, sizeof(struct sockaddr_un)); /* a path of full length has no NUL of its own */
    if (getsockname(fd, &bound.any, &size) != 0)
        return;
    if (bound.any.sa_family == AF_UNIX && bound.local.sun_path[0] == '/')
        memcpy(name, bound.local.sun_path, sizeof(bound.local.sun_path));
    else if (bound.any.sa_family == AF_INET)
        snprintf(name, sizeof(bound.local), "-%u", ntohs(bound.in.sin_port));
    else if (bound.any.sa_family == AF_INET6)
        snprintf(name, sizeof(bound.local), "-%u", ntohs(bound.in6.sin6_port));
}

/* ---- Opening ---- */

static hob_scoreboard *map(int fd, int protection) {
    void *memory = mmap(NULL, sizeof(hob_scoreboard), protection, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static bool fits(const hob_scoreboard *board, const char *application) {
    return board->magic == MAGIC && board->layout == LAYOUT && board->size == sizeof(*board) &&
           strncmp(board->application, application, sizeof(board->application) - 1) == 0;
}

static void describe(hob_scoreboard *board, const char *application) {
    board->layout = LAYOUT;
    board->size = sizeof(*board);
    snprintf(board->application, sizeof(board->application), "%s", application);
    board->magic = MAGIC;
}

/* Some scoreboard, or nothing yet. Whatever else a mistyped HOB_SCOREBOARD names is somebody's. */
static bool may_be_replaced(int fd) {
    uint64_t magic;
    ssize_t size = pread(fd, &magic, sizeof(magic), 0);
    return size == 0 || (size == sizeof(magic) && magic == MAGIC);
}

/* NULL with errno 0: it is another application's, or of another layout. */
static hob_scoreboard *map_fitting(int fd, const char *application) {
    struct stat status;
    if (fstat(fd, &status) != 0)
        return NULL;
    errno = may_be_replaced(fd) ? 0 : ENOTSUP;
    if (errno != 0 || status.st_size != sizeof(hob_scoreboard))
        return NULL;
    hob_scoreboard *board = map(fd, PROT_READ | PROT_WRITE);
    if (board == NULL || fits(board, application))
        return board;
    hob__scoreboard_close(board);
    errno = 0;
    return NULL;
}

/* A regular file, and ours: /dev/shm is everyone's. */
static int open_own(const char *path) {
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid())
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

/* The memory is reserved now: writing to it later must not end in SIGBUS because the file system is full. */
static hob_scoreboard *fill(int fd, const char *application) {
    if (fchmod(fd, MODE) != 0)
        return NULL;
    errno = posix_fallocate(fd, 0, sizeof(hob_scoreboard));
    hob_scoreboard *board = errno == 0 ? map(fd, PROT_READ | PROT_WRITE) : NULL;
    if (board != NULL)
        describe(board, application);
    return board;
}

/* Complete before it has its name. Where nothing was, a link does not replace what another process has made since. */
static hob_scoreboard *create(const char *path, const char *application, bool replace) {
    char unfinished[PATH_MAX];
    if ((size_t)snprintf(unfinished, sizeof(unfinished), "%s.XXXXXX", path) >= sizeof(unfinished)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    int fd = mkostemp(unfinished, O_CLOEXEC);
    if (fd < 0)
        return NULL;
    hob_scoreboard *board = fill(fd, application);
    bool named = board != NULL && (replace ? rename(unfinished, path) : link(unfinished, path)) == 0;
    int error = errno;
    if (!named || !replace)
        unlink(unfinished);
    if (!named && board != NULL)
        hob__scoreboard_close(board);
    close(fd);
    errno = error;
    return named ? board : NULL;
}

/* Of those who want to replace the same file, the first to lock it does. */
static hob_scoreboard *replace(int fd, const char *path, const char *application) {
    struct stat locked, named;
    if (flock(fd, LOCK_EX) != 0 || fstat(fd, &locked) != 0)
        return NULL;
    if (lstat(path, &named) != 0 || named.st_ino != locked.st_ino || named.st_dev != locked.st_dev) {
        errno = EEXIST;
        return NULL;
    }
    hob__log(HOB_LOG_INFO, "%s is not a scoreboard of this version of %s: replaced", path, application);
    return create(path, application, true);
}

/* EEXIST, ENOENT, EINTR: another process was at it at the same time. */
static hob_scoreboard *try_to_open(const char *path, const char *application) {
    int fd = open_own(path);
    if (fd < 0)
        return errno == ENOENT ? create(path, application, false) : NULL;
    hob_scoreboard *board = map_fitting(fd, application);
    if (board == NULL && errno == 0)
        board = replace(fd, path, application);
    int error = errno;
    close(fd);
    errno = error;
    return board;
}

static hob_scoreboard *open_at(const char *path, const char *application) {
    for (int i = 0; i < TRIES; i++) {
        hob_scoreboard *board = try_to_open(path, application);
        if (board != NULL || (errno != EEXIST && errno != ENOENT && errno != EINTR))
            return board;
    }
    return NULL;
}

static hob_scoreboard *private_memory(const char *application) {
    void *memory = mmap(NULL, sizeof(hob_scoreboard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    describe(memory, application);
    return memory;
}

hob_scoreboard *hob__scoreboard_open(const char *configured, const char *application, int fd, char path[PATH_MAX]) {
    char name[sizeof(struct sockaddr_un)];
    hob_scoreboard *board = NULL;
    name_of_socket(fd, name);
    if (configured != NULL)
        snprintf(path, PATH_MAX, "%s", configured);
    else if (name[0] == '/')
        snprintf(path, PATH_MAX, "%s.scoreboard", name);
    if (configured != NULL || name[0] == '/')
        board = open_at(path, application);
    if (board == NULL && configured == NULL) {
        shared_memory_path(application, name, path);
        board = open_at(path, application);
    }
    if (board != NULL)
        return board;
    hob__log(HOB_LOG_WARN, "%s cannot be the scoreboard, so this process has one of its own: %m", path);
    path[0] = '\0';
    return private_memory(application);
}

const hob_scoreboard *hob__scoreboard_view(const char *path, const char *application, char error[256]) {
    struct stat status;
    const hob_scoreboard *board = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size == sizeof(*board))
        board = map(fd, PROT_READ);
    if (fd < 0)
        snprintf(error, 256, "the scoreboard %.150s cannot be read: %m", path);
    else
        close(fd);
    if (board != NULL && fits(board, application))
        return board;
    if (board != NULL)
        hob__scoreboard_close(board);
    if (fd >= 0)
        snprintf(error, 256, "%.150s is not a scoreboard of this version of %.50s", path, application);
    return NULL;
}

void hob__scoreboard_close(const hob_scoreboard *board) {
    munmap((void *)board, sizeof(*board));
}

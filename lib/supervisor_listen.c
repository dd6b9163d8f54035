/* The listening sockets. */
#include "supervisor_private.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define FIRST_INHERITED 3 /* sd_listen_fds(3) */
#define INHERITED_MOST 64
#define LOOK_MS 20
#define ENTERING (100 / LOOK_MS) /* looks until a handshake that had begun is over */
#define LONGEST (1000 / LOOK_MS)

/* ---- What is configured ---- */

static bool is_file(const char *name) {
    return strchr(name, '/') != NULL;
}

/* The part of HOB_LISTEN that is a worker's, %d filled in. NULL when there is none, or memory runs out. */
static char *name_for(const hob_config *config, unsigned worker) {
    hob_text part, rest = hob_text_of(config->listen);
    size_t count = 0;
    char *name = NULL;
    while (hob__text_split(&rest, ',', &part))
        count++;
    rest = hob_text_of(config->listen);
    for (size_t i = 0; count > 0 && i <= worker % count; i++)
        (void)hob__text_split(&rest, ',', &part);
    if (count == 0)
        return NULL;
    part = hob__text_trim(part);
    const char *number = memmem(part.data, part.size, "%d", 2);
    int before = (int)(number != NULL ? number - part.data : (ptrdiff_t)part.size);
    int size = number != NULL
                   ? asprintf(&name, "%.*s%u%.*s", before, part.data, worker, (int)part.size - before - 2, number + 2)
                   : asprintf(&name, "%.*s", before, part.data);
    return size >= 0 ? name : NULL;
}

void hob__listeners_scoreboard(const hob_config *config, char path[PATH_MAX]) {
    char *name = name_for(config, 0);
    path[0] = '\0';
    if (config->scoreboard != NULL)
        snprintf(path, PATH_MAX, "%s", config->scoreboard);
    else if (name != NULL && is_file(name))
        snprintf(path, PATH_MAX, "%s.scoreboard", name);
    free(name);
}

/* ---- Socket files ---- */

static bool group_of(const char *name, gid_t *gid) {
    int64_t number;
    const struct group *group = getgrnam(name);
    if (group != NULL) {
        *gid = group->gr_gid;
        return true;
    }
    if (!hob__text_to_int(hob_text_of(name), &number) || number < 0 || number > UINT32_MAX - 1)
        return false;
    *gid = (gid_t)number;
    return true;
}

static bool mode_of(const char *text, mode_t *mode) {
    char *end;
    unsigned long value = strtoul(text, &end, 8);
    *mode = (mode_t)value;
    return text[0] >= '0' && text[0] <= '7' && *end == '\0' && value <= 0777;
}

/* Before it listens nobody can connect, so there is no moment at which the wrong ones could. */
static bool set_permissions(const hob_config *config, const char *path, char error[256]) {
    gid_t gid = (gid_t)-1;
    mode_t mode = 0;
    if (!mode_of(config->listen_mode, &mode))
        snprintf(error, 256, "HOB_LISTEN_MODE: must be octal, like 0660, not '%.40s'", config->listen_mode);
    else if (config->listen_group != NULL && !group_of(config->listen_group, &gid))
        snprintf(error, 256, "HOB_LISTEN_GROUP: there is no group '%.60s'", config->listen_group);
    else if (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0)
        snprintf(error, 256, "HOB_LISTEN_GROUP: %.100s cannot be given to '%.60s': %m", path, config->listen_group);
    else if (chmod(path, mode) != 0)
        snprintf(error, 256, "HOB_LISTEN_MODE: of %.100s cannot be set: %m", path);
    else
        return true;
    return false;
}

/* The socket of a supervisor that died has workers that are finishing, so it still takes connections; but none of them
 * will be served. Whoever else listens there is left alone. */
static bool is_orphaned(int connected, const hob_scoreboard *left) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    hob_owner supervisor = left != NULL ? left->service.supervisor : 0;
    return getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && supervisor != 0 &&
           peer.pid == hob__owner_pid(supervisor) && !hob__owner_alive(supervisor);
}

/* Makes room at the path: a socket file that nobody listens on is left over. */
static bool clear_path(const struct sockaddr_un *address, const hob_scoreboard *left) {
    struct stat status;
    if (lstat(address->sun_path, &status) != 0)
        return errno == ENOENT;
    errno = EADDRINUSE;
    int fd = S_ISSOCK(status.st_mode) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd < 0)
        return false;
    bool answered = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED;
    bool left_over = !answered || is_orphaned(fd, left);
    close(fd);
    errno = EADDRINUSE;
    return left_over && unlink(address->sun_path) == 0;
}

static void remove_file(const hob_listener *listener) {
    struct stat status;
    if (listener->inode != 0 && lstat(listener->name, &status) == 0 && status.st_ino == listener->inode &&
        status.st_dev == listener->device)
        unlink(listener->name);
}

static bool bind_file(const hob_listeners *listeners, hob_listener *listener, char error[256]) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    size_t size = strlen(listener->name);
    if (size >= sizeof(address.sun_path)) {
        snprintf(error, 256, "HOB_LISTEN: a socket's path has at most %zu bytes, not %zu", sizeof(address.sun_path) - 1,
                 size);
        return false;
    }
    memcpy(address.sun_path, listener->name, size + 1);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || !clear_path(&address, listeners->left) ||
        bind(listener->fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        stat(listener->name, &status) != 0) {
        snprintf(error, 256, "HOB_LISTEN: %.150s: %m", listener->name);
        return false;
    }
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    return set_permissions(listeners->config, listener->name, error);
}

/* ---- TCP ---- */

static bool bind_address(hob_listener *listener, const struct addrinfo *found) {
    listener->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listener->fd >= 0 && setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 &&
           bind(listener->fd, found->ai_addr, found->ai_addrlen) == 0;
}

/* "host:port", "[host]:port"; host may be * or nothing, which is any. The last colon goes. */
static bool split_address(char *text, const char **host, const char **port) {
    char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0')
        return false;
    *colon = '\0';
    *port = colon + 1;
    size_t size = strlen(text);
    if (text[0] == '[' && text[size - 1] == ']') {
        text[size - 1] = '\0';
        text++;
    }
    *host = text[0] == '\0' || strcmp(text, "*") == 0 ? NULL : text;
    return true;
}

static bool bind_tcp(hob_listener *listener, char error[256]) {
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char text[256];
    const char *host, *port, *why = "must be a path with a / in it, or host:port";
    bool bound = false;
    if ((size_t)snprintf(text, sizeof(text), "%s", listener->name) < sizeof(text) &&
        split_address(text, &host, &port)) {
        int failed = getaddrinfo(host, port, &hints, &found);
        bound = failed == 0 && bind_address(listener, found);
        why = failed == 0 ? strerror(errno) : gai_strerror(failed);
    }
    if (found != NULL)
        freeaddrinfo(found);
    if (!bound)
        snprintf(error, 256, "HOB_LISTEN: %.100s: %.100s", listener->name, why);
    return bound;
}

/* ---- Together ---- */

static void close_listener(hob_listener *listener) {
    remove_file(listener);
    if (listener->fd >= 0)
        close(listener->fd);
    free(listener->name);
}

static hob_listener *add(hob_listeners *listeners, hob_listener listener) {
    hob_listener *list = reallocarray(listeners->list, listeners->count + 1, sizeof(*list));
    if (list == NULL)
        return NULL;
    listeners->list = list;
    list[listeners->count] = listener;
    return &list[listeners->count++];
}

/* Takes name over. */
static int open_listener(hob_listeners *listeners, char *name, char error[256]) {
    hob_listener listener = {.fd = -1, .name = name};
    bool bound = is_file(name) ? bind_file(listeners, &listener, error) : bind_tcp(&listener, error);
    /* As much as net.core.somaxconn allows; SOMAXCONN is what it once was. */
    if (bound && listen(listener.fd, INT_MAX) == 0 && add(listeners, listener) != NULL)
        return listener.fd;
    if (bound)
        snprintf(error, 256, "HOB_LISTEN: %.150s: %m", name);
    close_listener(&listener);
    return -1;
}

static hob_listener *find(const hob_listeners *listeners, const char *name) {
    for (size_t i = 0; i < listeners->count; i++)
        if (strcmp(listeners->list[i].name, name) == 0)
            return &listeners->list[i];
    return NULL;
}

int hob__listeners_of(hob_listeners *listeners, unsigned worker, char error[256]) {
    if (listeners->inherited)
        return listeners->list[worker % listeners->count].fd;
    char *name = name_for(listeners->config, worker);
    if (name == NULL || name[0] == '\0') {
        snprintf(error, 256, "HOB_LISTEN: %s",
                 name == NULL ? "is not set, and no socket is inherited" : "an empty name");
        free(name);
        return -1;
    }
    const hob_listener *open = find(listeners, name);
    if (open == NULL)
        return open_listener(listeners, name, error);
    free(name);
    return open->fd;
}

static bool needed(const hob_listeners *listeners, const hob_listener *listener, unsigned workers) {
    for (unsigned i = 0; i < workers; i++) {
        char *name = name_for(listeners->config, i);
        bool same = name == NULL || strcmp(name, listener->name) == 0;
        free(name);
        if (same)
            return true;
    }
    return false;
}

void hob__listeners_keep(hob_listeners *listeners, unsigned workers) {
    for (size_t i = listeners->count; !listeners->inherited && i-- > 0;) {
        if (needed(listeners, &listeners->list[i], workers))
            continue;
        close_listener(&listeners->list[i]);
        listeners->list[i] = listeners->list[--listeners->count];
    }
}

void hob__listeners_free(hob_listeners *listeners) {
    while (listeners->count > 0)
        close_listener(&listeners->list[--listeners->count]);
    free(listeners->list);
    listeners->list = NULL;
}

/* ---- The end ---- */

/* What still waits in a queue when its socket is closed is reset, and the web server may not send a POST elsewhere. So
 * those who come are refused from now on, which it may: bound to an interface that does not exist, the socket is not
 * found, while handshakes that have begun go on. */
static bool refuse_new(int fd) {
    return setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &(int){INT_MAX}, sizeof(int)) == 0;
}

static bool anybody_waits(const hob_listeners *listeners) {
    for (size_t i = 0; i < listeners->count; i++) {
        struct pollfd queue = {.fd = listeners->list[i].fd, .events = POLLIN};
        if (poll(&queue, 1, 0) > 0)
            return true;
    }
    return false;
}

void hob__listeners_turn_away(const hob_listeners *listeners) {
    if (listeners->inherited)
        return;
    for (size_t i = 0; i < listeners->count; i++) {
        const hob_listener *listener = &listeners->list[i];
        if (is_file(listener->name))
            remove_file(listener);
        else if (!refuse_new(listener->fd))
            hob__log(HOB_LOG_WARN, "%s still takes connections, which may be lost: %m", listener->name);
    }
    for (int look = 0; look < ENTERING || (look < LONGEST && anybody_waits(listeners)); look++)
        (void)poll(NULL, 0, LOOK_MS);
}

/* ---- Inherited ---- */

static bool is_listening(int fd) {
    int listening = 0;
    socklen_t size = sizeof(listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

static int64_t number_in_environment(const char *name) {
    const char *text = getenv(name);
    int64_t value;
    return text != NULL && hob__text_to_int(hob_text_of(text), &value) ? value : -1;
}

/* A copy above the standard ones, so that fd 0 and what systemd handed in are alike. */
static bool inherit(hob_listeners *listeners, int fd, char error[256]) {
    if (!is_listening(fd)) {
        snprintf(error, 256, "the inherited file descriptor %d is no listening socket", fd);
        return false;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_INHERITED);
    if (copy >= 0 && add(listeners, (hob_listener){.fd = copy}) != NULL) {
        listeners->inherited = true;
        return true;
    }
    snprintf(error, 256, "the inherited sockets cannot be used: %m");
    if (copy >= 0)
        close(copy);
    return false;
}

bool hob__listeners_inherit(hob_listeners *listeners, char error[256]) {
    int64_t count = number_in_environment("LISTEN_PID") == getpid() ? number_in_environment("LISTEN_FDS") : 0;
    for (int fd = FIRST_INHERITED; fd < FIRST_INHERITED + count && count <= INHERITED_MOST; fd++)
        if (!inherit(listeners, fd, error))
            return false;
    /* Their copies are kept; the originals would reach the workers. */
    for (int fd = FIRST_INHERITED; listeners->inherited && fd < FIRST_INHERITED + count; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (!listeners->inherited && is_listening(STDIN_FILENO) && !inherit(listeners, STDIN_FILENO, error))
        return false;
    if (listeners->inherited && listeners->config->listen != NULL)
        hob__log(HOB_LOG_INFO, "HOB_LISTEN is not looked at: %zu listening sockets are inherited", listeners->count);
    return true;
}

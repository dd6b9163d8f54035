#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

_Static_assert(HOB_LOG_LINE <= PIPE_BUF, "a pipe takes a line whole or not at all");

/* hob__log_end's part of a line */
#define TAIL sizeof(",\"cut\":true,\"dropped\":18446744073709551615}\n")
#define MEMBERS_END (HOB_LOG_LINE - TAIL)
#define MESSAGE_END (HOB_LOG_LINE * 3 / 4) /* leaves room for the members behind it */

static struct {
    int fd;
    enum { NON_BLOCKING, POLLED, SOCKET } how;
    hob_log_level level;
    char path[PATH_MAX]; /* "" for stderr */
    _Atomic bool torn;   /* the last write ended within a line */
    _Atomic uint64_t dropped, dropped_told;
} sink = {.fd = STDERR_FILENO, .how = POLLED, .level = HOB_LOG_INFO};

const char *hob__log_level_name(hob_log_level level) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return names[level];
}

static int open_to_append(const char *path, int create) {
    return open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | create, 0640);
}

/* O_NONBLOCK belongs to the open file, which others share; a reopened one is ours alone. */
static bool open_stderr(void) {
    struct stat status;
    if (fstat(STDERR_FILENO, &status) < 0)
        return false;
    sink.fd = STDERR_FILENO;
    sink.how = S_ISREG(status.st_mode) ? NON_BLOCKING : S_ISSOCK(status.st_mode) ? SOCKET : POLLED;
    if (sink.how == POLLED) {
        int own = open_to_append("/proc/self/fd/2", 0);
        if (own >= 0) {
            sink.fd = own;
            sink.how = NON_BLOCKING;
        }
    }
    return true;
}

static bool open_file(const char *path) {
    if (strlen(path) >= sizeof sink.path) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open_to_append(path, O_CREAT);
    if (fd < 0)
        return false;
    memcpy(sink.path, path, strlen(path) + 1);
    sink.fd = fd;
    sink.how = NON_BLOCKING;
    return true;
}

bool hob__log_open(const char *path, hob_log_level level) {
    int before = sink.fd;
    bool to_stderr = path == NULL || path[0] == '\0' || strcmp(path, "stderr") == 0;

    if (to_stderr ? !open_stderr() : !open_file(path))
        return false;
    if (to_stderr)
        sink.path[0] = '\0';
    if (before != STDERR_FILENO && before != sink.fd)
        close(before);
    sink.level = level;
    sink.torn = false;
    return true;
}

bool hob__log_reopen(void) {
    if (sink.path[0] == '\0')
        return true;
    int fd = open_to_append(sink.path, O_CREAT);
    if (fd < 0)
        return false;
    bool moved = dup3(fd, sink.fd, O_CLOEXEC) >= 0;
    int error = errno;
    close(fd);
    errno = error;
    if (moved)
        sink.torn = false;
    return moved;
}

bool hob__log_enabled(hob_log_level level) {
    return level <= sink.level;
}

int hob__log_fd(void) {
    return sink.fd;
}

uint64_t hob__log_dropped(void) {
    return sink.dropped;
}

/* As write(2), but never waits. */
static ssize_t write_now(const char *bytes, size_t size) {
    struct pollfd ready = {.fd = sink.fd, .events = POLLOUT};

    if (sink.how == SOCKET)
        return send(sink.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sink.how == POLLED && poll(&ready, 1, 0) == 0)
        return 0;
    return write(sink.fd, bytes, size);
}

static ssize_t write_uninterrupted(const char *bytes, size_t size) {
    ssize_t written;
    do {
        written = write_now(bytes, size);
    } while (written < 0 && errno == EINTR);
    return written;
}

static bool write_line(const char *bytes, size_t size) {
    if (sink.torn && write_uninterrupted("\n", 1) != 1)
        return false;
    ssize_t written = write_uninterrupted(bytes, size);
    sink.torn = written > 0 && (size_t)written < size; /* a full disk or tty */
    return written == (ssize_t)size;
}

/* ---- A line: written in signal handlers too, so without stdio ---- */

static bool append(hob_log_line *line, const char *bytes, size_t size, size_t end) {
    if (size > end - line->size)
        return false;
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
    return true;
}

static void append_text(hob_log_line *line, const char *text) {
    (void)append(line, text, strlen(text), sizeof line->bytes);
}

/* Returns the first of the digits, which end with a NUL. */
static char *digits_of(uint64_t value, char digits[24]) {
    char *at = digits + 23;
    *at = '\0';
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    return at;
}

/* Writes the first character of text, escaped if need be, and takes it off; returns the size written. A byte that is
 * no UTF-8 becomes U+FFFD. */
static size_t escape_first(hob_text *text, char out[8]) {
    size_t size = hob__utf8_first(*text);
    hob_text character = {text->data, size > 0 ? size : 1};
    text->data += character.size;
    text->size -= character.size;

    if (size == 0) {
        static const char replacement[6] = {'\\', 'u', 'f', 'f', 'f', 'd'};
        memcpy(out, replacement, sizeof replacement);
        return sizeof replacement;
    }
    if (character.data[0] == '"' || character.data[0] == '\\') {
        memcpy(out, (char[]){'\\', character.data[0]}, 2);
        return 2;
    }
    if (hob__text_has_control(character)) {
        static const char hex[] = "0123456789abcdef";
        unsigned char code = (unsigned char)character.data[size - 1]; /* U+0080-009F are C2 80-9F */
        memcpy(out, (char[]){'\\', 'u', '0', '0', hex[code >> 4], hex[code & 15]}, 6);
        return 6;
    }
    memcpy(out, character.data, size);
    return size;
}

static bool is_plain(char c) {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* As much of text as ends before end, in quotation marks; there must be room for these. */
static void append_string(hob_log_line *line, hob_text text, size_t end) {
    bool fits = true;
    line->bytes[line->size++] = '"';
    while (text.size > 0 && fits) {
        char escaped[8];
        if (is_plain(text.data[0]) && line->size < end - 1) {
            line->bytes[line->size++] = *text.data++;
            text.size--;
        } else {
            size_t size = escape_first(&text, escaped);
            fits = append(line, escaped, size, end - 1);
        }
    }
    line->cut |= !fits;
    line->bytes[line->size++] = '"';
}

/* Begins a member whose value has at least value_size bytes. */
static bool append_key(hob_log_line *line, const char *key, size_t value_size) {
    size_t key_size = strlen(key);
    if (key_size + strlen(",\"\":") + value_size > MEMBERS_END - line->size) {
        line->cut = true;
        return false;
    }
    append(line, ",\"", 2, MEMBERS_END);
    append(line, key, key_size, MEMBERS_END);
    return append(line, "\":", 2, MEMBERS_END);
}

void hob__log_begin(hob_log_line *line, hob_log_level level, hob_text message) {
    char now[HOB_TIME_SIZE];
    hob__time_format(hob__clock_wall_us(), now);
    line->cut = false;
    line->size = 0;
    append_text(line, "{\"ts\":\"");
    append_text(line, now);
    append_text(line, "\",\"level\":\"");
    append_text(line, hob__log_level_name(level));
    append_text(line, "\",\"msg\":");
    append_string(line, message, MESSAGE_END);
    hob__log_int(line, "pid", getpid());
}

void hob__log_text(hob_log_line *line, const char *key, hob_text value) {
    if (value.data && append_key(line, key, strlen("\"\"")))
        append_string(line, value, MEMBERS_END);
}

void hob__log_int(hob_log_line *line, const char *key, int64_t value) {
    char buffer[24];
    char *digits = digits_of(value < 0 ? -(uint64_t)value : (uint64_t)value, buffer);
    if (value < 0)
        *--digits = '-';
    if (append_key(line, key, strlen(digits)))
        append(line, digits, strlen(digits), MEMBERS_END);
}

void hob__log_end(hob_log_line *line) {
    int error = errno;
    uint64_t dropped = sink.dropped;
    char digits[24];

    if (line->cut)
        append_text(line, ",\"cut\":true");
    if (dropped != sink.dropped_told) {
        append_text(line, ",\"dropped\":");
        append_text(line, digits_of(dropped - sink.dropped_told, digits));
    }
    append_text(line, "}\n");
    if (write_line(line->bytes, line->size))
        sink.dropped_told = dropped;
    else
        sink.dropped++;
    errno = error;
}

void hob__log(hob_log_level level, const char *format, ...) {
    if (!hob__log_enabled(level))
        return;
    char message[HOB_LOG_LINE];
    hob_log_line line;
    va_list args;

    va_start(args, format);
    int size = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (size < 0)
        size = 0; /* a format's own failure: a line without a message still says when */
    size_t kept = (size_t)size < sizeof message ? (size_t)size : sizeof message - 1;
    hob__log_begin(&line, level, (hob_text){message, kept});
    hob__log_end(&line);
}

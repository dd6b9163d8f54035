/*
 * The log: one JSON object a line, to stderr or a file (HOB_LOG). A line is written with one write(2) to a
 * non-blocking or regular file; what does not fit is dropped and counted, and the next line that does fit says how many
 * ("dropped"). Control bytes and invalid UTF-8 are escaped. No allocation. errno is left as it was. The process must
 * ignore SIGPIPE, since a pipe's reader may go.
 */
#ifndef HOB_BASE_LOG_H
#define HOB_BASE_LOG_H

#include "hob.h"

const char *hob__log_level_name(hob_log_level level); /* "error", "warn", "info", "debug" */

/* path NULL, "" or "stderr": stderr. false when the file cannot be opened (errno says why). A pipe or tty is never
 * switched to O_NONBLOCK for others: it is reopened through /proc/self/fd where it can be, else polled before each
 * write. */
bool hob__log_open(const char *path, hob_log_level level) HOB_MUST_CHECK;
bool hob__log_reopen(void) HOB_MUST_CHECK; /* after a rotation; false: the old file stays in use (errno says why) */
bool hob__log_enabled(hob_log_level level);
int hob__log_fd(void);           /* the same from hob__log_open on */
uint64_t hob__log_dropped(void); /* lines, since the start */

/* {"ts":...,"level":...,"msg":...,"pid":...} */
void hob__log(hob_log_level level, const char *format, ...) HOB_PRINTF(2, 3);

/* A line with members of its own; these functions may be called in a signal handler. Members that would make the line
 * longer than HOB_LOG_LINE are cut (text) or left out, and "cut":true says so. */
#define HOB_LOG_LINE 4096
typedef struct hob_log_line {
    size_t size;
    bool cut;
    char bytes[HOB_LOG_LINE];
} hob_log_line;
void hob__log_begin(hob_log_line *line, hob_log_level level, hob_text message); /* ts, level, msg, pid */
void hob__log_text(hob_log_line *line, const char *key, hob_text value);        /* no text: no member */
void hob__log_int(hob_log_line *line, const char *key, int64_t value);
void hob__log_end(hob_log_line *line);

#endif

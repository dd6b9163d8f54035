/* Who owns a place in shared memory: a process, told from a later one that got the same pid. */
#ifndef HOB_RUN_OWNER_H
#define HOB_RUN_OWNER_H

#include <sys/types.h>

#include "hob.h"

/* A process: its pid and, above it, when it was started, in ticks since the boot (proc(5), stat); 0: none. */
typedef uint64_t hob_owner;
static inline pid_t hob__owner_pid(hob_owner owner) {
    return (pid_t)(owner & 0xffffff);
}
hob_owner hob__owner_of(pid_t pid); /* 0: there is no such process, or only its zombie */
bool hob__owner_alive(hob_owner owner);

/* A small file of /proc, NUL-terminated. The size read; 0 when it cannot be. */
size_t hob__proc_read(const char *path, char *out, size_t size);

#endif

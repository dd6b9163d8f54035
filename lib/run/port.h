/*
 * The one place where hob stands in for functions that libraries call to wait: libfcgi's port layer (OS_Read, OS_Write,
 * OS_Close of fcgios.h) and poll, for libmemcached. In a task whose `port` says so they park; anywhere else they do
 * what the original does.
 */
#ifndef HOB_RUN_PORT_H
#define HOB_RUN_PORT_H

#include <poll.h>
#include <sys/types.h>

#include "run/task.h"

/* A member that is NULL means: as the original. Set on a task by the one who runs it. */
typedef struct hob_port {
    ssize_t (*read)(struct hob_port *port, int fd, void *buffer, size_t size);
    ssize_t (*write)(struct hob_port *port, int fd, const void *buffer, size_t size);
    int (*close)(struct hob_port *port, int fd);
    bool parks_poll; /* poll parks this task */
} hob_port;

/* Calls through libfcgi and libmemcached once; false when this file's functions were not reached (they were linked in
 * the wrong order, or hidden). The start is then refused with `what` naming the function. Takes a few milliseconds.
 * Calls FCGX_Init, and leaves the handling of signals as it was: the worker sees to SIGPIPE itself. Logs a warning when
 * a check could not be made. */
bool hob__port_reached(const char **what) HOB_MUST_CHECK;

#endif

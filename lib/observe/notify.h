/* What systemd wants to hear of a service of Type=notify (sd_notify(3)): plain datagrams to $NOTIFY_SOCKET. Without it
 * nothing happens. */
#ifndef HOB_OBSERVE_NOTIFY_H
#define HOB_OBSERVE_NOTIFY_H

#include "hob.h"

/* "READY=1\nSTATUS=..."; a failure is logged, not more: the service works all the same. */
void hob__notify(const char *format, ...) HOB_PRINTF(1, 2);
int64_t hob__notify_interval_ns(void); /* how often "WATCHDOG=1" is due: half of WatchdogSec=; 0: not wanted */

#endif

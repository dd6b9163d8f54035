/* Monotonic time for every timeout, wall time only for what people read. */
#ifndef HOB_BASE_CLOCK_H
#define HOB_BASE_CLOCK_H

#include "hob.h"

#define HOB_US INT64_C(1000) /* in nanoseconds */
#define HOB_MS (1000 * HOB_US)
#define HOB_S (1000 * HOB_MS)
#define HOB_FOREVER INT64_MAX

int64_t hob__clock_ns(void);      /* monotonic, nanoseconds */
int64_t hob__clock_wall_us(void); /* microseconds since 1970 UTC */

/* Every timeout may be configured as long as one likes. */
static inline int64_t hob__time_after(int64_t now, int64_t wait) {
    return wait < HOB_FOREVER - now ? now + wait : HOB_FOREVER;
}

/* RFC 3339 in UTC with microseconds and Z, "2026-11-24T21:59:23.000001Z": 27 bytes and a NUL for years 0001-9999;
 * outside of them the empty string. Returns the length. */
#define HOB_TIME_SIZE 28
size_t hob__time_format(int64_t us_since_1970, char out[HOB_TIME_SIZE]);

#endif

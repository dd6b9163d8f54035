/* Random bits and UUIDs. */
#ifndef HOB_BASE_RANDOM_H
#define HOB_BASE_RANDOM_H

#include "hob.h"

uint64_t hob__random(void);        /* from getrandom(2), buffered; each process has its own, also after a fork */
double hob__jitter(double spread); /* uniform in [1 - spread, 1 + spread] */

#define HOB_UUID_SIZE 37 /* text and NUL */
/* UUIDv7 (RFC 9562, 5.7): milliseconds of wall time, then random; never goes backwards within a process, be the clock
 * what it may. */
void hob__uuid7(char out[HOB_UUID_SIZE]);
bool hob__uuid_valid(hob_text text); /* 8-4-4-4-12 hexadecimal digits, any version */

#endif

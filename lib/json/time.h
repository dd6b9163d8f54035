/* Times as JSON has them (RFC 3339). */
#ifndef HOB_JSON_TIME_H
#define HOB_JSON_TIME_H

#include "hob.h"

/* "2026-11-24T21:59:23.5+01:00": in microseconds since 1970 UTC, finer digits cut off. A leap second is the next
 * minute's first. false when text is none, or lies outside of the years 1-9999 in UTC, which hob__time_format could not
 * write. */
bool hob__time_parse(hob_text text, int64_t *us_since_1970) HOB_MUST_CHECK;

#endif

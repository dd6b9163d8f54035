#include "base/clock.h"

#include <string.h>
#include <time.h>

#include "base/text.h"

#define US_A_SECOND INT64_C(1000000)
#define US_A_DAY (86400 * US_A_SECOND)
#define DAYS_TO_1970 INT64_C(719468)     /* from 0000-03-01 */
#define YEAR_1 INT64_C(-62135596800)     /* 0001-01-01T00:00:00Z */
#define YEAR_10000 INT64_C(253402300800) /* 10000-01-01T00:00:00Z */

int64_t hob__clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * HOB_S + now.tv_nsec;
}

int64_t hob__clock_wall_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * US_A_SECOND + now.tv_nsec / 1000;
}

typedef struct date {
    uint32_t century, year_of_century, month, day; /* the year is 100 * century + year_of_century */
} date;

/* The Gregorian calendar for days counted from 0000-03-01: with years that begin in March the leap day comes last.
 * Divisions by 1461 / 4 and 153 / 5 days as multiplications (Neri and Schneider, Euclidean affine functions, 2023). */
static date date_of(uint32_t days) {
    uint32_t centuries = 4 * days + 3; /* in units of a quarter day */
    uint32_t days_of_century = centuries % 146097 / 4;
    uint64_t years = UINT64_C(2939745) * (4 * days_of_century + 3);
    uint32_t day_of_year = (uint32_t)years / 2939745 / 4;
    uint32_t months = 2141 * day_of_year + 197913;
    bool next_year = day_of_year >= 306; /* January and February */
    date date = {centuries / 146097, (uint32_t)(years >> 32), months >> 16, (months & 0xffff) / 2141 + 1};

    if (!next_year)
        return date;
    date.month -= 12;
    if (++date.year_of_century == 100) {
        date.year_of_century = 0;
        date.century++;
    }
    return date;
}

static char *put_pair(char *at, uint32_t value) {
    memcpy(at, hob__digit_pairs + 2 * value, 2);
    return at + 2;
}

static char *put_part(char *at, uint32_t value, char behind) {
    at = put_pair(at, value);
    *at++ = behind;
    return at;
}

size_t hob__time_format(int64_t us_since_1970, char out[HOB_TIME_SIZE]) {
    out[0] = '\0';
    if (us_since_1970 < YEAR_1 * US_A_SECOND || us_since_1970 >= YEAR_10000 * US_A_SECOND)
        return 0;

    uint64_t since_march = (uint64_t)(us_since_1970 + DAYS_TO_1970 * US_A_DAY);
    uint64_t us_of_day = since_march % US_A_DAY;
    uint32_t second = (uint32_t)(us_of_day / US_A_SECOND), us = (uint32_t)(us_of_day % US_A_SECOND);
    date date = date_of((uint32_t)(since_march / US_A_DAY));

    char *at = put_pair(out, date.century);
    at = put_part(at, date.year_of_century, '-');
    at = put_part(at, date.month, '-');
    at = put_part(at, date.day, 'T');
    at = put_part(at, second / 3600, ':');
    at = put_part(at, second / 60 % 60, ':');
    at = put_part(at, second % 60, '.');
    at = put_pair(at, us / 10000);
    at = put_pair(at, us / 100 % 100);
    at = put_part(at, us % 100, 'Z');
    *at = '\0';
    return (size_t)(at - out);
}

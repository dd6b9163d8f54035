#include "base/clock.h"

#include <time.h>

#define US_A_SECOND INT64_C(1000000)
#define SECONDS_A_DAY INT64_C(86400)
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
    uint32_t year, month, day;
} date;

/* The Gregorian calendar for days counted from 0000-03-01: with years that begin in March the leap day comes last. */
static date date_of(uint32_t days) {
    uint32_t cycle = days / 146097; /* 400 years */
    uint32_t day_of_cycle = days % 146097;
    uint32_t year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146096) / 365;
    uint32_t day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    uint32_t months_since_march = (5 * day_of_year + 2) / 153;
    bool next_year = months_since_march >= 10;

    return (date){
        .year = 400 * cycle + year_of_cycle + (next_year ? 1 : 0),
        .month = next_year ? months_since_march - 9 : months_since_march + 3,
        .day = day_of_year - (153 * months_since_march + 2) / 5 + 1,
    };
}

/* Two digits and what stands behind them; where to go on. */
static char *put_pair(char *at, uint32_t value, char behind) {
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
    at[2] = behind;
    return at + 3;
}

/* The same without. */
static char *put_two(char *at, uint32_t value) {
    return put_pair(at, value, '\0') - 1;
}

size_t hob__time_format(int64_t us_since_1970, char out[HOB_TIME_SIZE]) {
    int64_t seconds = us_since_1970 / US_A_SECOND, us = us_since_1970 % US_A_SECOND;
    if (us < 0) {
        us += US_A_SECOND;
        seconds--;
    }
    out[0] = '\0';
    if (seconds < YEAR_1 || seconds >= YEAR_10000)
        return 0;

    int64_t since_march = seconds + 719468 * SECONDS_A_DAY; /* 0000-03-01, so never negative */
    uint32_t second = (uint32_t)(since_march % SECONDS_A_DAY), fraction = (uint32_t)us;
    date date = date_of((uint32_t)(since_march / SECONDS_A_DAY));
    char *at = put_two(out, date.year / 100);
    at = put_pair(at, date.year % 100, '-');
    at = put_pair(at, date.month, '-');
    at = put_pair(at, date.day, 'T');
    at = put_pair(at, second / 3600, ':');
    at = put_pair(at, second / 60 % 60, ':');
    at = put_pair(at, second % 60, '.');
    at = put_two(at, fraction / 10000);
    at = put_two(at, fraction / 100 % 100);
    at = put_pair(at, fraction % 100, 'Z');
    *at = '\0';
    return (size_t)(at - out);
}

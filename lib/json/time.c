#include "json/time.h"

#include <string.h>

#define US_A_SECOND INT64_C(1000000)
#define YEAR_1 INT64_C(-62135596800)     /* 0001-01-01T00:00:00Z, in seconds since 1970 */
#define YEAR_10000 INT64_C(253402300800) /* 10000-01-01T00:00:00Z */

static bool take_one_of(hob_text *rest, const char *wanted) {
    if (rest->size == 0 || rest->data[0] == '\0' || !strchr(wanted, rest->data[0]))
        return false;
    *rest = (hob_text){rest->data + 1, rest->size - 1};
    return true;
}

static bool take_digits(hob_text *rest, int count, int64_t *out) {
    for (*out = 0; count > 0; count--) {
        int digit = rest->size > 0 ? rest->data[0] - '0' : -1;
        if (!take_one_of(rest, "0123456789"))
            return false;
        *out = *out * 10 + digit;
    }
    return true;
}

/* What follows the seconds: "." and digits, or nothing. */
static bool take_fraction(hob_text *rest, int64_t *us) {
    int64_t digit;
    *us = 0;
    if (!take_one_of(rest, "."))
        return true;
    if (!take_digits(rest, 1, &digit))
        return false;
    int64_t unit = US_A_SECOND;
    do {
        unit /= 10;
        *us += unit * digit;
    } while (take_digits(rest, 1, &digit));
    return true;
}

/* "Z", or "+hh:mm" when clocks are ahead of UTC. */
static bool take_offset(hob_text *rest, int64_t *seconds) {
    int64_t hours, minutes;
    *seconds = 0;
    if (take_one_of(rest, "Zz"))
        return true;
    bool behind = rest->size > 0 && rest->data[0] == '-';
    if (!take_one_of(rest, "+-") || !take_digits(rest, 2, &hours) || !take_one_of(rest, ":") ||
        !take_digits(rest, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *seconds = (behind ? -60 : 60) * (hours * 60 + minutes);
    return true;
}

static bool valid_date(int64_t year, int64_t month, int64_t day) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap);
}

/* From 1970-01-01. Years begin in March here, so the leap day comes last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t from = month > 2 ? year : year - 1;
    int64_t since_march = month > 2 ? month - 3 : month + 9;
    return from * 365 + (from + 400) / 4 - (from + 400) / 100 + (from + 400) / 400 - 97 + (153 * since_march + 2) / 5 +
           day - 1 - 719468;
}

bool hob__time_parse(hob_text text, int64_t *us_since_1970) {
    int64_t year, month, day, hour, minute, second, us, offset;
    if (!take_digits(&text, 4, &year) || !take_one_of(&text, "-") || !take_digits(&text, 2, &month) ||
        !take_one_of(&text, "-") || !take_digits(&text, 2, &day) || !take_one_of(&text, "Tt") ||
        !take_digits(&text, 2, &hour) || !take_one_of(&text, ":") || !take_digits(&text, 2, &minute) ||
        !take_one_of(&text, ":") || !take_digits(&text, 2, &second) || !take_fraction(&text, &us) ||
        !take_offset(&text, &offset) || text.size > 0)
        return false;
    if (!valid_date(year, month, day) || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    *us_since_1970 = seconds * US_A_SECOND + us;
    return seconds >= YEAR_1 && seconds < YEAR_10000;
}

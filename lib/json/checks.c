/* Ready-made checks for string fields. */
#include "base/text.h"
#include "hob.h"

const char *hob_no_control(hob_text value) {
    return hob__text_has_control(value) ? "must not have control characters" : NULL;
}

static bool has_prefix_of(hob_text at, const char *const *blanks, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (hob__text_starts(at, hob_text_of(blanks[i])))
            return true;
    return false;
}

/* Unicode's White_Space beyond ASCII and Latin-1's NEL, which is a control character anyway. */
static bool has_unicode_blank(hob_text value) {
    static const char *const blanks[] = {"\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
                                         "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009",
                                         "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};
    for (; value.size > 1; value.data++, value.size--)
        if ((unsigned char)*value.data >= 0x80 && has_prefix_of(value, blanks, sizeof blanks / sizeof *blanks))
            return true;
    return false;
}

const char *hob_no_blank(hob_text value) {
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] == ' ')
            return "must not have white space";
    if (has_unicode_blank(value))
        return "must not have white space";
    return hob_no_control(value);
}

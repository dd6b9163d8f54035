#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/db_private.h"

static void sqlstates_are_classified(void **state) {
    (void)state;
    static const struct {
        const char *sqlstate;
        hob_outcome outcome;
    } cases[] = {
        {"23505", HOB_OUTCOME_UNIQUE},        {"23503", HOB_OUTCOME_FOREIGN_KEY},
        {"23514", HOB_OUTCOME_CHECK},         {"22001", HOB_OUTCOME_CHECK},
        {"22003", HOB_OUTCOME_CHECK},         {"22P02", HOB_OUTCOME_CHECK},
        {"22021", HOB_OUTCOME_BAD_TEXT},      {"22P05", HOB_OUTCOME_BAD_TEXT},
        {"40001", HOB_OUTCOME_SERIALIZATION}, {"40P01", HOB_OUTCOME_SERIALIZATION},
        {"57014", HOB_OUTCOME_TIMEOUT},       {"55P03", HOB_OUTCOME_TIMEOUT},
        {"57P01", HOB_OUTCOME_UNAVAILABLE},   {"57P02", HOB_OUTCOME_UNAVAILABLE},
        {"57P03", HOB_OUTCOME_UNAVAILABLE},   {"08006", HOB_OUTCOME_UNAVAILABLE},
        {"08P01", HOB_OUTCOME_UNAVAILABLE},   {"42601", HOB_OUTCOME_FAILED},
        {"23502", HOB_OUTCOME_FAILED},        {"57000", HOB_OUTCOME_FAILED},
        {"XX000", HOB_OUTCOME_FAILED},        {"", HOB_OUTCOME_FAILED},
        {NULL, HOB_OUTCOME_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(hob__db_classify(cases[i].sqlstate), cases[i].outcome);
}

static void statements_get_quick_and_slow(void **state) {
    (void)state;
    hob_db_statement statement = {.average = -1};
    assert_false(hob__db_statement_quick(NULL));
    assert_false(hob__db_statement_quick(&statement)); /* not seen yet */
    hob__db_statement_ran(&statement, 5 * HOB_MS);     /* caches were cold */
    assert_false(hob__db_statement_quick(&statement));
    for (int i = 0; i < 4; i++)
        hob__db_statement_ran(&statement, HOB_MS / 10);
    assert_true(hob__db_statement_quick(&statement));
    hob__db_statement_ran(&statement, 4 * HOB_MS); /* a hiccup */
    assert_true(hob__db_statement_quick(&statement));
    hob__db_statement_ran(&statement, 300 * HOB_MS);
    assert_false(hob__db_statement_quick(&statement));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlstates_are_classified),
        cmocka_unit_test(statements_get_quick_and_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

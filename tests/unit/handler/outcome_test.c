/* How each outcome of a query is told to the client. No database is needed to tell. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"
#include "json/rows.h"

static hob_rows rows;
static const hob_field FIELDS[] = {{.name = "id", .type = HOB_INT, .server = true},
                                   {.name = "email", .type = HOB_STRING, .unique = "users_email_key"},
                                   {.name = "owner", .type = HOB_INT, .column = "owner_id"},
                                   {0}};

static int tell(hob_ctx *c) {
    int status = hob_rows_status(c, &rows, FIELDS);
    return status ? status : hob_no_content(c);
}

static int one(hob_ctx *c) {
    return hob_rows_one(c, &rows, FIELDS);
}

static int set_up(void **state) {
    (void)state;
    rows = (hob_rows){.outcome = HOB_OUTCOME_GOOD};
    unsetenv("DATABASE_URL");
    setenv("HOB_LOG", "/dev/null", 1);
    open_app();
    hob_post(app, "/things", tell);
    hob_post(app, "/parents/{id:int}/things", tell);
    hob_delete(app, "/things/{id:int}", tell);
    hob_get(app, "/things/{id:int}", one);
    return 0;
}

static void every_outcome_has_its_answer(void **state) {
    (void)state;
    static const struct {
        hob_outcome outcome;
        int status;
        const char *retry_after, *type;
    } cases[] = {
        {HOB_OUTCOME_GOOD, 204, NULL, NULL},
        {HOB_OUTCOME_UNIQUE, 409, NULL, "about:blank"},
        {HOB_OUTCOME_FOREIGN_KEY, 422, NULL, "about:blank"},
        {HOB_OUTCOME_CHECK, 422, NULL, "about:blank"},
        {HOB_OUTCOME_BAD_TEXT, 422, NULL, "about:blank"},
        {HOB_OUTCOME_SERIALIZATION, 503, "1", "about:blank"},
        {HOB_OUTCOME_TIMEOUT, 504, NULL, "about:blank"},
        {HOB_OUTCOME_CANCELLED, 499, NULL, "about:blank"},
        {HOB_OUTCOME_UNAVAILABLE, 503, "1", "about:blank"},
        {HOB_OUTCOME_NO_FREE_CONNECTION, 503, "1", "about:blank"},
        {HOB_OUTCOME_UNKNOWN, 503, NULL, "urn:hob:outcome-unknown"},
        {HOB_OUTCOME_NO_MEMORY, 503, "1", "about:blank"},
        {HOB_OUTCOME_FAILED, 500, NULL, "about:blank"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rows.outcome = cases[i].outcome;
        const hob_test_response *r = ask("POST", "/things");
        assert_int_equal(hob_test_status(r), cases[i].status);
        const char *retry_after = hob_test_header_of(r, "Retry-After");
        assert_string_equal(retry_after ? retry_after : "none", cases[i].retry_after ? cases[i].retry_after : "none");
        if (cases[i].type)
            assert_non_null(strstr(hob_test_body(r), cases[i].type));
    }
}

static void violations_name_the_field(void **state) {
    (void)state;
    static const struct {
        hob_outcome outcome;
        const char *constraint, *method, *target;
        int status;
        const char *pointer; /* NULL: no field is named */
    } cases[] = {
        {HOB_OUTCOME_UNIQUE, "users_email_key", "POST", "/things", 409, "/email"},
        {HOB_OUTCOME_UNIQUE, "another_key", "POST", "/things", 409, NULL},
        {HOB_OUTCOME_UNIQUE, NULL, "POST", "/things", 409, NULL},
        {HOB_OUTCOME_FOREIGN_KEY, "things_owner_id_fkey", "POST", "/things", 422, "/owner"},
        {HOB_OUTCOME_FOREIGN_KEY, "things_owner_id_fkey", "POST", "/parents/1/things", 422, "/owner"},
        {HOB_OUTCOME_FOREIGN_KEY, "things_id_fkey", "POST", "/things", 422, NULL}, /* a field of the server's */
        {HOB_OUTCOME_FOREIGN_KEY, "things_parent_id_fkey", "POST", "/parents/1/things", 404, NULL},
        {HOB_OUTCOME_FOREIGN_KEY, "_owner_id_fkey", "POST", "/things", 422, NULL}, /* no table */
        {HOB_OUTCOME_FOREIGN_KEY, "", "POST", "/things", 422, NULL},
        {HOB_OUTCOME_FOREIGN_KEY, "orders_thing_id_fkey", "DELETE", "/things/1", 409, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char pointer[64];
        rows = (hob_rows){.outcome = cases[i].outcome, .constraint = hob_text_of(cases[i].constraint)};
        const hob_test_response *r = ask(cases[i].method, cases[i].target);
        assert_int_equal(hob_test_status(r), cases[i].status);
        snprintf(pointer, sizeof pointer, "\"errors\":[{\"pointer\":\"%s\"", cases[i].pointer);
        assert_int_equal(strstr(hob_test_body(r), cases[i].pointer ? pointer : "errors") != NULL,
                         cases[i].pointer != NULL);
        assert_null(strstr(hob_test_body(r), "key")); /* the names of constraints are the inside */
    }
}

static void no_row_is_404(void **state) {
    (void)state;
    assert_answer("GET", "/things/7", 404, NULL);
    rows.outcome = HOB_OUTCOME_TIMEOUT;
    assert_answer("GET", "/things/7", 504, NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_app)
    const struct CMUnitTest tests[] = {
        TEST(every_outcome_has_its_answer),
        TEST(violations_name_the_field),
        TEST(no_row_is_404),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

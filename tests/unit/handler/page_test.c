/* Pages: limits, cursors and links, over a table of five. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

static const hob_query AFTER = HOB_READ("SELECT id FROM item WHERE id > $1 ORDER BY id LIMIT $2");
static const hob_query BROKEN = HOB_READ("SELECT nothing FROM nowhere");
static const hob_field FIELDS[] = {{.name = "id", .type = HOB_INT}, {0}};

static int list(hob_ctx *c) {
    hob_page page;
    int status = hob_page_of(c, &page);
    if (status)
        return status;
    hob_rows *rows = hob_db_query(c, &AFTER, hob_int(page.after), hob_int(page.limit + 1));
    return hob_rows_page(c, rows, FIELDS, "items", &page, "id");
}

static int list_broken(hob_ctx *c) {
    hob_page page = {.limit = 1};
    return hob_rows_page(c, hob_db_query(c, &BROKEN), FIELDS, "items", &page, "id");
}

static int set_up(void **state) {
    (void)state;
    open_app();
    hob_get(app, "/items", list);
    hob_get(app, "/{owner}/items", list);
    hob_get(app, "/broken", list_broken);
    return 0;
}

static int create(void **state) {
    if (create_database(state))
        return -1;
    server_sql("CREATE TABLE item (id bigint PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 4);"
               "INSERT INTO item VALUES (9223372036854775807)");
    return 0;
}

static void pages_and_their_links(void **state) {
    (void)state;
#define LAST "9223372036854775807"
    static const struct {
        const char *target, *body, *link;
    } cases[] = {
        {"/items", "{\"items\":[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4},{\"id\":" LAST "}],\"next\":null}", NULL},
        {"/items?limit=2", "{\"items\":[{\"id\":1},{\"id\":2}],\"next\":\"2\"}",
         "</items?limit=2&after=2>; rel=\"next\""},
        {"/items?limit=2&after=2", "{\"items\":[{\"id\":3},{\"id\":4}],\"next\":\"4\"}",
         "</items?limit=2&after=4>; rel=\"next\""},
        {"/items?after=4&limit=2", "{\"items\":[{\"id\":" LAST "}],\"next\":null}", NULL},
        {"/items?limit=1&after=4", "{\"items\":[{\"id\":" LAST "}],\"next\":null}", NULL}, /* full, but the last */
        {"/items?limit=5", "{\"items\":[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4},{\"id\":" LAST "}],\"next\":null}",
         NULL},
        {"/items?after=" LAST, "{\"items\":[],\"next\":null}", NULL},
        /* as the client spelled it, whatever else it asked */
        {"/a%20b/items?x=1&limit=4", "{\"items\":[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4}],\"next\":\"4\"}",
         "</a%20b/items?limit=4&after=4>; rel=\"next\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const hob_test_response *r = ask("GET", cases[i].target);
        assert_int_equal(hob_test_status(r), 200);
        assert_string_equal(hob_test_body(r), cases[i].body);
        const char *link = hob_test_header_of(r, "Link");
        assert_string_equal(link ? link : "none", cases[i].link ? cases[i].link : "none");
    }
}

static void bad_limits_and_cursors(void **state) {
    (void)state;
    static const char *const queries[] = {"limit=0",
                                          "limit=101",
                                          "limit=-1",
                                          "limit=",
                                          "limit=x",
                                          "limit=1.5",
                                          "limit=%201",
                                          "limit=99999999999999999999",
                                          "after=0",
                                          "after=-5",
                                          "after=9223372036854775808",
                                          "after=a",
                                          "after=",
                                          "limit=20&after=x"};
    for (size_t i = 0; i < COUNT(queries); i++) {
        char target[96];
        snprintf(target, sizeof target, "/items?%s", queries[i]);
        assert_answer("GET", target, 400, NULL);
    }
    assert_answer("GET", "/items?limit=100&after=9223372036854775807&other=x", 200, NULL);
}

static void a_failed_query_is_no_page(void **state) {
    (void)state;
    const hob_test_response *r = ask("GET", "/broken");
    assert_int_equal(hob_test_status(r), 500);
    assert_null(strstr(hob_test_body(r), "nowhere"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_app)
    const struct CMUnitTest tests[] = {
        TEST(pages_and_their_links),
        TEST(bad_limits_and_cursors),
        TEST(a_failed_query_is_no_page),
    };
    return cmocka_run_group_tests(tests, create, NULL);
}

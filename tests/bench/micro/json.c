#include <endian.h>

#include "json/bind.h"
#include "json/check.h"
#include "json/emit.h"
#include "json/rows.h"
#include "json/value.h"
#include "operations.h"
#include "users_api.h"

#define USERS 100

#define USER "{\"name\":\"Ada Lovelace\",\"email\":\"ada.lovelace@example.com\"}"
#define ITEM "{\"sku\":\"tea-50\",\"quantity\":2,\"unit_price_cents\":999}"
#define ORDER "{\"items\":[" ITEM ", " ITEM ", " ITEM ", " ITEM "]}"

static hob_arena *arena;
static hob_text user_body, order_body;

static void begin_json(void) {
    arena = arena ? arena : hob__arena_new((size_t)1 << 20);
    EXPECT(arena);
    user_body = hob_text_of(keep(USER));
    order_body = hob_text_of(keep(ORDER));
}

/* ---- check and bind_user: bodies of POST /users and POST /users/1/orders ---- */

static void run_check(void) {
    size_t offset;
    EXPECT(hob__json_fault(arena, order_body, &offset) == NULL);
    hob__arena_reset(arena);
}

static void run_bind_user(void) {
    struct {
        hob_text name, email;
    } user;
    hob_text detail;
    json_object *errors;
    EXPECT(hob__bind(arena, user_body, USER_FIELDS, false, &user, &detail, &errors) == HOB_BIND_GOOD);
    EXPECT(user.name.size == 12 && user.email.size == 24);
    hob__arena_reset(arena);
}

/* ---- row, rows_100: users as the database sends them ---- */

static hob_rows rows;

static void set_value(int row, int column, const void *bytes, size_t size) {
    char copy[64]; /* libpq wants it writable */
    memcpy(copy, bytes, size);
    EXPECT(PQsetvalue(rows.result, row, column, copy, (int)size));
}

static void set_int(int row, int column, int64_t value) {
    uint64_t wire = htobe64((uint64_t)value);
    set_value(row, column, &wire, sizeof wire);
}

static void add_user(int row) {
    char text[64];
    int64_t created = INT64_C(757382400123456) + row * INT64_C(4020000000); /* 2024, counted from 2000 */
    set_int(row, 0, 100000 + row);
    set_value(row, 1, text, (size_t)snprintf(text, sizeof text, "Katherine Lovelace"));
    set_value(row, 2, text, (size_t)snprintf(text, sizeof text, "katherine.lovelace%d@example.com", row));
    set_int(row, 3, created);
    set_int(row, 4, created);
}

static void begin_rows(void) {
    PGresAttDesc columns[] = {
        {.name = "id", .typid = HOB_OID_INT8},
        {.name = "name", .typid = HOB_OID_TEXT},
        {.name = "email", .typid = HOB_OID_TEXT},
        {.name = "created_at", .typid = HOB_OID_TIMESTAMPTZ},
        {.name = "updated_at", .typid = HOB_OID_TIMESTAMPTZ},
    };
    begin_json();
    if (rows.result)
        return;
    for (int i = 0; i < 5; i++)
        columns[i].format = 1;
    rows.result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    EXPECT(rows.result && PQsetResultAttrs(rows.result, 5, columns));
    for (int row = 0; row < USERS; row++)
        add_user(row);
}

static void run_row(void) {
    hob_text text = hob__json_text(arena, hob__row_object(arena, &rows, 42, USER_FIELDS));
    EXPECT(text.size == 170);
    hob__arena_reset(arena);
}

/* The body that hob_rows_page makes. */
static void run_rows_100(void) {
    json_object *body = hob__json_own(arena, json_object_new_object());
    json_object *users = hob__rows_array(arena, &rows, USERS, USER_FIELDS);
    json_object_object_add_ex(body, "users", json_object_get(users), JSON_C_OBJECT_ADD_CONSTANT_KEY);
    json_object_object_add_ex(body, "next", json_object_new_string("100099"), JSON_C_OBJECT_ADD_CONSTANT_KEY);
    EXPECT(hob__json_text(arena, body).size > 100 * 160);
    hob__arena_reset(arena);
}

/* ---- tree: an object of four members by json-c ---- */

static void run_tree(void) {
    json_object *tree = hob__json_own(arena, json_object_new_object());
    json_object_object_add_ex(tree, "id", json_object_new_int64(123456), JSON_C_OBJECT_ADD_CONSTANT_KEY);
    json_object_object_add_ex(tree, "name", json_object_new_string("Ada Lovelace"), JSON_C_OBJECT_ADD_CONSTANT_KEY);
    json_object_object_add_ex(tree, "active", json_object_new_boolean(true), JSON_C_OBJECT_ADD_CONSTANT_KEY);
    json_object_object_add_ex(tree, "note", NULL, JSON_C_OBJECT_ADD_CONSTANT_KEY);
    EXPECT(hob__json_text(arena, tree).size > 0);
    hob__arena_reset(arena);
}

/* ---- emit: one value of each kind ---- */

static struct printbuf *out;

static void run_emit(void) {
    printbuf_reset(out);
    hob__put_int(out, 1234567);
    hob__put_string(out, HOB_TEXT("katherine.lovelace@example.com, \"Kate\""));
    hob__put_time(out, INT64_C(1704067200123456));
    EXPECT(out->bpos > 70);
}

static void begin_emit(void) {
    out = printbuf_new();
    EXPECT(out);
}

const operation json_operations[] = {
    {.name = "check", .begin = begin_json, .run = run_check},
    {.name = "bind_user", .begin = begin_json, .run = run_bind_user},
    {.name = "row", .begin = begin_rows, .run = run_row},
    {.name = "rows_100", .begin = begin_rows, .run = run_rows_100},
    {.name = "tree", .begin = begin_json, .run = run_tree},
    {.name = "emit", .begin = begin_emit, .run = run_emit},
    {0},
};

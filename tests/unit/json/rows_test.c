/* Rows of binary results: read by column, and written as plain json-c trees would be. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "json/rows.h"
#include "json/value.h"

#define US_TO_2000 INT64_C(946684800000000)

static hob_arena *arena;
static hob_rows rows;

static int setup(void **state) {
    (void)state;
    arena = hob__arena_new((size_t)8 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    hob__arena_free(arena);
    PQclear(rows.result);
    rows = (hob_rows){0};
    return 0;
}

/* ---- Results without a server ---- */

typedef struct column {
    const char *name;
    Oid oid;
} column;

static void new_result(const column *columns, int count) {
    PGresAttDesc attributes[16];
    memset(attributes, 0, sizeof attributes);
    assert_true(count <= 16);
    for (int i = 0; i < count; i++) {
        char *name = strdup(columns[i].name); /* libpq copies it */
        assert_non_null(name);
        attributes[i] = (PGresAttDesc){.name = name, .format = 1, .typid = columns[i].oid, .typlen = -1};
    }
    PQclear(rows.result);
    rows = (hob_rows){.result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK)};
    assert_non_null(rows.result);
    assert_true(PQsetResultAttrs(rows.result, count, attributes));
    for (int i = 0; i < count; i++)
        free(attributes[i].name);
}

#define NEW_RESULT(...)                                                                                                \
    new_result((const column[]){__VA_ARGS__}, (int)(sizeof((const column[]){__VA_ARGS__}) / sizeof(column)))

static void set_bytes(int row, int number, const void *bytes, size_t size) {
    char *copy = malloc(size + 1); /* libpq wants it writable */
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    assert_true(PQsetvalue(rows.result, row, number, copy, (int)size));
    free(copy);
}

static void set_text(int row, int number, const char *text) {
    set_bytes(row, number, text, strlen(text));
}

static void set_int(int row, int number, int64_t value, size_t size) {
    char bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)((uint64_t)value >> 8 * (size - 1 - i));
    set_bytes(row, number, bytes, size);
}

static void set_double(int row, int number, double value) {
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    set_int(row, number, bits, 8);
}

static void set_float(int row, int number, float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    set_int(row, number, bits, 4);
}

static void set_null(int row, int number) {
    assert_true(PQsetvalue(rows.result, row, number, NULL, -1));
}

/* ---- Comparison ---- */

static void assert_written(json_object *tree, const char *wanted) {
    hob_text text = hob__json_text(arena, tree);
    assert_non_null(text.data);
    assert_string_equal(text.data, wanted);
    assert_int_equal(text.size, strlen(wanted));
}

static void assert_as_plain(json_object *node, json_object *plain) {
    assert_written(node,
                   json_object_to_json_string_ext(plain, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(plain);
}

/* A field "v" of the type, in a row of its own. */
static json_object *field_v(hob_type type) {
    hob_field *fields = hob__arena_calloc(arena, 2, sizeof *fields);
    assert_non_null(fields);
    fields[0] = (hob_field){.name = "v", .type = type};
    return hob__row_object(arena, &rows, 0, fields);
}

static json_object *plain_v(json_object *value) {
    json_object *object = json_object_new_object();
    json_object_object_add(object, "v", value);
    return object;
}

static void integers(void **state) {
    (void)state;
    static const int64_t values[] = {0,
                                     1,
                                     9,
                                     10,
                                     11,
                                     99,
                                     100,
                                     101,
                                     999,
                                     1000,
                                     12345,
                                     32767,
                                     -1,
                                     -9,
                                     -10,
                                     -32768,
                                     65535,
                                     1000000,
                                     -99999999,
                                     100000000,
                                     INT32_MAX,
                                     INT32_MIN,
                                     INT64_C(1) << 32,
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT64_C(-1234567890123456789)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        static const struct {
            Oid oid;
            size_t size;
            int64_t min, max;
        } types[] = {{HOB_OID_INT2, 2, INT16_MIN, INT16_MAX},
                     {HOB_OID_INT4, 4, INT32_MIN, INT32_MAX},
                     {HOB_OID_INT8, 8, INT64_MIN, INT64_MAX}};
        for (size_t j = 0; j < 3; j++) {
            if (values[i] < types[j].min || values[i] > types[j].max)
                continue;
            NEW_RESULT({"v", types[j].oid});
            set_int(0, 0, values[i], types[j].size);
            assert_as_plain(field_v(HOB_INT), plain_v(json_object_new_int64(values[i])));
            assert_true(hob_rows_int(&rows, 0, "v") == values[i]);
        }
    }
}

static void integers_of_every_length(void **state) {
    (void)state;
    NEW_RESULT({"v", HOB_OID_INT8});
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10) {
        for (int64_t near = -1; near <= 1; near++) {
            set_int(0, 0, -(power * 7 + near), 8);
            assert_as_plain(field_v(HOB_INT), plain_v(json_object_new_int64(-(power * 7 + near))));
            set_int(0, 0, power + near, 8);
            assert_as_plain(field_v(HOB_INT), plain_v(json_object_new_int64(power + near)));
        }
    }
}

static void doubles(void **state) {
    (void)state;
    static const double values[] = {
        0,    -0.0,  1,    -1,     0.5,     0.1,      1.0 / 3, 100,    1e15,   123456789012345680.0,
        1e17, 1e300, 1e-5, 1e-300, DBL_MAX, -DBL_MAX, DBL_MIN, 5e-324, 2.5e-7, 3.141592653589793};
    NEW_RESULT({"v", HOB_OID_FLOAT8});
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        set_double(0, 0, values[i]);
        assert_as_plain(field_v(HOB_DOUBLE), plain_v(json_object_new_double(values[i])));
        assert_true(hob_rows_double(&rows, 0, "v") == values[i]);
    }
    static const double none[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        set_double(0, 0, none[i]);
        assert_written(field_v(HOB_DOUBLE), "{\"v\":null}");
    }
    static const float floats[] = {0, -1.5F, 0.1F, FLT_MAX, FLT_MIN};
    NEW_RESULT({"v", HOB_OID_FLOAT4});
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        set_float(0, 0, floats[i]);
        assert_as_plain(field_v(HOB_DOUBLE), plain_v(json_object_new_double((double)floats[i])));
        assert_true(hob_rows_double(&rows, 0, "v") == (double)floats[i]);
    }
}

static void strings(void **state) {
    (void)state;
    static const Oid oids[] = {HOB_OID_TEXT, HOB_OID_VARCHAR, HOB_OID_BPCHAR, HOB_OID_NAME, HOB_OID_UNKNOWN, 20000};
    static const char *const values[] = {
        "",
        "a",
        "plain text",
        "/",
        "\"",
        "\\",
        "\"\"\"\"\"\"\"\"\"",
        "12345678\"",
        "1234567\\x",
        "12345678\n12345678\t",
        "\b\f\n\r\t",
        "\x01\x1F\x7F",
        "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80",
        "</script>",
        "\xC3\xA9\"\xC3\xA9",
        "a longer text of more than thirty-two bytes, so that the buffer has to grow",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for (size_t j = 0; j < sizeof oids / sizeof *oids; j++) {
            NEW_RESULT({"v", oids[j]});
            set_text(0, 0, values[i]);
            assert_as_plain(field_v(HOB_STRING), plain_v(json_object_new_string(values[i])));
            assert_true(hob_text_equal(hob_rows_text(&rows, 0, "v"), hob_text_of(values[i])));
        }
    }
}

/* Every byte at every place of an eight byte word. */
static void every_ascii_character(void **state) {
    (void)state;
    NEW_RESULT({"v", HOB_OID_TEXT});
    for (int c = 1; c < 128; c++) {
        for (size_t at = 0; at < 17; at++) {
            char text[18] = "aaaaaaaaaaaaaaaaa";
            text[at] = (char)c;
            set_text(0, 0, text);
            assert_as_plain(field_v(HOB_STRING), plain_v(json_object_new_string(text)));
        }
    }
}

static void other_types(void **state) {
    (void)state;
    NEW_RESULT({"v", HOB_OID_BOOL});
    for (int value = 0; value < 2; value++) {
        set_int(0, 0, value, 1);
        assert_as_plain(field_v(HOB_BOOL), plain_v(json_object_new_boolean(value)));
        assert_int_equal(hob_rows_bool(&rows, 0, "v"), value);
    }

    NEW_RESULT({"v", HOB_OID_UUID});
    set_bytes(0, 0, "\x01\x23\x45\x67\x89\xAB\xCD\xEF\xFE\xDC\xBA\x98\x76\x54\x32\x10", 16);
    assert_written(field_v(HOB_STRING), "{\"v\":\"01234567-89ab-cdef-fedc-ba9876543210\"}");
    assert_true(hob_text_equal(hob_rows_text(&rows, 0, "v"), HOB_TEXT("01234567-89ab-cdef-fedc-ba9876543210")));

    NEW_RESULT({"v", HOB_OID_JSON});
    set_text(0, 0, "{\"a\": [1,\n2]}");
    assert_written(field_v(HOB_JSON), "{\"v\":{\"a\": [1,\n2]}}");
    assert_true(hob_text_equal(hob_rows_text(&rows, 0, "v"), HOB_TEXT("{\"a\": [1,\n2]}")));

    NEW_RESULT({"v", HOB_OID_JSONB});
    set_text(0, 0, "\x01[1, null]");
    assert_written(field_v(HOB_JSON), "{\"v\":[1, null]}");
    assert_true(hob_text_equal(hob_rows_text(&rows, 0, "v"), HOB_TEXT("[1, null]")));
    set_text(0, 0, "\x02[1, null]");
    assert_written(field_v(HOB_JSON), "{\"v\":null}");

    NEW_RESULT({"v", HOB_OID_BYTEA});
    set_bytes(0, 0, "\0\xFF", 2);
    assert_true(hob_text_equal(hob_rows_bytea(&rows, 0, "v"), (hob_text){"\0\xFF", 2}));
    set_null(0, 0);
    assert_null(hob_rows_bytea(&rows, 0, "v").data);

    NEW_RESULT({"v", 20000});
    set_text(0, 0, "no \xFF text");
    assert_written(field_v(HOB_STRING), "{\"v\":null}");
}

static void times(void **state) {
    (void)state;
    static const struct {
        int64_t us_since_2000;
        const char *wanted;
    } examples[] = {
        {0, "{\"v\":\"2000-01-01T00:00:00.000000Z\"}"},
        {-1, "{\"v\":\"1999-12-31T23:59:59.999999Z\"}"},
        {-US_TO_2000, "{\"v\":\"1970-01-01T00:00:00.000000Z\"}"},
        {INT64_C(848872763000001), "{\"v\":\"2026-11-24T21:59:23.000001Z\"}"},
        {INT64_MAX, "{\"v\":null}"},                    /* infinity */
        {INT64_MIN, "{\"v\":null}"},                    /* -infinity */
        {INT64_C(252455616000000000), "{\"v\":null}"},  /* the year 10000 */
        {INT64_C(-211813488000000000), "{\"v\":null}"}, /* 4714 BC */
    };
    static const Oid oids[] = {HOB_OID_TIMESTAMPTZ, HOB_OID_TIMESTAMP};
    for (size_t j = 0; j < 2; j++) {
        NEW_RESULT({"v", oids[j]});
        for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
            set_int(0, 0, examples[i].us_since_2000, 8);
            assert_written(field_v(HOB_TIME), examples[i].wanted);
        }
        set_int(0, 0, 5, 8);
        assert_true(hob_rows_time(&rows, 0, "v") == US_TO_2000 + 5);
        set_int(0, 0, INT64_MIN, 8);
        assert_true(hob_rows_time(&rows, 0, "v") == 0);
    }
}

/* ---- Rows ---- */

static const hob_field USER_FIELDS[] = {
    {.name = "id", .type = HOB_INT},
    {.name = "na\"me", .type = HOB_STRING, .column = "name"},
    {.name = "orders", .type = HOB_LIST},
    {.name = "active", .type = HOB_BOOL},
    {0},
};

static void three_users(void) {
    NEW_RESULT({"active", HOB_OID_BOOL}, {"unused", HOB_OID_TEXT}, {"name", HOB_OID_TEXT}, {"id", HOB_OID_INT8});
    for (int row = 0; row < 3; row++) {
        set_int(row, 0, row % 2, 1);
        set_text(row, 1, "unused");
        set_text(row, 2, row == 1 ? "b\nb" : "a");
        set_int(row, 3, row + 1, 8);
    }
    set_null(2, 2);
    set_null(2, 0);
}

static json_object *plain_user(int row) {
    json_object *user = json_object_new_object();
    json_object_object_add(user, "id", json_object_new_int(row + 1));
    json_object_object_add(user, "na\"me", row == 2 ? NULL : json_object_new_string(row == 1 ? "b\nb" : "a"));
    json_object_object_add(user, "active", row == 2 ? NULL : json_object_new_boolean(row % 2));
    return user;
}

static void rows_as_objects(void **state) {
    (void)state;
    three_users();
    for (size_t row = 0; row < 3; row++)
        assert_as_plain(hob__row_object(arena, &rows, row, USER_FIELDS), plain_user((int)row));
    assert_null(hob__row_object(arena, &rows, 3, USER_FIELDS));
    assert_null(hob__row_object(arena, &rows, SIZE_MAX, USER_FIELDS));
    assert_false(hob__arena_failed(arena));
}

static void rows_as_an_array(void **state) {
    (void)state;
    three_users();
    for (size_t count = 0; count < 5; count++) {
        json_object *plain = json_object_new_array();
        for (int row = 0; row < (int)count && row < 3; row++)
            json_object_array_add(plain, plain_user(row));
        assert_as_plain(hob__rows_array(arena, &rows, count, USER_FIELDS), plain);
    }
}

static void within_a_tree(void **state) {
    (void)state;
    three_users();
    json_object *tree = json_object_new_object(), *plain = json_object_new_object(), *users = json_object_new_array();
    json_object *array = hob__rows_array(arena, &rows, 2, USER_FIELDS);
    json_object_object_add(tree, "user", json_object_get(hob__row_object(arena, &rows, 0, USER_FIELDS)));
    json_object_object_add(tree, "users", json_object_get(array));
    json_object_object_add(tree, "again", json_object_get(array));
    json_object_array_add(users, plain_user(0));
    json_object_array_add(users, plain_user(1));
    json_object_object_add(plain, "user", plain_user(0));
    json_object_object_add(plain, "users", users);
    json_object_object_add(plain, "again", json_object_get(users));
    assert_as_plain(tree, plain);
    json_object_put(tree);
}

static void members_follow_the_fields(void **state) {
    (void)state;
    three_users();
    json_object *user = hob__row_object(arena, &rows, 0, USER_FIELDS);
    json_object_object_add(user, "nothing", NULL);
    json_object_object_add(user, "friends", json_object_get(hob__rows_array(arena, &rows, 1, USER_FIELDS)));
    json_object_object_add(user, "a/\"b", json_object_new_string("x/y"));
    assert_written(user, "{\"id\":1,\"na\\\"me\":\"a\",\"active\":false,\"nothing\":null,"
                         "\"friends\":[{\"id\":1,\"na\\\"me\":\"a\",\"active\":false}],\"a/\\\"b\":\"x/y\"}");
    json_object_object_add(user, "id", json_object_new_int(9));
    json_object_object_del(user, "friends");
    json_object_object_del(user, "a/\"b");
    assert_written(user, "{\"na\\\"me\":\"a\",\"active\":false,\"nothing\":null,\"id\":9}");

    static const hob_field none[] = {{0}};
    json_object *bare = hob__row_object(arena, &rows, 0, none);
    assert_written(bare, "{}");
    json_object_object_add(bare, "a", json_object_new_int(1));
    json_object_object_add(bare, "b", json_object_new_int(2));
    assert_written(bare, "{\"a\":1,\"b\":2}");
}

static void without_rows(void **state) {
    (void)state;
    hob_rows failed = {.outcome = HOB_OUTCOME_TIMEOUT};
    assert_written(hob__rows_array(arena, &failed, 10, USER_FIELDS), "[]");
    assert_written(hob__rows_array(arena, NULL, 10, USER_FIELDS), "[]");
    assert_null(hob__row_object(arena, &failed, 0, USER_FIELDS));
    assert_int_equal(hob_rows_count(&failed), 0);
    assert_int_equal(hob_rows_count(NULL), 0);
    assert_true(hob_rows_null(NULL, 0, "id"));
    assert_int_equal(hob_rows_int(&failed, 0, "id"), 0);
    assert_null(hob_rows_text(&failed, 0, "id").data);
    NEW_RESULT({"other", HOB_OID_TEXT});
    assert_written(hob__rows_array(arena, &rows, 10, USER_FIELDS), "[]");
}

static void by_column(void **state) {
    (void)state;
    three_users();
    assert_int_equal(hob_rows_count(&rows), 3);
    assert_int_equal(hob_rows_int(&rows, 1, "id"), 2);
    assert_int_equal(hob_rows_text(&rows, 1, "name").size, 3);
    assert_false(hob_rows_null(&rows, 0, "name"));
    assert_true(hob_rows_null(&rows, 2, "name"));
    assert_true(hob_rows_null(&rows, 3, "name"));
    assert_null(hob_rows_text(&rows, 2, "name").data);
    assert_false(hob_rows_bool(&rows, 2, "active"));
    assert_int_equal(hob_rows_int(&rows, 3, "id"), 0);

    NEW_RESULT({"ID", HOB_OID_INT4}, {"id", HOB_OID_INT4}, {"\"id\"", HOB_OID_INT4});
    for (int i = 0; i < 3; i++)
        set_int(0, i, i + 1, 4);
    assert_int_equal(hob_rows_int(&rows, 0, "ID"), 1);
    assert_int_equal(hob_rows_int(&rows, 0, "id"), 2);
    assert_int_equal(hob_rows_int(&rows, 0, "\"id\""), 3);
}

/* ---- Faults of the program ---- */

static char log_path[64];

static void begin_log(void) {
    snprintf(log_path, sizeof log_path, "/tmp/hob-rows-test-XXXXXX");
    int fd = mkstemp(log_path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(hob__log_open(log_path, HOB_LOG_INFO));
}

/* The lines logged, all of which must have that text. */
static int end_log(const char *with) {
    char line[HOB_LOG_LINE + 1];
    int count = 0;
    assert_true(hob__log_open(NULL, HOB_LOG_INFO));
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); count++)
        if (!strstr(line, with))
            fail_msg("\"%s\" is not in %s", with, line);
    fclose(file);
    unlink(log_path);
    return count;
}

static void a_column_that_is_not_there(void **state) {
    (void)state;
    static const hob_field fields[] = {{.name = "id", .type = HOB_INT}, {.name = "Name", .type = HOB_STRING}, {0}};
    three_users();
    begin_log();
    json_object *array = hob__rows_array(arena, &rows, 2, fields);
    assert_written(array, "[{\"id\":1,\"Name\":null},{\"id\":2,\"Name\":null}]");
    assert_int_equal(end_log("no column \\\"Name\\\""), 1);

    begin_log();
    assert_int_equal(hob_rows_int(&rows, 0, "ID"), 0);
    assert_null(hob_rows_text(&rows, 0, "ID").data);
    assert_true(hob_rows_null(&rows, 0, "ID"));
    assert_int_equal(end_log("no column \\\"ID\\\""), 3);
}

static void types_that_do_not_fit(void **state) {
    (void)state;
    static const struct {
        Oid oid;
        hob_type good;
    } types[] = {{HOB_OID_INT2, HOB_INT},       {HOB_OID_INT4, HOB_INT},      {HOB_OID_INT8, HOB_INT},
                 {HOB_OID_TEXT, HOB_STRING},    {HOB_OID_UUID, HOB_STRING},   {HOB_OID_BOOL, HOB_BOOL},
                 {HOB_OID_FLOAT4, HOB_DOUBLE},  {HOB_OID_FLOAT8, HOB_DOUBLE}, {HOB_OID_TIMESTAMPTZ, HOB_TIME},
                 {HOB_OID_TIMESTAMP, HOB_TIME}, {HOB_OID_JSON, HOB_JSON},     {HOB_OID_JSONB, HOB_JSON},
                 {1700 /* numeric */, 0},       {20000, HOB_STRING}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        NEW_RESULT({"v", types[i].oid});
        set_text(0, 0,
                 "\x01"
                 "1111111");
        for (hob_type type = HOB_INT; type <= HOB_JSON; type++) {
            begin_log();
            hob_text text = hob__json_text(arena, field_v(type));
            assert_int_equal(strcmp(text.data, "{\"v\":null}") == 0 ? 1 : 0,
                             type != types[i].good || types[i].oid == HOB_OID_UUID ? 1 : 0);
            assert_int_equal(end_log("does not fit field \\\"v\\\""), type == types[i].good ? 0 : 1);
        }
    }
}

/* The log names the column, and the type it has. */
static void getters_of_the_wrong_type(void **state) {
    (void)state;
    static const struct {
        Oid oid;
        const char *name;
    } types[] = {{HOB_OID_INT8, "int8"},       {HOB_OID_BOOL, "bool"},
                 {HOB_OID_FLOAT8, "float8"},   {HOB_OID_TIMESTAMPTZ, "timestamptz"},
                 {HOB_OID_TEXT, "text"},       {HOB_OID_BYTEA, "bytea"},
                 {HOB_OID_NUMERIC, "numeric"}, {HOB_OID_DATE, "date"},
                 {1009, "another type (1009)"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        NEW_RESULT({"v", types[i].oid});
        set_bytes(0, 0, "\1\1\1\1\1\1\1\1", types[i].oid == HOB_OID_BOOL ? 1 : 8);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "column \\\"v\\\" is of type %s", types[i].name);
        begin_log();
        bool good[] = {hob_rows_int(&rows, 0, "v") != 0,    hob_rows_bool(&rows, 0, "v"),
                       hob_rows_double(&rows, 0, "v") != 0, hob_rows_time(&rows, 0, "v") != 0,
                       hob_rows_text(&rows, 0, "v").data,   hob_rows_bytea(&rows, 0, "v").data};
        assert_int_equal(end_log(wanted), i < 6 ? 5 : 6);
        for (size_t j = 0; j < 6; j++)
            assert_int_equal(good[j], i == j);
    }
}

static void memory_runs_out_anywhere(void **state) {
    (void)state;
    three_users();
    int failed = 0;
    for (size_t max = 0; max < 8192; max += 256) {
        hob_arena *small = hob__arena_new(max);
        assert_non_null(small);
        json_object *object = hob__row_object(small, &rows, 0, USER_FIELDS);
        json_object *array = hob__rows_array(small, &rows, 3, USER_FIELDS);
        hob_text text = hob__json_text(small, array);
        assert_true(hob__arena_failed(small) == (!object || !array || !text.data));
        failed += hob__arena_failed(small);
        hob__arena_free(small);
    }
    assert_in_range(failed, 1, 31);
}

static void outcomes(void **state) {
    (void)state;
    assert_string_equal(hob__outcome_text(HOB_OUTCOME_GOOD), "good");
    assert_string_equal(hob__outcome_text(HOB_OUTCOME_FAILED), "failed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(integers),
        TEST(integers_of_every_length),
        TEST(doubles),
        TEST(strings),
        TEST(every_ascii_character),
        TEST(other_types),
        TEST(times),
        TEST(rows_as_objects),
        TEST(rows_as_an_array),
        TEST(within_a_tree),
        TEST(members_follow_the_fields),
        TEST(without_rows),
        TEST(by_column),
        TEST(a_column_that_is_not_there),
        TEST(types_that_do_not_fit),
        TEST(getters_of_the_wrong_type),
        TEST(memory_runs_out_anywhere),
        TEST(outcomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

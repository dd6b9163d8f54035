/* Bodies into structs, and what clients are told when they do not fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "json/bind.h"
#include "json/check.h"
#include "json/rows.h"

typedef struct item {
    hob_text sku;
    int64_t quantity;
    hob_list notes;
} item;

typedef struct note {
    hob_text text;
} note;

typedef struct thing {
    int64_t id;
    hob_text name;
    int64_t count;
    int64_t any;
    bool flag;
    double ratio;
    int64_t at;
    hob_text nick;
    hob_list items;
} thing;

static const char *no_x(hob_text value) {
    return memchr(value.data, 'x', value.size) ? "must not have an x" : NULL;
}

static const hob_field NOTE_FIELDS[] = {
    {.name = "text", .type = HOB_STRING, .offset = offsetof(note, text)},
    {0},
};

static const hob_field ITEM_FIELDS[] = {
    {.name = "sku", .type = HOB_STRING, .offset = offsetof(item, sku), .min = 1, .max = 8},
    {.name = "quantity", .type = HOB_INT, .offset = offsetof(item, quantity), .min = 1, .max = 10000},
    {.name = "no/te~s",
     .type = HOB_LIST,
     .offset = offsetof(item, notes),
     .optional = true,
     .items = NOTE_FIELDS,
     .item_size = sizeof(note)},
    {0},
};

static const hob_field THING_FIELDS[] = {
    {.name = "id", .type = HOB_INT, .server = true, .offset = offsetof(thing, id)},
    {.name = "meta", .type = HOB_JSON},
    {.name = "name",
     .type = HOB_STRING,
     .offset = offsetof(thing, name),
     .trim = true,
     .min = 1,
     .max = 5,
     .check = no_x},
    {.name = "count", .type = HOB_INT, .offset = offsetof(thing, count), .min = 1, .max = 10},
    {.name = "any", .type = HOB_INT, .offset = offsetof(thing, any), .optional = true},
    {.name = "flag", .type = HOB_BOOL, .offset = offsetof(thing, flag), .optional = true},
    {.name = "ratio", .type = HOB_DOUBLE, .offset = offsetof(thing, ratio), .optional = true, .max = 1},
    {.name = "at", .type = HOB_TIME, .offset = offsetof(thing, at), .optional = true},
    {.name = "nick", .type = HOB_STRING, .offset = offsetof(thing, nick), .optional = true},
    {.name = "items",
     .type = HOB_LIST,
     .offset = offsetof(thing, items),
     .optional = true,
     .min = 1,
     .max = 3,
     .items = ITEM_FIELDS,
     .item_size = sizeof(item)},
    {0},
};

static hob_arena *arena;
static thing bound;
static hob_text detail;
static json_object *errors;

static int setup(void **state) {
    (void)state;
    arena = hob__arena_new((size_t)64 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

/* From bytes of exactly that size, freed before the result is looked at: nothing may point into the body by chance. */
static hob_bind_result bind_size(const char *body, size_t size, const hob_field *fields, bool partial, void *into) {
    char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, body, size);
    hob__arena_reset(arena);
    errors = NULL;
    detail = (hob_text){0};
    hob_bind_result result = hob__bind(arena, (hob_text){exact, size}, fields, partial, into, &detail, &errors);
    free(exact);
    return result;
}

static hob_bind_result bind(const char *body) {
    memset(&bound, 0xAA, sizeof bound);
    return bind_size(body, strlen(body), THING_FIELDS, false, &bound);
}

static void assert_text(hob_text text, const char *wanted) {
    assert_non_null(text.data);
    assert_int_equal(text.size, strlen(wanted));
    assert_memory_equal(text.data, wanted, text.size);
}

static void assert_errors(const char *wanted) {
    assert_string_equal(json_object_to_json_string_ext(errors, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                        wanted);
}

#define ONE(pointer, detail) "[{\"pointer\":\"" pointer "\",\"detail\":\"" detail "\"}]"

static void everything(void **state) {
    (void)state;
    assert_int_equal(
        bind("{\"items\":[{\"sku\":\"a\",\"quantity\":1},{\"quantity\":10000,\"sku\":\"12345678\","
             "\"no/te~s\":[{\"text\":\"\"},{\"text\":\"b\\u0001\"}]}],\"nick\":\"\",\"at\":\"1970-01-01T00:00:01Z\","
             "\"ratio\":0.25,\"flag\":true,\"any\":-9223372036854775808,\"count\":10,"
             "\"name\":\" \\t\\u00e9\xE2\x82\xACzzz\\r\\n\"}"),
        HOB_BIND_GOOD);
    assert_text(bound.name, "\xC3\xA9\xE2\x82\xACzzz");
    assert_int_equal(bound.name.data[bound.name.size], '\0');
    assert_int_equal(bound.count, 10);
    assert_true(bound.any == INT64_MIN);
    assert_true(bound.flag);
    assert_true(bound.ratio == 0.25);
    assert_int_equal(bound.at, 1000000);
    assert_text(bound.nick, "");
    assert_int_equal(bound.items.count, 2);
    const item *items = bound.items.items;
    assert_text(items[0].sku, "a");
    assert_int_equal(items[0].notes.count, 0);
    assert_null(items[0].notes.items);
    assert_int_equal(items[1].quantity, 10000);
    assert_int_equal(items[1].notes.count, 2);
    assert_text(((const note *)items[1].notes.items)[1].text, "b\x01");
    assert_int_equal((unsigned char)((const char *)&bound.id)[0], 0xAA);
}

static void optional_fields(void **state) {
    (void)state;
    for (int null = 0; null < 2; null++) {
        assert_int_equal(bind(null
                                  ? "{\"name\":\"a\",\"count\":1,\"any\":null,\"flag\":null,\"ratio\":null,\"at\":null,"
                                    "\"nick\":null,\"items\":null}"
                                  : "{\"name\":\"a\",\"count\":1}"),
                         HOB_BIND_GOOD);
        assert_int_equal(bound.any, 0);
        assert_false(bound.flag);
        assert_true(bound.ratio == 0);
        assert_int_equal(bound.at, 0);
        assert_null(bound.nick.data);
        assert_int_equal(bound.nick.size, 0);
        assert_null(bound.items.items);
        assert_int_equal(bound.items.count, 0);
    }
}

static void some(void **state) {
    (void)state;
    thing kept = {.id = 7, .name = HOB_TEXT("old"), .count = 3, .any = 4, .flag = true, .nick = HOB_TEXT("nick")};
    thing into = kept;
    assert_int_equal(bind_size("{}", 2, THING_FIELDS, true, &into), HOB_BIND_GOOD);
    assert_memory_equal(&into, &kept, sizeof into);

    static const char change[] = "{\"name\":\"new\",\"nick\":null}";
    assert_int_equal(bind_size(change, strlen(change), THING_FIELDS, true, &into), HOB_BIND_GOOD);
    assert_text(into.name, "new");
    assert_null(into.nick.data);
    assert_int_equal(into.any, 4);
    assert_true(into.flag);

    static const char bad[] = "{\"count\":null,\"id\":1,\"items\":[{\"sku\":\"a\"}]}";
    assert_int_equal(bind_size(bad, strlen(bad), THING_FIELDS, true, &into), HOB_BIND_INVALID);
    assert_errors("[{\"pointer\":\"/id\",\"detail\":\"is set by the server\"},"
                  "{\"pointer\":\"/count\",\"detail\":\"must not be null\"},"
                  "{\"pointer\":\"/items/0/quantity\",\"detail\":\"is required\"}]");
}

static void single_faults(void **state) {
    (void)state;
    /* Each is put behind {"name":"a","count":1, or stands for the whole body. */
    static const struct {
        const char *body, *errors;
    } examples[] = {
        {"\"id\":1}", ONE("/id", "is set by the server")},
        {"\"id\":null}", ONE("/id", "is set by the server")},
        {"\"meta\":{}}", ONE("/meta", "is set by the server")},
        {"\"more\":1}", ONE("/more", "is not a known field")},
        {"\"Any\":1}", ONE("/Any", "is not a known field")},
        {"\"\":null}", ONE("/", "is not a known field")},
        {"\"a/b~c\\\"\":1}", ONE("/a~1b~0c\\\"", "is not a known field")},
        {"\"any\":1.0}", ONE("/any", "must be an integer")},
        {"\"any\":1e2}", ONE("/any", "must be an integer")},
        {"\"any\":\"1\"}", ONE("/any", "must be an integer")},
        {"\"any\":true}", ONE("/any", "must be an integer")},
        {"\"any\":[]}", ONE("/any", "must be an integer")},
        {"\"flag\":1}", ONE("/flag", "must be true or false")},
        {"\"flag\":\"true\"}", ONE("/flag", "must be true or false")},
        {"\"ratio\":\"1\"}", ONE("/ratio", "must be a number")},
        {"\"ratio\":1.5}", ONE("/ratio", "must be from 0 to 1")},
        {"\"ratio\":-1}", ONE("/ratio", "must be from 0 to 1")},
        {"\"at\":1}", ONE("/at", "must be a string")},
        {"\"at\":\"today\"}", ONE("/at", "must be a time such as 2026-11-24T21:59:23Z (RFC 3339)")},
        {"\"nick\":1}", ONE("/nick", "must be a string")},
        {"\"nick\":{}}", ONE("/nick", "must be a string")},
        {"\"nick\":\"a\\u0000b\"}", ONE("/nick", "must not have the character U+0000")},
        {"\"items\":{}}", ONE("/items", "must be an array")},
        {"\"items\":[]}", ONE("/items", "must have 1 to 3 items")},
        {"\"items\":[1,2,3,4]}", ONE("/items", "must have 1 to 3 items")},
        {"\"items\":[1]}", ONE("/items/0", "must be an object")},
        {"\"items\":[null]}", ONE("/items/0", "must be an object")},
        {"\"items\":[{\"sku\":\"a\",\"quantity\":1},{\"sku\":\"a\",\"quantity\":0}]}",
         ONE("/items/1/quantity", "must be from 1 to 10000")},
        {"\"items\":[{\"sku\":\"a\",\"quantity\":1,\"no/te~s\":[{\"text\":null}]}]}",
         ONE("/items/0/no~1te~0s/0/text", "must not be null")},
        {"[]", ONE("", "must be an object")},
        {"null", ONE("", "must be an object")},
        {" 17", ONE("", "must be an object")},
        {"\"text\"", ONE("", "must be an object")},
        {"{\"name\":\"a\"}", ONE("/count", "is required")},
        {"{\"name\":\"a\",\"count\":null}", ONE("/count", "must not be null")},
        {"{\"name\":\"a\",\"count\":0}", ONE("/count", "must be from 1 to 10")},
        {"{\"name\":\"a\",\"count\":11}", ONE("/count", "must be from 1 to 10")},
        {"{\"name\":\"\",\"count\":1}", ONE("/name", "must be at least 1 character long")},
        {"{\"name\":\" \\n\",\"count\":1}", ONE("/name", "must be at least 1 character long")},
        {"{\"name\":\"123456\",\"count\":1}", ONE("/name", "must be at most 5 characters long")},
        {"{\"name\":\"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\",\"count\":1}",
         ONE("/name", "must be at most 5 characters long")},
        {"{\"name\":\"axb\",\"count\":1}", ONE("/name", "must not have an x")},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        char body[512];
        bool whole = strncmp(examples[i].body, "{", 1) == 0 || examples[i].body[strlen(examples[i].body) - 1] != '}';
        snprintf(body, sizeof body, "%s%s", whole ? "" : "{\"name\":\"a\",\"count\":1,", examples[i].body);
        if (bind(body) != HOB_BIND_INVALID)
            fail_msg("%s is not invalid", body);
        assert_errors(examples[i].errors);
    }
}

static void limits_with_one_end(void **state) {
    (void)state;
    static const hob_field fields[] = {
        {.name = "least", .type = HOB_INT, .offset = offsetof(thing, any), .min = 5},
        {.name = "below", .type = HOB_INT, .offset = offsetof(thing, any), .min = -5},
        {.name = "few",
         .type = HOB_LIST,
         .offset = offsetof(thing, items),
         .max = 1,
         .items = NOTE_FIELDS,
         .item_size = sizeof(note)},
        {.name = "some",
         .type = HOB_LIST,
         .offset = offsetof(thing, items),
         .min = 2,
         .items = NOTE_FIELDS,
         .item_size = sizeof(note)},
        {.name = "long", .type = HOB_STRING, .offset = offsetof(thing, name), .min = 2},
        {0},
    };
    static const char good[] =
        "{\"least\":5,\"below\":0,\"few\":[],\"some\":[{\"text\":\"\"},{\"text\":\"\"}],\"long\":\"ab\"}";
    static const char bad[] = "{\"least\":4,\"below\":1,\"few\":[{},{}],\"some\":[],\"long\":\"a\"}";
    assert_int_equal(bind_size(good, strlen(good), fields, false, &bound), HOB_BIND_GOOD);
    assert_int_equal(bind_size(bad, strlen(bad), fields, false, &bound), HOB_BIND_INVALID);
    assert_errors("[{\"pointer\":\"/least\",\"detail\":\"must be at least 5\"},"
                  "{\"pointer\":\"/below\",\"detail\":\"must be from -5 to 0\"},"
                  "{\"pointer\":\"/few\",\"detail\":\"must have at most 1 item\"},"
                  "{\"pointer\":\"/some\",\"detail\":\"must have at least 2 items\"},"
                  "{\"pointer\":\"/long\",\"detail\":\"must be at least 2 characters long\"}]");
}

static void all_faults_in_the_order_of_the_fields(void **state) {
    (void)state;
    assert_int_equal(
        bind("{\"z\":1,\"items\":[{\"x\":1},{\"quantity\":\"2\",\"sku\":\"\"}],\"count\":99,\"id\":1,\"y\":2}"),
        HOB_BIND_INVALID);
    assert_errors("[{\"pointer\":\"/id\",\"detail\":\"is set by the server\"},"
                  "{\"pointer\":\"/name\",\"detail\":\"is required\"},"
                  "{\"pointer\":\"/count\",\"detail\":\"must be from 1 to 10\"},"
                  "{\"pointer\":\"/items/0/sku\",\"detail\":\"is required\"},"
                  "{\"pointer\":\"/items/0/quantity\",\"detail\":\"is required\"},"
                  "{\"pointer\":\"/items/0/x\",\"detail\":\"is not a known field\"},"
                  "{\"pointer\":\"/items/1/sku\",\"detail\":\"must be at least 1 character long\"},"
                  "{\"pointer\":\"/items/1/quantity\",\"detail\":\"must be an integer\"},"
                  "{\"pointer\":\"/z\",\"detail\":\"is not a known field\"},"
                  "{\"pointer\":\"/y\",\"detail\":\"is not a known field\"}]");
}

static void at_most_a_hundred_faults(void **state) {
    (void)state;
    size_t room = 1000000, size = 1;
    char *body = malloc(room);
    assert_non_null(body);
    body[0] = '{';
    for (int i = 0; i < 50000; i++)
        size += (size_t)snprintf(body + size, room - size, "\"k%d\":1%c", i, i < 49999 ? ',' : '}');
    assert_int_equal(bind_size(body, size, THING_FIELDS, false, &bound), HOB_BIND_INVALID);
    assert_int_equal(json_object_array_length(errors), 100);
    free(body);
}

static void no_json(void **state) {
    (void)state;
    static const struct {
        const char *body, *detail;
    } examples[] = {
        {"", "expected a value at byte 0"},
        {"{\"name\" 1}", "expected ':' at byte 8"},
        {"{\"name\":1,\"name\":1}", "duplicate key at byte 10"},
        {"{\"name\":\"\xFF\"}", "invalid UTF-8 at byte 9"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        assert_int_equal(bind(examples[i].body), HOB_BIND_NO_JSON);
        assert_text(detail, examples[i].detail);
    }
}

/* The same tokener reads one body after the other, whatever came before. */
static void bodies_in_a_row(void **state) {
    (void)state;
    static const char begin[] = "{\"name\":\"a\",\"count\":1,\"nick\":\"", end[] = "\"}";
    const size_t size = 200000;
    char *large = malloc(sizeof begin + size + sizeof end);
    assert_non_null(large);
    memcpy(large, begin, sizeof begin - 1);
    memset(large + sizeof begin - 1, 'n', size);
    memcpy(large + sizeof begin - 1 + size, end, sizeof end);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bind(large), HOB_BIND_GOOD);
        assert_int_equal(bound.nick.size, size);
        assert_int_equal(bind("17"), HOB_BIND_INVALID);
        assert_int_equal(bind("{"), HOB_BIND_NO_JSON);
        assert_int_equal(bind("{\"name\":\"a\",\"count\":1}"), HOB_BIND_GOOD);
    }
    free(large);
}

/* As deep as the check lets through, json-c must go as well. */
static void deepest(void **state) {
    (void)state;
    char body[256] = "{\"name\":\"a\",\"count\":1,\"deep\":";
    size_t size = strlen(body);
    for (int i = 1; i < HOB_JSON_DEPTH; i++)
        body[size++] = '[';
    body[size++] = '1';
    for (int i = 1; i < HOB_JSON_DEPTH; i++)
        body[size++] = ']';
    body[size++] = '}';
    assert_int_equal(bind_size(body, size, THING_FIELDS, false, &bound), HOB_BIND_INVALID);
    assert_errors(ONE("/deep", "is not a known field"));
}

/* Whatever allocation fails, the answer is right or NO_MEMORY. */
static void memory_runs_out_anywhere(void **state) {
    (void)state;
    static const char body[] = "{\"name\":\"a\",\"count\":99,\"nick\":\"some text\",\"k\\u0041\":1,\"a/b\":2,"
                               "\"items\":[{\"sku\":\"abc\",\"quantity\":1},{\"sku\":\"abc\",\"quantity\":0}]}";
    int failed = 0;
    for (size_t max = 0; max < 20000; max += 512) {
        hob_arena *small = hob__arena_new(max);
        assert_non_null(small);
        json_object *faults = NULL;
        hob_text why = {0};
        thing into;
        hob_bind_result result =
            hob__bind(small, (hob_text){body, sizeof body - 1}, THING_FIELDS, false, &into, &why, &faults);
        if (result == HOB_BIND_NO_MEMORY) {
            assert_true(hob__arena_failed(small));
            failed++;
        } else {
            assert_int_equal(result, HOB_BIND_INVALID);
            assert_int_equal(json_object_array_length(faults), 4);
        }
        hob__arena_free(small);
    }
    assert_in_range(failed, 1, 38);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),
        cmocka_unit_test(optional_fields),
        cmocka_unit_test(some),
        cmocka_unit_test(single_faults),
        cmocka_unit_test(limits_with_one_end),
        cmocka_unit_test(all_faults_in_the_order_of_the_fields),
        cmocka_unit_test(at_most_a_hundred_faults),
        cmocka_unit_test(no_json),
        cmocka_unit_test(bodies_in_a_row),
        cmocka_unit_test(deepest),
        cmocka_unit_test(memory_runs_out_anywhere),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

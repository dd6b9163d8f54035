#include "json/bind.h"

#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "json/check.h"
#include "json/rows.h"
#include "json/time.h"

#define FAULTS_MAX 100                     /* more help nobody */
#define RETAINED ((size_t)64 * 1024)       /* the tokener keeps a buffer as long as the longest string it saw */
#define TOKENER_DEPTH (HOB_JSON_DEPTH + 1) /* json-c counts what is in the deepest container as well */

/* Where a value stands in the body: a member's name or, when that is NULL, an item's index. */
typedef struct place {
    const struct place *within;
    const char *name;
    size_t index;
} place;

typedef struct binder {
    hob_arena *arena;
    json_object *errors; /* NULL until the first fault */
} binder;

/* ---- Faults ---- */

/* A reference token of RFC 6901, section 3. */
static hob_text escaped(hob_arena *arena, hob_text name) {
    if (!memchr(name.data, '~', name.size) && !memchr(name.data, '/', name.size))
        return name;
    char *token = hob__arena_alloc(arena, 2 * name.size), *out = token;
    if (!token)
        return (hob_text){NULL, 0};
    for (size_t i = 0; i < name.size; i++) {
        bool special = name.data[i] == '~' || name.data[i] == '/';
        if (special)
            *out++ = '~';
        *out++ = !special ? name.data[i] : name.data[i] == '~' ? '0' : '1';
    }
    return (hob_text){token, (size_t)(out - token)};
}

static hob_text pointer_to(hob_arena *arena, const place *at) {
    if (!at)
        return HOB_TEXT("");
    hob_text within = pointer_to(arena, at->within);
    if (!at->name)
        return hob__arena_format(arena, HOB_FMT "/%zu", HOB_ARG(within), at->index);
    hob_text token = escaped(arena, hob_text_of(at->name));
    return hob__arena_format(arena, HOB_FMT "/" HOB_FMT, HOB_ARG(within), HOB_ARG(token));
}

/* Takes value over, whatever happens. */
static bool add_text(json_object *object, const char *key, hob_text text) {
    json_object *value = json_object_new_string_len(text.data, (int)text.size);
    if (value && json_object_object_add_ex(object, key, value, JSON_C_OBJECT_ADD_CONSTANT_KEY) == 0)
        return true;
    json_object_put(value);
    return false;
}

void hob__fault_add(hob_arena *arena, json_object **errors, hob_text pointer, hob_text detail) {
    if (!*errors)
        *errors = hob__json_own(arena, json_object_new_array());
    json_object *error = json_object_new_object();
    if (*errors && error && pointer.data && detail.data && add_text(error, "pointer", pointer) &&
        add_text(error, "detail", detail) && json_object_array_add(*errors, error) == 0)
        return;
    json_object_put(error);
    hob__arena_fail(arena);
}

/* Nothing that is still to come can change the outcome. */
static bool full(const binder *b) {
    return hob__arena_failed(b->arena) || (b->errors && json_object_array_length(b->errors) >= FAULTS_MAX);
}

static void fault(binder *b, const place *at, const char *format, ...) HOB_PRINTF(3, 4);

static void fault(binder *b, const place *at, const char *format, ...) {
    va_list args;
    if (full(b))
        return;
    va_start(args, format);
    hob_text detail = hob__arena_vformat(b->arena, format, args);
    va_end(args);
    hob__fault_add(b->arena, &b->errors, pointer_to(b->arena, at), detail);
}

/* ---- Values, by type ---- */

typedef void reader(binder *b, const place *at, const hob_field *field, json_object *value, void *into);

static const char *plural(int64_t count) {
    return count == 1 ? "" : "s";
}

/* A field that gives only a minimum has its maximum left at 0. */
static void out_of_range(binder *b, const place *at, const hob_field *field) {
    if (field->max >= field->min)
        fault(b, at, "must be from %" PRId64 " to %" PRId64, field->min, field->max);
    else
        fault(b, at, "must be at least %" PRId64, field->min);
}

static bool is_limited(const hob_field *field) {
    return field->min != 0 || field->max != 0;
}

static void read_int(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    int64_t number = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int))
        fault(b, at, "must be an integer");
    else if (is_limited(field) && (number < field->min || (field->max >= field->min && number > field->max)))
        out_of_range(b, at, field);
    else
        *(int64_t *)into = number;
}

static void read_double(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    double number = json_object_get_double(value), min = (double)field->min, max = (double)field->max;
    if (!json_object_is_type(value, json_type_double) && !json_object_is_type(value, json_type_int))
        fault(b, at, "must be a number");
    else if (is_limited(field) && (number < min || (max >= min && number > max)))
        out_of_range(b, at, field);
    else
        *(double *)into = number;
}

static void read_bool(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    (void)field;
    if (!json_object_is_type(value, json_type_boolean))
        fault(b, at, "must be true or false");
    else
        *(bool *)into = json_object_get_boolean(value);
}

static hob_text text_of(json_object *string) {
    return (hob_text){json_object_get_string(string), (size_t)json_object_get_string_len(string)};
}

static void read_time(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    int64_t us;
    (void)field;
    if (!json_object_is_type(value, json_type_string))
        fault(b, at, "must be a string");
    else if (!hob__time_parse(text_of(value), &us))
        fault(b, at, "must be a time such as 2026-11-24T21:59:23Z (RFC 3339)");
    else
        *(int64_t *)into = us;
}

/* One fault at most: a check may rely on the length. */
static bool good_string(binder *b, const place *at, const hob_field *field, hob_text text) {
    int64_t length = (int64_t)hob__utf8_length(text);
    const char *wrong = NULL;
    if (memchr(text.data, '\0', text.size)) /* which PostgreSQL cannot hold */
        fault(b, at, "must not have the character U+0000");
    else if (length < field->min)
        fault(b, at, "must be at least %" PRId64 " character%s long", field->min, plural(field->min));
    else if (field->max > 0 && length > field->max)
        fault(b, at, "must be at most %" PRId64 " character%s long", field->max, plural(field->max));
    else if (field->check && (wrong = field->check(text)) != NULL)
        fault(b, at, "%s", wrong);
    else
        return true;
    return false;
}

static void read_string(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    if (!json_object_is_type(value, json_type_string)) {
        fault(b, at, "must be a string");
        return;
    }
    hob_text text = field->trim ? hob__text_trim(text_of(value)) : text_of(value);
    if (good_string(b, at, field, text))
        *(hob_text *)into = hob__arena_copy(b->arena, text);
}

static bool good_count(binder *b, const place *at, const hob_field *field, int64_t count) {
    if (count >= field->min && (field->max <= 0 || count <= field->max))
        return true;
    if (field->max <= 0)
        fault(b, at, "must have at least %" PRId64 " item%s", field->min, plural(field->min));
    else if (field->min <= 0)
        fault(b, at, "must have at most %" PRId64 " item%s", field->max, plural(field->max));
    else
        fault(b, at, "must have %" PRId64 " to %" PRId64 " item%s", field->min, field->max, plural(field->max));
    return false;
}

static void read_object(binder *b, const place *at, const hob_field *fields, bool partial, json_object *value,
                        void *into);

static void read_list(binder *b, const place *at, const hob_field *field, json_object *value, void *into) {
    if (!json_object_is_type(value, json_type_array)) {
        fault(b, at, "must be an array");
        return;
    }
    hob_list list = {.count = json_object_array_length(value)};
    if (!good_count(b, at, field, (int64_t)list.count))
        return;
    list.items = hob__arena_calloc(b->arena, list.count, field->item_size);
    for (size_t i = 0; i < list.count && !full(b); i++) {
        place item = {.within = at, .index = i};
        read_object(b, &item, field->items, false, json_object_array_get_idx(value, i),
                    (char *)list.items + i * field->item_size);
    }
    *(hob_list *)into = list;
}

static const struct {
    reader *read; /* NULL: not from a body */
    size_t size;
} TYPES[] = {
    [HOB_INT] = {read_int, sizeof(int64_t)},    [HOB_STRING] = {read_string, sizeof(hob_text)},
    [HOB_BOOL] = {read_bool, sizeof(bool)},     [HOB_DOUBLE] = {read_double, sizeof(double)},
    [HOB_TIME] = {read_time, sizeof(int64_t)},  [HOB_JSON] = {NULL, 0},
    [HOB_LIST] = {read_list, sizeof(hob_list)},
};

/* ---- Objects ---- */

static void read_member(binder *b, const place *at, const hob_field *field, bool partial, json_object *object,
                        void *into) {
    json_object *value = NULL; /* JSON's null, or absent */
    bool present = json_object_object_get_ex(object, field->name, &value);
    if (field->server || !TYPES[field->type].read) {
        if (present)
            fault(b, at, "is set by the server");
    } else if (value) {
        TYPES[field->type].read(b, at, field, value, into);
    } else if (!present && partial) {
        return;
    } else if (field->optional) {
        memset(into, 0, TYPES[field->type].size);
    } else {
        fault(b, at, present ? "must not be null" : "is required");
    }
}

static bool is_known(const hob_field *fields, const char *name) {
    for (; fields && fields->name; fields++)
        if (strcmp(fields->name, name) == 0)
            return true;
    return false;
}

static void read_object(binder *b, const place *at, const hob_field *fields, bool partial, json_object *value,
                        void *into) {
    if (!json_object_is_type(value, json_type_object)) {
        fault(b, at, "must be an object");
        return;
    }
    for (const hob_field *field = fields; field && field->name; field++) {
        place member = {.within = at, .name = field->name};
        read_member(b, &member, field, partial, value, (char *)into + field->offset);
    }
    json_object_object_foreach(value, name, unused) {
        place member = {.within = at, .name = name};
        (void)unused;
        if (full(b))
            return;
        if (!is_known(fields, name))
            fault(b, &member, "is not a known field");
    }
}

/* ---- The body ---- */

/* body has passed the check, so only memory can be lacking. */
static bool parse(hob_text body, json_object **tree) {
    static json_tokener *tokener; /* kept: a new one costs as much as a small body */
    if (!tokener)
        tokener = json_tokener_new_ex(TOKENER_DEPTH);
    if (!tokener)
        return false;
    *tree = json_tokener_parse_ex(tokener, body.data, (int)body.size);
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        *tree = json_tokener_parse_ex(tokener, "", 1); /* a number ends only where something else begins */
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error != json_tokener_success)
        hob__log(HOB_LOG_ERROR, "json-c refuses a valid body: %s", json_tokener_error_desc(error));
    json_tokener_reset(tokener);
    if (body.size > RETAINED) {
        json_tokener_free(tokener);
        tokener = NULL;
    }
    return error == json_tokener_success;
}

static hob_bind_result no_memory(hob_arena *arena) {
    hob__arena_fail(arena);
    return HOB_BIND_NO_MEMORY;
}

hob_bind_result hob__bind(hob_arena *arena, hob_text body, const hob_field *fields, bool partial, void *into,
                          hob_text *detail, json_object **errors) {
    binder b = {.arena = arena};
    json_object *tree;
    size_t offset;
    const char *wrong = hob__json_fault(arena, body, &offset);
    if (wrong) {
        *detail = hob__arena_format(arena, "%s at byte %zu", wrong, offset);
        return hob__arena_failed(arena) ? HOB_BIND_NO_MEMORY : HOB_BIND_NO_JSON;
    }
    if (!parse(body, &tree))
        return no_memory(arena);
    read_object(&b, NULL, fields, partial, tree, into);
    json_object_put(tree); /* now, not with the arena: it may be many times as large as the body */
    if (hob__arena_failed(arena))
        return HOB_BIND_NO_MEMORY;
    *errors = b.errors;
    return b.errors ? HOB_BIND_INVALID : HOB_BIND_GOOD;
}

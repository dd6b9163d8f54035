#include "base/config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define ERROR_SIZE 256

typedef enum type { TYPE_TEXT, TYPE_SECRET, TYPE_NUMBER, TYPE_SIZE, TYPE_DURATION, TYPE_SWITCH, TYPE_LEVEL } type;

typedef struct setting {
    const char *name;
    type type;
    size_t offset; /* in hob_config */
    const char *default_text;
    int64_t min, max; /* max 0: none */
    const char *help;
} setting;

#define SETTING(field, name, type, default_text, min, max, help)                                                       \
    {name, TYPE_##type, offsetof(hob_config, field), default_text, min, max, help},
static const setting settings[] = {HOB_CONFIG(SETTING)};
#undef SETTING
static const setting *const settings_end = settings + sizeof settings / sizeof *settings;

/* ---- Values ---- */

typedef struct unit {
    const char *suffix;
    int64_t factor;
} unit;

typedef struct quantity {
    const char *expected;
    const char *zero;
    unit units[5]; /* largest first */
} quantity;

static const quantity quantities[] = {
    [TYPE_NUMBER] = {"a number", "0", {{"", 1}}},
    [TYPE_SIZE] = {"a size (512, 64KiB, 1MiB)", "0", {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}},
    [TYPE_DURATION] = {"a duration (20ms, 5s, 10m, 1h)",
                       "0s",
                       {{"h", 3600 * HOB_S}, {"m", 60 * HOB_S}, {"s", HOB_S}, {"ms", HOB_MS}}},
};

/* Added to the present time, or to each other, none overflows. */
#define LARGEST (INT64_MAX / 4)

static bool parse_quantity(const setting *setting, hob_text text, int64_t *out) {
    hob_text digits = {text.data, 0};
    while (digits.size < text.size && text.data[digits.size] >= '0' && text.data[digits.size] <= '9')
        digits.size++;
    hob_text suffix = {text.data + digits.size, text.size - digits.size};

    for (const unit *unit = quantities[setting->type].units; unit->suffix; unit++)
        if (hob_text_equal(suffix, hob_text_of(unit->suffix)))
            return hob__text_to_int(digits, out) && !__builtin_mul_overflow(*out, unit->factor, out) &&
                   *out >= setting->min && *out <= (setting->max ? setting->max : LARGEST);
    return false;
}

static void format_quantity(type type, int64_t value, char *out, size_t size) {
    const unit *unit = quantities[type].units;
    while (unit[1].suffix && value % unit->factor != 0)
        unit++;
    if (value == 0)
        snprintf(out, size, "%s", quantities[type].zero);
    else
        snprintf(out, size, "%" PRId64 "%s", value / unit->factor, unit->suffix);
}

static bool parse_switch(hob_text text, bool *out) {
    *out = hob_text_equal(text, HOB_TEXT("on"));
    return *out || hob_text_equal(text, HOB_TEXT("off"));
}

static bool parse_level(hob_text text, hob_log_level *out) {
    for (hob_log_level level = HOB_LOG_ERROR; level <= HOB_LOG_DEBUG; level++) {
        *out = level;
        if (hob_text_equal(text, hob_text_of(hob__log_level_name(level))))
            return true;
    }
    return false;
}

/* ---- Where values come from, and what is wrong with them ---- */

typedef struct loader {
    hob_config *config;
    char source[160]; /* "environment" or "file:line" */
    char *error;      /* ERROR_SIZE bytes */
} loader;

static bool fail(const loader *loader, const char *format, ...) HOB_PRINTF(2, 3);
static bool fail(const loader *loader, const char *format, ...) {
    va_list args;
    int size = snprintf(loader->error, ERROR_SIZE, "%s: ", loader->source);
    va_start(args, format);
    vsnprintf(loader->error + size, ERROR_SIZE - (size_t)size, format, args);
    va_end(args);
    for (char *c = loader->error; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?'; /* one line, whatever the value was */
    return false;
}

static void describe_quantity(const setting *setting, char *out, size_t size) {
    const char *expected = quantities[setting->type].expected;
    char min[32], max[32];

    format_quantity(setting->type, setting->min, min, sizeof min);
    format_quantity(setting->type, setting->max, max, sizeof max);
    if (setting->max > 0)
        snprintf(out, size, "%s from %s to %s", expected, min, max);
    else if (setting->min > 0)
        snprintf(out, size, "%s of at least %s", expected, min);
    else
        snprintf(out, size, "%s", expected);
}

static bool fail_value(const loader *loader, const setting *setting, hob_text value) {
    char expected[128];
    int shown = value.size > 40 ? 40 : (int)value.size;

    if (setting->type == TYPE_SWITCH)
        snprintf(expected, sizeof expected, "on or off");
    else if (setting->type == TYPE_LEVEL)
        snprintf(expected, sizeof expected, "error, warn, info or debug");
    else
        describe_quantity(setting, expected, sizeof expected);
    return fail(loader, "%s: must be %s, not '%.*s'", setting->name, expected, shown, value.data);
}

static bool check_text(const loader *loader, hob_text name, hob_text value) {
    if (hob__text_has_control(value))
        return fail(loader, HOB_FMT ": must not contain control characters", HOB_ARG(name));
    return true;
}

static bool set_text(const loader *loader, const setting *setting, hob_text value, const char **out) {
    if (!check_text(loader, hob_text_of(setting->name), value))
        return false;
    char *copy = value.data ? strndup(value.data, value.size) : NULL;
    if (value.data && copy == NULL)
        return fail(loader, "%s: out of memory", setting->name);
    free((char *)*out);
    *out = copy;
    return true;
}

/* An empty value is the default. */
static bool set(const loader *loader, const setting *setting, hob_text value) {
    void *member = (char *)loader->config + setting->offset;
    bool good = false;

    if (value.size == 0)
        value = hob_text_of(setting->default_text);
    switch (setting->type) {
    case TYPE_TEXT:
    case TYPE_SECRET:
        return set_text(loader, setting, value, member);
    case TYPE_NUMBER:
    case TYPE_SIZE:
    case TYPE_DURATION:
        good = parse_quantity(setting, value, member);
        break;
    case TYPE_SWITCH:
        good = parse_switch(value, member);
        break;
    case TYPE_LEVEL:
        good = parse_level(value, member);
        break;
    }
    return good || fail_value(loader, setting, value);
}

static const setting *find(hob_text name) {
    for (const setting *s = settings; s < settings_end; s++)
        if (hob_text_equal(name, hob_text_of(s->name)))
            return s;
    return NULL;
}

static bool set_defaults(const loader *loader) {
    for (const setting *s = settings; s < settings_end; s++)
        if (!set(loader, s, (hob_text){NULL, 0}))
            return false;
    return true;
}

/* ---- Secrets in files of their own: NAME_FILE for a secret NAME ---- */

#define SECRET_MOST 65536

static const setting *find_secret_in_file(hob_text name) {
    const hob_text suffix = HOB_TEXT("_FILE");
    if (name.size <= suffix.size ||
        !hob_text_equal((hob_text){name.data + name.size - suffix.size, suffix.size}, suffix))
        return NULL;
    const setting *setting = find((hob_text){name.data, name.size - suffix.size});
    return setting && setting->type == TYPE_SECRET ? setting : NULL;
}

/* Without the line end that an editor leaves. */
static bool set_from_open_file(const loader *loader, const setting *setting, const char *path, FILE *file) {
    static char secret[SECRET_MOST]; /* only one is read at a time */
    size_t size = fread(secret, 1, sizeof secret, file);
    if (ferror(file))
        return fail(loader, "%s_FILE: cannot read %.100s: %s", setting->name, path, strerror(errno));
    while (size > 0 && (secret[size - 1] == '\n' || secret[size - 1] == '\r'))
        size--;
    bool good = size > 0 && size < sizeof secret;
    if (good)
        good = set(loader, setting, (hob_text){secret, size});
    else
        fail(loader, "%s_FILE: %.100s is %s", setting->name, path, size == 0 ? "empty" : "too large");
    explicit_bzero(secret, sizeof secret);
    return good;
}

static bool set_from_file(const loader *loader, const setting *setting, hob_text value) {
    char path[PATH_MAX];
    if (value.size == 0)
        return true;
    snprintf(path, sizeof path, HOB_FMT, HOB_ARG(value));
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fail(loader, "%s_FILE: cannot read %.100s: %s", setting->name, path, strerror(errno));
    bool good = set_from_open_file(loader, setting, path, file);
    fclose(file);
    return good;
}

static bool is_given(char *const *environment, const setting *setting) {
    for (; *environment; environment++) {
        hob_text value = hob_text_of(*environment), name;
        hob__text_split(&value, '=', &name);
        if (value.size > 0 && hob_text_equal(name, hob_text_of(setting->name)))
            return true;
    }
    return false;
}

static bool load_variable(const loader *loader, hob_text name, hob_text value) {
    const setting *setting = find(name);
    if (setting)
        return set(loader, setting, value);
    return find_secret_in_file(name) || !hob__text_starts(name, HOB_TEXT("HOB_")) ||
           fail(loader, "unknown setting " HOB_FMT, HOB_ARG(name));
}

static bool load_secret(const loader *loader, char *const *environment, hob_text name, hob_text value) {
    const setting *setting = find_secret_in_file(name);
    if (setting && value.size > 0 && is_given(environment, setting))
        return fail(loader, "%s and %s_FILE are both set", setting->name, setting->name);
    return !setting || set_from_file(loader, setting, value);
}

/* Secrets in files come last: an empty NAME, which is the default, may stand behind NAME_FILE. */
static bool load_environment(const loader *loader, char *const *environment) {
    bool good = true;
    for (int pass = 0; pass < 2; pass++) {
        for (char *const *variable = environment; good && *variable; variable++) {
            hob_text value = hob_text_of(*variable), name;
            hob__text_split(&value, '=', &name);
            good = pass == 0 ? load_variable(loader, name, value) : load_secret(loader, environment, name, value);
        }
    }
    return good;
}

/* ---- The file ---- */

/* libpq reads its PG* from the process's environment. */
static bool export(const loader *loader, hob_text name, hob_text value) {
    if (!check_text(loader, name, value))
        return false;
    char *name_copy = strndup(name.data, name.size), *value_copy = strndup(value.data, value.size);
    bool done = name_copy && value_copy && setenv(name_copy, value_copy, 0) == 0;
    free(name_copy);
    free(value_copy);
    return done || fail(loader, HOB_FMT ": cannot be set: %s", HOB_ARG(name), strerror(errno));
}

/* The same file may serve a shell or systemd, which allow a value to stand in quotation marks. */
static hob_text unquote(hob_text value) {
    if (value.size >= 2 && (value.data[0] == '"' || value.data[0] == '\'') &&
        value.data[value.size - 1] == value.data[0])
        return (hob_text){value.data + 1, value.size - 2};
    return value;
}

static bool load_line(const loader *loader, hob_text line) {
    hob_text value = hob__text_trim(line), name;
    if (value.size == 0 || value.data[0] == '#')
        return true;
    hob__text_split(&value, '=', &name);
    if (value.data == NULL)
        return fail(loader, "must be NAME=value");
    name = hob__text_trim(name);
    value = unquote(hob__text_trim(value));

    const setting *setting = find(name);
    if (setting && setting->offset == offsetof(hob_config, file))
        return fail(loader, "%s: can only be set in the environment", setting->name);
    if (setting)
        return set(loader, setting, value);
    if ((setting = find_secret_in_file(name)) != NULL)
        return set_from_file(loader, setting, value);
    if (hob__text_starts(name, HOB_TEXT("PG")))
        return export(loader, name, value);
    return fail(loader, "unknown setting " HOB_FMT, HOB_ARG(name));
}

static bool load_lines(loader *loader, const char *path, FILE *file) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    bool good = true;

    for (int number = 1; good && (size = getline(&line, &capacity, file)) >= 0; number++) {
        snprintf(loader->source, sizeof loader->source, "%.140s:%d", path, number);
        good = load_line(loader, (hob_text){line, (size_t)size});
    }
    free(line);
    return good;
}

static bool load_file(const loader *environment, const char *path) {
    loader loader = *environment;
    FILE *file = fopen(path, "re");

    bool good = file && load_lines(&loader, path, file);
    bool unread = file == NULL || (good && !feof(file));
    if (unread)
        good = fail(environment, "HOB_CONFIG: cannot read %.100s: %s", path, strerror(errno));
    if (file)
        fclose(file);
    return good;
}

static const char *file_of(char *const *environment) {
    for (; *environment; environment++)
        if (strncmp(*environment, "HOB_CONFIG=", strlen("HOB_CONFIG=")) == 0)
            return *environment + strlen("HOB_CONFIG=");
    return "";
}

bool hob__config_load(hob_config *config, char *const *environment, char error[256]) {
    loader loader = {.config = config, .source = "environment", .error = error};
    const char *path = file_of(environment);

    memset(config, 0, sizeof *config);
    error[0] = '\0';
    bool good = set_defaults(&loader) && (path[0] == '\0' || load_file(&loader, path)) &&
                load_environment(&loader, environment);
    if (!good)
        hob__config_free(config);
    return good;
}

void hob__config_free(hob_config *config) {
    for (const setting *s = settings; s < settings_end; s++) {
        if (s->type != TYPE_TEXT && s->type != TYPE_SECRET)
            continue;
        char **member = (void *)((char *)config + s->offset);
        free(*member);
        *member = NULL;
    }
}

/* ---- For people ---- */

void hob__config_help(FILE *out) {
    for (const setting *s = settings; s < settings_end; s++)
        fprintf(out, "  %-25s %-7s %s\n", s->name, s->default_text ? s->default_text : "", s->help);
}

static void print_value(const setting *setting, const void *member, FILE *out) {
    char text[32];
    switch (setting->type) {
    case TYPE_TEXT:
        fputs(*(const char *const *)member ? *(const char *const *)member : "", out);
        break;
    case TYPE_SECRET:
        fputs(*(const char *const *)member ? "********" : "", out);
        break;
    case TYPE_NUMBER:
    case TYPE_SIZE:
    case TYPE_DURATION:
        format_quantity(setting->type, *(const int64_t *)member, text, sizeof text);
        fputs(text, out);
        break;
    case TYPE_SWITCH:
        fputs(*(const bool *)member ? "on" : "off", out);
        break;
    case TYPE_LEVEL:
        fputs(hob__log_level_name(*(const hob_log_level *)member), out);
        break;
    }
}

void hob__config_print(const hob_config *config, FILE *out) {
    for (const setting *s = settings; s < settings_end; s++) {
        fprintf(out, "%s=", s->name);
        print_value(s, (const char *)config + s->offset, out);
        fputc('\n', out);
    }
}

void hob__config_markdown(FILE *out) {
    fputs("| name | default | meaning |\n| --- | --- | --- |\n", out);
    for (const setting *s = settings; s < settings_end; s++)
        fprintf(out, "| `%s` | %s | %s |\n", s->name, s->default_text ? s->default_text : "", s->help);
}

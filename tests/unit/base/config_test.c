#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char path[64];     /* of a file that each test may write */
static char variable[96]; /* "HOB_CONFIG=" and path */

static int set_up(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/hob-config-test-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    snprintf(variable, sizeof variable, "HOB_CONFIG=%s", path);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

static void write_file(const char *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void must_load(hob_config *config, char *const *environment) {
    char error[256];
    if (!hob__config_load(config, environment, error))
        fail_msg("%s", error);
    assert_string_equal(error, "");
}

static void must_fail(char *const *environment, const char *expected) {
    hob_config config;
    char error[256];
    assert_false(hob__config_load(&config, environment, error));
    assert_string_equal(error, expected);
    assert_null(config.database_url); /* nothing is left to free */
    assert_null(config.log);
    hob__config_free(&config);
}

static void test_defaults(void **state) {
    (void)state;
    hob_config config;
    must_load(&config, (char *[]){"PATH=/bin", "NOVALUE", "hob_lower=1", "PGHOST=/run", "HOBBY=1", NULL});
    assert_null(config.database_url);
    assert_null(config.cache);
    assert_int_equal(config.db_max_open, 4);
    assert_int_equal(config.db_conn_lifetime, 3600 * HOB_S);
    assert_int_equal(config.db_conn_idle_time, 600 * HOB_S);
    assert_int_equal(config.cache_timeout, 20 * HOB_MS);
    assert_int_equal(config.max_body, 1 << 20);
    assert_true(config.db_prepare);
    assert_string_equal(config.log, "stderr");
    assert_int_equal(config.log_level, HOB_LOG_INFO);
    hob__config_free(&config);
    hob__config_free(&config);
}

static void test_values(void **state) {
    (void)state;
    hob_config config;
    must_load(&config, (char *[]){"DATABASE_URL=postgresql://u:p@h/db?a=b", "HOB_DB_MAX_OPEN=1000", "HOB_DB_MAX_IDLE=0",
                                  "HOB_DB_CONN_LIFETIME=0s", "HOB_DB_LOCK_TIMEOUT=1500ms", "HOB_DB_PREPARE=off",
                                  "HOB_CACHE=a:1,/run/b*2", "HOB_MAX_BODY=64KiB", "HOB_MAX_REQUEST_MEMORY=2GiB",
                                  "HOB_LOG_LEVEL=debug", "HOB_REQUEST_TIMEOUT=2m", "HOB_MOUNT=", NULL});
    assert_string_equal(config.database_url, "postgresql://u:p@h/db?a=b");
    assert_int_equal(config.db_max_open, 1000);
    assert_int_equal(config.db_max_idle, 0);
    assert_int_equal(config.db_conn_lifetime, 0);
    assert_int_equal(config.db_lock_timeout, 1500 * HOB_MS);
    assert_false(config.db_prepare);
    assert_string_equal(config.cache, "a:1,/run/b*2");
    assert_int_equal(config.max_body, 65536);
    assert_int_equal(config.max_request_memory, INT64_C(2) << 30);
    assert_int_equal(config.log_level, HOB_LOG_DEBUG);
    assert_int_equal(config.request_timeout, 120 * HOB_S);
    assert_null(config.mount);
    hob__config_free(&config);
}

#define DURATION "must be a duration (20ms, 5s, 10m, 1h)"
#define SIZE "must be a size (512, 64KiB, 1MiB)"

static void test_bad_values(void **state) {
    (void)state;
    static const struct {
        char *entry;
        const char *error; /* behind "environment: " */
    } cases[] = {
        {"HOB_DB_MAX_OPEN=x", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not 'x'"},
        {"HOB_DB_MAX_OPEN=0", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '0'"},
        {"HOB_DB_MAX_OPEN=1001", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '1001'"},
        {"HOB_DB_MAX_OPEN=-1", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '-1'"},
        {"HOB_DB_MAX_OPEN= 4", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not ' 4'"},
        {"HOB_DB_MAX_OPEN=4s", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '4s'"},
        {"HOB_DB_MAX_OPEN=99999999999999999999",
         "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '99999999999999999999'"},
        {"HOB_DB_MAX_OPEN=a\nb\x7f", "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not 'a?b?'"},
        {"HOB_DB_MAX_OPEN=0123456789012345678901234567890123456789and more",
         "HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '0123456789012345678901234567890123456789'"},
        {"HOB_CACHE_TIMEOUT=20", "HOB_CACHE_TIMEOUT: " DURATION " from 1ms to 10s, not '20'"},
        {"HOB_CACHE_TIMEOUT=0s", "HOB_CACHE_TIMEOUT: " DURATION " from 1ms to 10s, not '0s'"},
        {"HOB_CACHE_TIMEOUT=11s", "HOB_CACHE_TIMEOUT: " DURATION " from 1ms to 10s, not '11s'"},
        {"HOB_CACHE_TIMEOUT=1.5s", "HOB_CACHE_TIMEOUT: " DURATION " from 1ms to 10s, not '1.5s'"},
        {"HOB_CACHE_TIMEOUT=s", "HOB_CACHE_TIMEOUT: " DURATION " from 1ms to 10s, not 's'"},
        {"HOB_CACHE_TTL=999ms", "HOB_CACHE_TTL: " DURATION " of at least 1s, not '999ms'"},
        {"HOB_CACHE_TTL=1000000h", "HOB_CACHE_TTL: " DURATION " of at least 1s, not '1000000h'"},
        {"HOB_CACHE_TTL=9223372036854775807h",
         "HOB_CACHE_TTL: " DURATION " of at least 1s, not '9223372036854775807h'"},
        {"HOB_DRAIN_TIMEOUT=-1s", "HOB_DRAIN_TIMEOUT: " DURATION ", not '-1s'"},
        {"HOB_MAX_BODY=1025MiB", "HOB_MAX_BODY: " SIZE " from 0 to 1GiB, not '1025MiB'"},
        {"HOB_MAX_BODY=1MB", "HOB_MAX_BODY: " SIZE " from 0 to 1GiB, not '1MB'"},
        {"HOB_MAX_REQUEST_MEMORY=1KiB", "HOB_MAX_REQUEST_MEMORY: " SIZE " of at least 64KiB, not '1KiB'"},
        {"HOB_DB_PREPARE=yes", "HOB_DB_PREPARE: must be on or off, not 'yes'"},
        {"HOB_LOG_LEVEL=INFO", "HOB_LOG_LEVEL: must be error, warn, info or debug, not 'INFO'"},
        {"HOB_LOG=a\nb", "HOB_LOG: must not contain control characters"},
        {"DATABASE_URL=secret\n", "DATABASE_URL: must not contain control characters"},
        {"HOB_FOO=1", "unknown setting HOB_FOO"},
        {"HOB_=1", "unknown setting HOB_"},
        {"HOB_DB_MAX_OPE=1", "unknown setting HOB_DB_MAX_OPE"},
        {"HOB_NOVALUE", "unknown setting HOB_NOVALUE"},
        {"HOB_CONFIG=/nowhere/hob.env", "HOB_CONFIG: cannot read /nowhere/hob.env: No such file or directory"},
        {"HOB_CONFIG=/tmp", "HOB_CONFIG: cannot read /tmp: Is a directory"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "environment: %s", cases[i].error);
        must_fail((char *[]){"DATABASE_URL=x", cases[i].entry, NULL}, expected);
    }
}

static void test_long_error(void **state) {
    (void)state;
    char entry[1000] = "HOB_", error[256];
    memset(entry + 4, 'X', sizeof entry - 5);
    hob_config config;
    assert_false(hob__config_load(&config, (char *[]){entry, NULL}, error));
    assert_int_equal(strlen(error), sizeof error - 1);
}

static void load_file(hob_config *config, const char *text) {
    write_file(text, strlen(text));
    must_load(config, (char *[]){variable, NULL});
}

static void test_file(void **state) {
    (void)state;
    hob_config config;
    load_file(&config, "# a comment\n\n  \t\n  # another\r\n"
                       "HOB_DB_MAX_OPEN=7\r\n"
                       " HOB_CACHE_PREFIX = \"a b\" \n"
                       "HOB_MOUNT='/x'\n"
                       "HOB_LOG=\"\n"
                       "HOB_DB_MAX_IDLE=2\n"
                       "HOB_DB_MAX_IDLE=3\n"
                       "HOB_CACHE=\n"
                       "DATABASE_URL=host=/run password='p=#w'"); /* no line feed at the end */
    assert_string_equal(config.file, path);
    assert_int_equal(config.db_max_open, 7);
    assert_string_equal(config.cache_prefix, "a b");
    assert_string_equal(config.mount, "/x");
    assert_string_equal(config.log, "\"");
    assert_int_equal(config.db_max_idle, 3);
    assert_null(config.cache);
    assert_string_equal(config.database_url, "host=/run password='p=#w'");
    hob__config_free(&config);
    load_file(&config, "");
    assert_int_equal(config.db_max_open, 4);
    hob__config_free(&config);
}

static void test_environment_wins(void **state) {
    (void)state;
    static const char text[] = "HOB_DB_MAX_OPEN=7\nHOB_DB_MAX_IDLE=5\nHOB_CACHE=a:1\nHOB_LOG_LEVEL=warn\n";
    hob_config config;
    write_file(text, strlen(text));
    must_load(&config, (char *[]){"HOB_DB_MAX_OPEN=8", "HOB_CACHE=", variable, "HOB_LOG_LEVEL=", NULL});
    assert_int_equal(config.db_max_open, 8);
    assert_int_equal(config.db_max_idle, 5);
    assert_null(config.cache); /* an empty value is the default */
    assert_int_equal(config.log_level, HOB_LOG_INFO);
    hob__config_free(&config);
}

static void test_bad_file(void **state) {
    (void)state;
    static const struct {
        hob_text file;
        const char *error; /* behind the file's name */
    } cases[] = {
        {HOB_TEXT("\n#\nHOB_FOO=1\n"), ":3: unknown setting HOB_FOO"},
        {HOB_TEXT("FOO=1"), ":1: unknown setting FOO"},
        {HOB_TEXT("=1"), ":1: unknown setting "},
        {HOB_TEXT("HOB_MOUNT"), ":1: must be NAME=value"},
        {HOB_TEXT("HOB_CONFIG=/x"), ":1: HOB_CONFIG: can only be set in the environment"},
        {HOB_TEXT("HOB_MOUNT=/x\nHOB_DB_MAX_OPEN=x\n"),
         ":2: HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not 'x'"},
        {HOB_TEXT("HOB_MOUNT=a\0b\n"), ":1: HOB_MOUNT: must not contain control characters"},
        {HOB_TEXT("HOB_DB_MAX_OPEN=4\0\n"), ":1: HOB_DB_MAX_OPEN: must be a number from 1 to 1000, not '4'"},
        {HOB_TEXT("PGPASSWORD=a\tb\n"), ":1: PGPASSWORD: must not contain control characters"},
        {HOB_TEXT("PATH=/bin\n"), ":1: unknown setting PATH"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "%s%s", path, cases[i].error);
        write_file(cases[i].file.data, cases[i].file.size);
        must_fail((char *[]){variable, NULL}, expected);
    }
}

static void test_libpq_variables(void **state) {
    (void)state;
    hob_config config;
    assert_int_equal(setenv("PGUSER", "ada", 1), 0);
    assert_int_equal(unsetenv("PGDATABASE"), 0);
    load_file(&config, "PGUSER=eve\nPGDATABASE = \"the db\"\n");
    hob__config_free(&config);
    assert_string_equal(getenv("PGUSER"), "ada");
    assert_string_equal(getenv("PGDATABASE"), "the db");
    unsetenv("PGUSER");
    unsetenv("PGDATABASE");
}

/* What print(config or none) writes; freed by the caller. */
static char *printed(const hob_config *config, void (*other)(FILE *)) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (config)
        hob__config_print(config, out);
    else
        other(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static size_t lines_of(const char *text) {
    size_t lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

#define ONE(...) +1
enum { SETTINGS = 0 HOB_CONFIG(ONE) };

static void test_print(void **state) {
    (void)state;
    hob_config config;
    must_load(&config, (char *[]){"DATABASE_URL=host=h password=geheim", "HOB_DB_CONN_LIFETIME=90m",
                                  "HOB_MAX_BODY=1536", "HOB_MAX_REQUEST_MEMORY=1536KiB", "HOB_DRAIN_TIMEOUT=0s",
                                  "HOB_DB_PREPARE=off", "HOB_CACHE=a:1", "HOB_DB_MAX_IDLE=0", NULL});
    char *text = printed(&config, NULL);
    hob__config_free(&config);
    static const char *const lines[] = {"DATABASE_URL=********\n",
                                        "HOB_DB_CONN_LIFETIME=90m\n",
                                        "HOB_MAX_BODY=1536\n",
                                        "HOB_MAX_REQUEST_MEMORY=1536KiB\n",
                                        "HOB_DRAIN_TIMEOUT=0s\n",
                                        "HOB_DB_PREPARE=off\n",
                                        "HOB_CACHE=a:1\n",
                                        "HOB_DB_MAX_IDLE=0\n",
                                        "HOB_CACHE_TIMEOUT=20ms\n",
                                        "HOB_LOG_LEVEL=info\n",
                                        "HOB_MOUNT=\n",
                                        "HOB_DB_CONN_IDLE_TIME=10m\n"};
    for (size_t i = 0; i < COUNT(lines); i++)
        assert_non_null(strstr(text, lines[i]));
    assert_null(strstr(text, "geheim"));
    assert_int_equal(lines_of(text), SETTINGS);
    free(text);
}

/* What was printed is a file that says the same. */
static void test_print_round_trip(void **state) {
    (void)state;
    hob_config config;
    must_load(&config,
              (char *[]){"HOB_DB_CONN_LIFETIME=25h", "HOB_MAX_BODY=3KiB", "HOB_MOUNT=/x", "HOB_LOG_LEVEL=error", NULL});
    char *text = printed(&config, NULL);
    hob__config_free(&config);
    const char *behind_file = strchr(text, '\n') + 1; /* HOB_CONFIG, which is for the environment only */
    load_file(&config, behind_file);
    char *again = printed(&config, NULL);
    hob__config_free(&config);
    assert_string_equal(strchr(again, '\n') + 1, behind_file);
    free(text);
    free(again);
}

static void test_help(void **state) {
    (void)state;
    char *help = printed(NULL, hob__config_help), *markdown = printed(NULL, hob__config_markdown);
    assert_int_equal(lines_of(help), SETTINGS);
    assert_int_equal(lines_of(markdown), SETTINGS + 2);
    assert_non_null(strstr(help, "HOB_DB_MAX_OPEN           4       connections a worker may hold open\n"));
    assert_non_null(strstr(markdown, "\n| `HOB_DB_CONN_LIFETIME` | 1h | age at which"));
    assert_non_null(strstr(markdown, "\n| `DATABASE_URL` |  | the database"));
    free(help);
    free(markdown);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void write_text(const char *text) {
    write_file(text, strlen(text));
}

static void test_a_secret_in_a_file(void **state) {
    (void)state;
    hob_config config;
    char in_file[128];
    snprintf(in_file, sizeof in_file, "DATABASE_URL_FILE=%s", path);
    static const char *const written[] = {"postgresql://u:p@h/d", "postgresql://u:p@h/d\n", "postgresql://u:p@h/d\r\n"};
    for (size_t i = 0; i < COUNT(written); i++) {
        write_text(written[i]);
        must_load(&config, (char *[]){in_file, NULL});
        assert_string_equal(config.database_url, "postgresql://u:p@h/d");
        hob__config_free(&config);
    }
    must_load(&config, (char *[]){in_file, "DATABASE_URL=", NULL});
    assert_non_null(config.database_url);
    hob__config_free(&config);
    must_load(&config, (char *[]){"DATABASE_URL_FILE=", "DATABASE_URL=x", "NO_SUCH_FILE=/x", NULL});
    assert_string_equal(config.database_url, "x");
    hob__config_free(&config);
}

static void test_a_secret_file_named_in_a_file(void **state) {
    (void)state;
    hob_config config;
    char secret[sizeof path + 8], line[160], expected[256];
    snprintf(secret, sizeof secret, "%s.secret", path);
    snprintf(line, sizeof line, "DATABASE_URL_FILE=%s\n", secret);
    write_text(line);
    snprintf(expected, sizeof expected, "%s:1: DATABASE_URL_FILE: cannot read %s: No such file or directory", path,
             secret);
    must_fail((char *[]){variable, NULL}, expected);
    FILE *file = fopen(secret, "w");
    assert_non_null(file);
    fputs("hush", file);
    fclose(file);
    must_load(&config, (char *[]){variable, NULL});
    assert_string_equal(config.database_url, "hush");
    hob__config_free(&config);
    must_load(&config, (char *[]){variable, "DATABASE_URL=loud", NULL});
    assert_string_equal(config.database_url, "loud");
    hob__config_free(&config);
    unlink(secret);
}

static void test_bad_secret_files(void **state) {
    (void)state;
    char in_file[128], expected[256];
    static char huge[70000];
    snprintf(in_file, sizeof in_file, "DATABASE_URL_FILE=%s", path);
    write_text("\n");
    snprintf(expected, sizeof expected, "environment: DATABASE_URL_FILE: %s is empty", path);
    must_fail((char *[]){in_file, NULL}, expected);
    write_text("a\nb");
    must_fail((char *[]){in_file, NULL}, "environment: DATABASE_URL: must not contain control characters");
    memset(huge, 'x', sizeof huge);
    write_file(huge, sizeof huge);
    snprintf(expected, sizeof expected, "environment: DATABASE_URL_FILE: %s is too large", path);
    must_fail((char *[]){in_file, NULL}, expected);
    must_fail((char *[]){in_file, "DATABASE_URL=x", NULL},
              "environment: DATABASE_URL and DATABASE_URL_FILE are both set");
    must_fail((char *[]){"DATABASE_URL_FILE=/tmp", NULL},
              "environment: DATABASE_URL_FILE: cannot read /tmp: Is a directory");
    must_fail((char *[]){"HOB_CACHE_FILE=/x", NULL}, "environment: unknown setting HOB_CACHE_FILE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_values),
        TEST(test_bad_values),
        TEST(test_long_error),
        TEST(test_file),
        TEST(test_environment_wins),
        TEST(test_bad_file),
        TEST(test_libpq_variables),
        TEST(test_print),
        TEST(test_print_round_trip),
        TEST(test_help),
        TEST(test_a_secret_in_a_file),
        TEST(test_a_secret_file_named_in_a_file),
        TEST(test_bad_secret_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

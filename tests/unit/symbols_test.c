#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "symbols.h"

static __attribute__((noinline)) int a_static_function(int x) {
    return x * 3 + 1;
}

static const char *name_at(uintptr_t address) {
    static char name[HOB_SYMBOL_SIZE];
    hob_text text = hob__symbol_of((const void *)address, name);
    assert_int_equal(text.size, strlen(name));
    return name;
}

/* Before hob__symbols_open. */
static void only_numbers(void **state) {
    (void)state;
    assert_string_equal(name_at(0), "0x0");
    assert_string_equal(name_at(0x123abc), "0x123abc");
    assert_string_equal(name_at(UINTPTR_MAX), "0xffffffffffffffff");
    assert_memory_equal(name_at((uintptr_t)a_static_function), "0x", 2);
}

static void names_of_static_functions(void **state) {
    (void)state;
    hob__symbols_open();
    hob__symbols_open();
    assert_string_equal(name_at((uintptr_t)a_static_function), "a_static_function");
    assert_string_equal(name_at((uintptr_t)a_static_function + 1), "a_static_function+0x1");
    assert_string_equal(name_at((uintptr_t)hob__symbols_open), "hob__symbols_open");
    assert_int_equal(a_static_function(1), 4);
}

static void other_places(void **state) {
    (void)state;
    static int data;
    assert_string_equal(name_at(0), "0x0");
    assert_memory_equal(name_at((uintptr_t)&data), "program+0x", strlen("program+0x"));
    assert_non_null(strstr(name_at((uintptr_t)qsort), "+0x"));
    assert_memory_equal(name_at((uintptr_t)state), "0x", 2); /* the stack */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_numbers),
        cmocka_unit_test(names_of_static_functions),
        cmocka_unit_test(other_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

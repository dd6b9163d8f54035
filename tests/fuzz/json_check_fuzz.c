/*
 * The check against json-c: what the check takes, json-c's strict mode must take, and must write it again so that the
 * check takes it once more. clang -fsanitize=fuzzer,address,undefined
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/check.h"
#include "json/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void disagree(const char *what, hob_text text) {
    fprintf(stderr, "%s: " HOB_FMT "\n", what, HOB_ARG(text));
    abort();
}

static json_object *parse_strictly(hob_text text) {
    json_tokener *tokener = json_tokener_new_ex(HOB_JSON_DEPTH + 1);
    if (!tokener)
        abort();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *tree = json_tokener_parse_ex(tokener, text.data, (int)text.size);
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        tree = json_tokener_parse_ex(tokener, "", 1);
    if (json_tokener_get_error(tokener) != json_tokener_success)
        disagree(json_tokener_error_desc(json_tokener_get_error(tokener)), text);
    json_tokener_free(tokener);
    return tree;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hob_text text = {(const char *)data, size};
    size_t offset;
    hob_arena *arena = hob__arena_new((size_t)64 << 20);
    if (!arena)
        abort();
    const char *fault = hob__json_fault(arena, text, &offset);
    if (offset > size)
        disagree("a fault beyond the end", text);
    if (!fault) {
        json_object *tree = parse_strictly(text);
        hob_text again = hob__json_text(arena, tree);
        json_object_put(tree);
        fault = hob__json_fault(arena, again, &offset);
        if (!again.data || fault)
            disagree(fault ? fault : "no text", again);
    }
    hob__arena_free(arena);
    return 0;
}

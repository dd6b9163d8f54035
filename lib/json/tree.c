#include "json/rows.h"

#include <errno.h>

#include "base/log.h"

#define PLAIN (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
#define RETAINED ((size_t)64 * 1024) /* of the print buffer, for the next text */

static void put(void *tree) {
    json_object_put(tree);
}

json_object *hob__json_own(hob_arena *arena, json_object *tree) {
    return tree && hob__arena_defer(arena, put, tree) ? tree : NULL;
}

/* json-c keeps the text in the root of a tree and lets the buffer grow from 32 bytes for each. So the root is always
 * the same array, with the tree as its only item: its buffer has grown already. The text is then copied, since the next
 * one overwrites it. */
static json_object *shared_root;

static bool mount_tree(json_object *tree) {
    if (!shared_root)
        shared_root = json_object_new_array_ext(2); /* with room: json-c reallocates a full one to replace an item */
    if (!shared_root)
        return false;
    if (json_object_array_put_idx(shared_root, 0, json_object_get(tree)) == 0)
        return true;
    json_object_put(tree);
    return false;
}

static void unmount_tree(size_t size) {
    json_object_array_put_idx(shared_root, 0, NULL);
    if (size <= RETAINED)
        return;
    json_object_put(shared_root);
    shared_root = NULL;
}

hob_text hob__json_text(hob_arena *arena, json_object *tree) {
    hob_text copy = {NULL, 0};
    size_t size = 0;
    if (hob__arena_failed(arena))
        return copy;
    if (mount_tree(tree)) {
        /* json-c goes on when its buffer cannot grow, and leaves something out; only errno still tells. */
        errno = 0;
        const char *text = json_object_to_json_string_length(shared_root, PLAIN, &size);
        if (text && errno != ENOMEM)
            copy = hob__arena_copy(arena, (hob_text){text + 1, size - 2}); /* without the brackets */
        unmount_tree(text ? size : SIZE_MAX);
    }
    if (!copy.data) {
        hob__log(HOB_LOG_ERROR, "out of memory while JSON was written");
        hob__arena_fail(arena);
    }
    return copy;
}

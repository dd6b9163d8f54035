/*
 * WRONG, so that the check can be seen to find it: what was read is set, what was written is deleted. A reader that
 * read before the write and sets behind the delete leaves a stale row.
 */
#include "items.h"
#include "naive_store.h"

static int get(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    hob_text key = item_key(c, item.id);
    stored found = store_get(key);
    if (found.found) {
        item.version = found.number;
        return answer_item(c, &item);
    }
    int status = load_item(c, &item);
    if (status == 200)
        store_set(key, item.version);
    return status;
}

static int put(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    int status = raise_version(c, &item);
    if (status)
        return status;
    store_delete(item_key(c, item.id));
    return answer_item(c, &item);
}

int main(int argc, char **argv) {
    return hob_main(items_new(get, put), argc, argv);
}

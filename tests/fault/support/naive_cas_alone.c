/*
 * WRONG, so that the check can be seen to find it: a lease known by its CAS number alone. A server that was started
 * anew counts from the beginning, so the number of a lease it has never seen may be that of another's.
 */
#include "items.h"
#include "naive_store.h"

enum { LEASE = -1, TOMBSTONE = -2 }; /* where else a version stands */

static int load_and_keep(hob_ctx *c, hob_text key, item *item, uint64_t cas) {
    int status = load_item(c, item);
    if (status == 200)
        store_cas(key, item->version, cas);
    return status;
}

static int get(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    hob_text key = item_key(c, item.id);
    stored found = store_get(key);
    if (found.found && found.number > 0) {
        item.version = found.number;
        return answer_item(c, &item);
    }
    if (!found.found && store_add(key, LEASE)) {
        found = store_get(key);
        if (found.number == LEASE)
            return load_and_keep(c, key, &item, found.cas);
    }
    return load_item(c, &item);
}

static int put(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    store_set(item_key(c, item.id), TOMBSTONE);
    int status = raise_version(c, &item);
    store_delete(item_key(c, item.id));
    return status ? status : answer_item(c, &item);
}

int main(int argc, char **argv) {
    return hob_main(items_new(get, put), argc, argv);
}

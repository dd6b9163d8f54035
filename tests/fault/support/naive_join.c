/*
 * WRONG, so that the check can be seen to find it: whoever wants what somebody already loads waits for that load, be it
 * ever so long under way. It may have read before a write that has been acknowledged since.
 */
#include "items.h"

static item *loading[ITEMS]; /* the latest load of each; its version is 0 until the row has come */

static int load_and_share(hob_ctx *c, void *arg) {
    item *mine = arg;
    item **at = &loading[mine->id % ITEMS];
    *at = mine;
    int status = load_item(c, mine);
    if (*at == mine)
        *at = NULL;
    return status;
}

/* 0: there was none, or it failed. */
static int join(hob_ctx *c, item *joined) {
    item **at = &loading[joined->id % ITEMS];
    for (const item *theirs = *at; theirs && *at == theirs;) {
        int status = hob_sleep(c, 1);
        if (status)
            return status;
        if (*at == theirs)
            joined->version = theirs->version;
    }
    return joined->version ? answer_item(c, joined) : 0;
}

static int get(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    int status = join(c, &item);
    return status ? status : hob_cached(c, item_key(c, item.id), 0, load_and_share, &item);
}

int main(int argc, char **argv) {
    return hob_main(items_new(get, put_item), argc, argv);
}

/* Items with a version, which every write raises by one: what the applications of the history check have in common. */
#ifndef ITEMS_H
#define ITEMS_H

#include "hob.h"

#define ITEMS 4 /* in the table, ids from 1 */

typedef struct item {
    int64_t id, version;
} item;

hob_text item_key(hob_ctx *c, int64_t id);
/* Reads the version of *arg, an item, answers with it, and says so in a header: what is answered from a cache has none.
 * ITEMS_PAUSE: how many ms it takes at most between the two, at random. */
int load_item(hob_ctx *c, void *arg);
int raise_version(hob_ctx *c, item *item); /* in a statement of its own; 0, or the status of the problem */
int answer_item(hob_ctx *c, const item *item);

/* As an application should have it. */
int get_item(hob_ctx *c);
int put_item(hob_ctx *c);

hob_app *items_new(hob_handler *get, hob_handler *put);

#endif

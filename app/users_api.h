/* What the resources of users-api share. */
#ifndef USERS_API_H
#define USERS_API_H

#include "hob.h"

hob_app *users_api(void); /* with all its routes */

hob_handler list_users, create_user, get_user, replace_user, change_user, delete_user;
hob_handler list_orders, create_order, get_order;
hob_handler get_summary;

extern const hob_field USER_FIELDS[];
extern const hob_field ORDER_FIELDS[];
extern const hob_query USER_BY_ID;
extern const hob_query ORDERS_OF_USER; /* user, below which order id, how many; newest first */

int no_user(hob_ctx *c, int64_t id); /* 404 */

/* One query of several that run at the same time, as a branch of a group. */
typedef struct look_up {
    const hob_query *query;
    hob_param params[3];
    size_t count;
    hob_rows *rows;
} look_up;
int run_look_up(hob_ctx *c, void *arg); /* a look_up */

#endif

/* Users. */
#include <string.h>

#include "users_api.h"

#define USER_COLUMNS "id, name, email, created_at, updated_at"

const hob_query USER_BY_ID = HOB_READ("SELECT " USER_COLUMNS " FROM users WHERE id = $1");
static const hob_query USERS_AFTER = HOB_READ("SELECT " USER_COLUMNS " FROM users WHERE id > $1 ORDER BY id LIMIT $2");
static const hob_query INSERT_USER =
    HOB_WRITE("INSERT INTO users (name, email) VALUES ($1, $2) RETURNING " USER_COLUMNS);
/* NULL leaves a column as it is; a change of nothing is no change, so updated_at stays too. */
static const hob_query UPDATE_USER =
    HOB_WRITE("UPDATE users SET name = coalesce($2, name), email = coalesce($3, email),"
              " updated_at = CASE WHEN $2 IS NULL AND $3 IS NULL THEN updated_at ELSE now() END"
              " WHERE id = $1 RETURNING " USER_COLUMNS);
static const hob_query DELETE_USER = HOB_WRITE("DELETE FROM users WHERE id = $1 RETURNING id");

struct user {
    hob_text name, email;
};

/* One '@' with text on both sides, nothing blank: whether mail arrives, only mail can tell. */
static const char *check_email(hob_text email) {
    const char *at = memchr(email.data, '@', email.size);
    size_t before = at ? (size_t)(at - email.data) : 0;
    if (!at || before == 0 || before == email.size - 1 || memchr(at + 1, '@', email.size - before - 1))
        return "must have one @ with text on both sides";
    return hob_no_blank(email);
}

const hob_field USER_FIELDS[] = {
    {.name = "id", .type = HOB_INT, .server = true},
    {.name = "name",
     .type = HOB_STRING,
     .offset = offsetof(struct user, name),
     .trim = true,
     .min = 1,
     .max = 100,
     .check = hob_no_control},
    {.name = "email",
     .type = HOB_STRING,
     .offset = offsetof(struct user, email),
     .min = 3,
     .max = 254,
     .check = check_email,
     .unique = "users_email_key"},
    {.name = "created_at", .type = HOB_TIME, .server = true},
    {.name = "updated_at", .type = HOB_TIME, .server = true},
    {0},
};

static hob_text user_key(hob_ctx *c, int64_t id) {
    return hob_key(c, "user:%" PRId64, id);
}

int no_user(hob_ctx *c, int64_t id) {
    return hob_not_found(c, "no user %" PRId64, id);
}

static int answer_user(hob_ctx *c, const hob_rows *rows, int64_t id) {
    int status = hob_rows_status(c, rows, USER_FIELDS);
    if (status)
        return status;
    return hob_rows_count(rows) ? hob_rows_one(c, rows, USER_FIELDS) : no_user(c, id);
}

int list_users(hob_ctx *c) {
    hob_page page;
    int status = hob_page_of(c, &page);
    if (status)
        return status;
    hob_rows *rows = hob_db_query(c, &USERS_AFTER, hob_int(page.after), hob_int(page.limit + 1));
    return hob_rows_page(c, rows, USER_FIELDS, "users", &page, "id");
}

int create_user(hob_ctx *c) {
    struct user user;
    int status = hob_bind(c, USER_FIELDS, &user);
    if (status)
        return status;
    hob_rows *rows = hob_db_query(c, &INSERT_USER, hob_str(user.name), hob_str(user.email));
    status = hob_rows_status(c, rows, USER_FIELDS);
    if (status)
        return status;
    int64_t id = hob_rows_int(rows, 0, "id");
    hob_forget(c, user_key(c, id)); /* somebody may have asked for it too early */
    hob_set_location(c, "/api/v1/users/%" PRId64, id);
    return hob_json(c, 201, hob_row_object(c, rows, 0, USER_FIELDS));
}

static int load_user(hob_ctx *c, void *id) { /* on a cache miss only */
    return answer_user(c, hob_db_query(c, &USER_BY_ID, hob_int(*(int64_t *)id)), *(int64_t *)id);
}

int get_user(hob_ctx *c) {
    int64_t id = hob_path_int(c, "id");
    return hob_cached(c, user_key(c, id), 0, load_user, &id);
}

static int update(hob_ctx *c, const struct user *user) {
    int64_t id = hob_path_int(c, "id");
    hob_forget(c, user_key(c, id));
    hob_rows *rows = hob_db_query(c, &UPDATE_USER, hob_int(id), hob_str(user->name), hob_str(user->email));
    return answer_user(c, rows, id);
}

int replace_user(hob_ctx *c) {
    struct user user;
    int status = hob_bind(c, USER_FIELDS, &user);
    return status ? status : update(c, &user);
}

int change_user(hob_ctx *c) {
    struct user user = {0};
    int status = hob_bind_some(c, USER_FIELDS, &user);
    return status ? status : update(c, &user);
}

int delete_user(hob_ctx *c) {
    int64_t id = hob_path_int(c, "id");
    hob_forget(c, user_key(c, id));
    hob_rows *rows = hob_db_query(c, &DELETE_USER, hob_int(id));
    int status = hob_rows_status(c, rows, NULL);
    if (status)
        return status;
    return hob_rows_count(rows) ? hob_no_content(c) : no_user(c, id);
}

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "data/db_private.h"

#define KEYWORDS 64
#define ARENA_MAX (256 * 1024)
#define SILENCE_MS "5000" /* after which a network that confirms nothing is taken for dead */

/*
 * What is handed to libpq: what DATABASE_URL says, and on top of it what hob decides. What neither says, libpq takes
 * from PG* variables and its service file itself.
 */
struct hob_db_conninfo {
    hob_arena *arena;
    PQconninfoOption *given, *defaults;
    const char *host, *port;
    size_t count;
    const char *keywords[KEYWORDS + 1], *values[KEYWORDS + 1];
};

static const char *lookup(const PQconninfoOption *options, const char *keyword) {
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val && *options->val ? options->val : NULL;
    return NULL;
}

static const char *effective(const struct hob_db_conninfo *info, const char *keyword) {
    const char *value = lookup(info->given, keyword);
    return value ? value : lookup(info->defaults, keyword);
}

/* A keyword that comes again replaces what it said before. */
static void set(struct hob_db_conninfo *info, const char *keyword, const char *value) {
    size_t i = 0;
    while (i < info->count && strcmp(info->keywords[i], keyword) != 0)
        i++;
    if (i == KEYWORDS)
        return;
    info->keywords[i] = keyword;
    info->values[i] = value;
    info->count += i == info->count;
}

/* The user's own come last, so they win. */
static bool set_options(struct hob_db_conninfo *info, const hob_config *config, const hob_db *db) {
    const char *own = effective(info, "options");
    if (!config->db_prepare)
        return true;
    hob_text options = hob__arena_format(
        info->arena, "-c statement_timeout=%s -c lock_timeout=%s -c client_connection_check_interval=1000 %s",
        db->statement_timeout, db->lock_timeout, own ? own : "");
    set(info, "options", options.data);
    return options.data != NULL;
}

/* libpq reads a service's file when it connects, and would then look up its host itself; the one that PGSERVICE names,
 * PQconndefaults tells before. */
void hob__db_conninfo_export_service(const char *url) {
    PQconninfoOption *given = url ? PQconninfoParse(url, NULL) : NULL;
    const char *service = lookup(given, "service");
    if (service && setenv("PGSERVICE", service, 1) != 0)
        hob__log(HOB_LOG_ERROR, "database: no memory for the name of its service");
    PQconninfoFree(given);
}

static bool parse(struct hob_db_conninfo *info, const char *url) {
    char *error = NULL;
    if (url) {
        info->given = PQconninfoParse(url, &error);
        PQfreemem(error); /* may quote the password */
    }
    info->defaults = PQconndefaults();
    return (info->given || !url) && info->defaults;
}

static bool fill(struct hob_db_conninfo *info, const hob_db *db) {
    info->arena = hob__arena_new(ARENA_MAX);
    if (!info->arena || !parse(info, db->config->database_url))
        return false;
    for (const PQconninfoOption *option = info->given; option && option->keyword; option++)
        if (option->val)
            set(info, option->keyword, option->val);
    if (!effective(info, "hostaddr"))
        info->host = effective(info, "host");
    info->port = effective(info, "port");
    set(info, "fallback_application_name", db->application_name);
    set(info, "client_encoding", "UTF8");
    if (!effective(info, "tcp_user_timeout"))
        set(info, "tcp_user_timeout", SILENCE_MS);
    return set_options(info, db->config, db);
}

struct hob_db_conninfo *hob__db_conninfo_new(const hob_db *db) {
    struct hob_db_conninfo *info = calloc(1, sizeof *info);
    if (info && fill(info, db))
        return info;
    hob__db_conninfo_free(info);
    return NULL;
}

void hob__db_conninfo_free(struct hob_db_conninfo *info) {
    if (!info)
        return;
    PQconninfoFree(info->given);
    PQconninfoFree(info->defaults);
    hob__arena_free(info->arena);
    free(info);
}

/* A directory of sockets, an abstract socket, or libpq's default. */
static bool is_socket(hob_text host) {
    return host.size == 0 || host.data[0] == '/' || host.data[0] == '@';
}

static bool is_name(struct hob_db_conninfo *info, hob_text host) {
    unsigned char address[sizeof(struct in6_addr)];
    const char *terminated = hob__arena_copy(info->arena, host).data;
    return !is_socket(host) && terminated && inet_pton(AF_INET, terminated, address) != 1 &&
           inet_pton(AF_INET6, terminated, address) != 1;
}

bool hob__db_conninfo_has_names(struct hob_db_conninfo *info) {
    hob_text rest = hob_text_of(info->host), host;
    while (hob__text_split(&rest, ',', &host))
        if (is_name(info, host))
            return true;
    return false;
}

/* One host's numeric address, empty for a socket. */
static bool address_of(struct hob_db_conninfo *info, hob_text host, hob_offload_pool *pool, hob_task *task,
                       char address[64]) {
    const char *why = "out of memory", *name = hob__arena_copy(info->arena, host).data;
    address[0] = '\0';
    if (is_socket(host))
        return true;
    if (name && hob__resolve(pool, task, name, address, &why))
        return true;
    hob__log(HOB_LOG_WARN, "database: host " HOB_FMT ": %s", HOB_ARG(host), why);
    return false;
}

static hob_text append(struct hob_db_conninfo *info, hob_text list, hob_text item) {
    if (!list.data)
        return hob__arena_copy(info->arena, item);
    return hob__arena_format(info->arena, HOB_FMT "," HOB_FMT, HOB_ARG(list), HOB_ARG(item));
}

/* Hosts that have no address at the moment are left out; host, hostaddr and port are lists of one length. */
bool hob__db_conninfo_resolve(struct hob_db_conninfo *info, hob_offload_pool *pool, hob_task *task) {
    hob_text rest = hob_text_of(info->host), ports = hob_text_of(info->port), host, port = HOB_TEXT("");
    hob_text host_list = {0}, address_list = {0}, port_list = {0};
    char address[64];
    while (hob__text_split(&rest, ',', &host)) {
        (void)hob__text_split(&ports, ',', &port); /* a single port is everyone's */
        if (!address_of(info, host, pool, task, address))
            continue;
        host_list = append(info, host_list, host);
        address_list = append(info, address_list, hob_text_of(address));
        port_list = append(info, port_list, port);
    }
    set(info, "host", host_list.data);
    set(info, "hostaddr", address_list.data);
    set(info, "port", port_list.data);
    return host_list.data && !hob__arena_failed(info->arena);
}

PGconn *hob__db_conninfo_connect(const struct hob_db_conninfo *info) {
    return PQconnectStartParams(info->keywords, info->values, 0);
}

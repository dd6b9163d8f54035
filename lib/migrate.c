#include "migrate.h"

#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S "10"
#define LOCK "SELECT pg_advisory_xact_lock(7525087104)" /* any number that nobody else locks */
#define SQL_MOST ((off_t)64 * 1024 * 1024)

/* ---- Files ---- */

typedef struct file {
    char *sql; /* NUL-terminated, and without another NUL */
    size_t size;
} file;

static bool complain(const char *name, const char *why) {
    size_t size = strlen(why); /* libpq ends its messages with a newline */
    fprintf(stderr, "migrate: %s: %s%s", name, why, size > 0 && why[size - 1] == '\n' ? "" : "\n");
    return false;
}

static bool read_open(FILE *in, const char *name, file *out) {
    struct stat about;
    if (fstat(fileno(in), &about) != 0)
        return complain(name, strerror(errno));
    if (!S_ISREG(about.st_mode) || about.st_size > SQL_MOST)
        return complain(name, "is no file, or too large");
    *out = (file){.sql = malloc((size_t)about.st_size + 1), .size = (size_t)about.st_size};
    if (out->sql == NULL)
        return complain(name, "out of memory");
    out->sql[out->size] = '\0';
    if (fread(out->sql, 1, out->size, in) == out->size && strlen(out->sql) == out->size)
        return true;
    free(out->sql);
    return complain(name, "could not be read whole, or contains NUL");
}

static bool read_file(const char *directory, const char *name, file *out) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return complain(name, "out of memory");
    FILE *in = fopen(path, "re");
    bool read = in != NULL ? read_open(in, path, out) : complain(path, strerror(errno));
    if (in != NULL)
        fclose(in);
    free(path);
    return read;
}

static int is_sql(const struct dirent *entry) {
    size_t size = strlen(entry->d_name);
    return entry->d_name[0] != '.' && size > 4 && strcmp(entry->d_name + size - 4, ".sql") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* the same in every locale */
}

/* ---- The database ---- */

static PGconn *connect_to(const hob_config *config) {
    /* What stands in the URL wins, since it comes behind. */
    const char *names[] = {"connect_timeout", "fallback_application_name", "dbname", NULL};
    const char *values[] = {CONNECT_TIMEOUT_S, "hob", config->database_url, NULL};
    return PQconnectdbParams(names, values, 1);
}

static bool check(PGconn *db, const char *name, const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
        return true;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
        return complain(name, "COPY from or to the client is not possible here");
    return complain(name, PQerrorMessage(db));
}

static bool run(PGconn *db, const char *name, const char *sql) {
    PGresult *result = PQexec(db, sql);
    bool good = check(db, name, result);
    PQclear(result);
    return good;
}

/* The server computes the checksum. NULL when the query failed. */
static PGresult *query(PGconn *db, const char *sql, const char *name, const file *file) {
    const char *values[] = {name, file->sql};
    const int lengths[] = {0, (int)file->size}, formats[] = {0, 1};
    PGresult *result = PQexecParams(db, sql, 2, (const Oid[]){25, 17}, values, lengths, formats, 0);
    if (check(db, name, result))
        return result;
    PQclear(result);
    return NULL;
}

typedef enum state { MISSING, APPLIED, CHANGED, UNKNOWN } state;

static state state_of(PGconn *db, const char *name, const file *file) {
    PGresult *result =
        query(db, "SELECT checksum = encode(sha256($2), 'hex') FROM hob_migrations WHERE name = $1", name, file);
    if (result == NULL)
        return UNKNOWN;
    state state = PQntuples(result) == 0 ? MISSING : *PQgetvalue(result, 0, 0) == 't' ? APPLIED : CHANGED;
    PQclear(result);
    return state;
}

/* Recorded first: what the file sets, as a search_path, could hide the table. */
static bool record_and_run(PGconn *db, const char *name, const file *file) {
    PGresult *result =
        query(db, "INSERT INTO hob_migrations (name, checksum) VALUES ($1, encode(sha256($2), 'hex'))", name, file);
    PQclear(result);
    if (result == NULL || !run(db, name, file->sql))
        return false;
    if (PQtransactionStatus(db) != PQTRANS_INTRANS)
        return complain(name, "must not end its transaction; what it committed stays, and is recorded as applied");
    return run(db, name, "COMMIT") && run(db, name, "DISCARD ALL") && printf("applied %s\n", name) > 0;
}

static bool apply(PGconn *db, const char *name, const file *file) {
    if (!run(db, name, "BEGIN; " LOCK))
        return false;
    switch (state_of(db, name, file)) {
    case APPLIED:
        return run(db, name, "ROLLBACK");
    case MISSING:
        return record_and_run(db, name, file);
    case CHANGED:
        return complain(name, "has changed since it was applied; write a new file instead");
    default:
        return false;
    }
}

static bool apply_all(PGconn *db, const char *directory, struct dirent *const *entries, int count) {
    const char *table = "BEGIN; " LOCK "; SET LOCAL client_min_messages = warning;"
                        "CREATE TABLE IF NOT EXISTS hob_migrations (name text PRIMARY KEY, checksum text NOT NULL,"
                        " applied_at timestamptz NOT NULL DEFAULT now()); COMMIT";
    bool good = run(db, "hob_migrations", table);
    for (int i = 0; good && i < count; i++) {
        file file;
        good = read_file(directory, entries[i]->d_name, &file);
        if (!good)
            break;
        good = apply(db, entries[i]->d_name, &file);
        free(file.sql);
    }
    return good;
}

bool hob__migrate(const hob_config *config, const char *directory) {
    struct dirent **entries = NULL;
    int count = scandir(directory, &entries, is_sql, by_name);
    if (count <= 0) {
        free(entries);
        return complain(directory, count < 0 ? strerror(errno) : "has no *.sql");
    }
    PGconn *db = connect_to(config);
    bool good = PQstatus(db) == CONNECTION_OK ? apply_all(db, directory, entries, count)
                                              : complain("database", PQerrorMessage(db));
    PQfinish(db);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return good;
}

static int64_t all_connections(const hob_config *config) {
    int64_t workers = config->workers > 0 ? config->workers : sysconf(_SC_NPROCESSORS_ONLN);
    return 2 * workers * config->db_max_open;
}

/* Behind a pooler, which HOB_DB_PREPARE=off is for, our connections are not the server's. */
static bool enough_connections(const hob_config *config, PGconn *db, char error[256]) {
    static const char limit[] =
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int";
    if (!config->db_prepare)
        return true;
    PGresult *result = PQexec(db, limit);
    bool known = PQresultStatus(result) == PGRES_TUPLES_OK;
    int64_t most = known ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0, ours = all_connections(config);
    if (!known)
        snprintf(error, 256, "%.*s", (int)strcspn(PQerrorMessage(db), "\n"), PQerrorMessage(db));
    else if (ours > most)
        snprintf(error, 256,
                 "the workers may open %" PRId64 " connections while they are replaced, but max_connections leaves "
                 "%" PRId64 ": less of HOB_WORKERS or HOB_DB_MAX_OPEN",
                 ours, most);
    PQclear(result);
    return known && ours <= most;
}

bool hob__database_check(const hob_config *config, char error[256]) {
    PGconn *db = connect_to(config);
    bool connected = PQstatus(db) == CONNECTION_OK;
    if (!connected)
        snprintf(error, 256, "%.*s", (int)strcspn(PQerrorMessage(db), "\n"), PQerrorMessage(db));
    bool good = connected && enough_connections(config, db, error);
    PQfinish(db);
    return good;
}

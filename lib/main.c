/* The command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "handler/services.h"
#include "http/router.h"
#include "migrate.h"
#include "worker.h"

#define SCHEMA "app/schema"
#define USAGE 2 /* the exit status of a command line that is none */

static const char *name_of(hob_app *app) {
    return hob__application(app)->name;
}

/* One clear line, for a human and for the log. */
static int refuse(hob_app *app, const char *why) {
    fprintf(stderr, "%s: %s\n", name_of(app), why);
    if (hob__log_fd() != STDERR_FILENO)
        hob__log(HOB_LOG_ERROR, "the start is refused: %s", why);
    return 1;
}

static bool load(hob_config *config, char error[256]) {
    return hob__config_load(config, environ, error);
}

static const char *route_fault(hob_app *app) {
    return hob__router_compile(app) ? NULL : hob__application(app)->fault;
}

/* ---- Serving ---- */

/* A start that fails for its configuration still goes to the log, as far as that is known. */
static int refuse_configuration(hob_app *app, const char *why) {
    if (!hob__log_open(getenv("HOB_LOG"), HOB_LOG_INFO))
        fprintf(stderr, "%s: HOB_LOG: %s\n", name_of(app), strerror(errno));
    return refuse(app, why);
}

static int serve_with(hob_app *app, const hob_config *config, bool once) {
    char error[256] = "";
    if (!hob__log_open(config->log, config->log_level)) {
        snprintf(error, sizeof(error), "HOB_LOG: %s: %s", config->log, strerror(errno));
        return refuse(app, error);
    }
    const char *fault = route_fault(app);
    if (fault != NULL)
        return refuse(app, fault);
    bool served = once ? hob__worker_run_once(app, config, error) : hob__worker_run(app, config, error);
    return served ? 0 : refuse(app, error);
}

static int serve(hob_app *app, bool once) {
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse_configuration(app, error);
    if (once) { /* one to answer, and one more for a transaction; not all that a worker keeps warm */
        config.db_max_open = config.db_max_open < 2 ? config.db_max_open : 2;
        config.db_max_idle = config.db_max_idle < 1 ? config.db_max_idle : 1;
    }
    int status = serve_with(app, &config, once);
    hob__config_free(&config);
    return status;
}

/* ---- Commands ---- */

static int migrate(hob_app *app, const char *directory) {
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse(app, error);
    bool good = hob__migrate(&config, directory != NULL ? directory : SCHEMA);
    hob__config_free(&config);
    return good ? 0 : 1;
}

static int routes(hob_app *app, const char *none) {
    (void)none;
    const char *fault = route_fault(app);
    if (fault != NULL)
        return refuse(app, fault);
    hob__router_print(app, stdout);
    return 0;
}

static bool say(const char *what, const char *fault) {
    printf("%s: %s\n", what, fault != NULL ? fault : "good");
    return fault == NULL;
}

static bool check_database(const hob_config *config, bool configured) {
    char error[256] = "";
    if (!configured)
        return printf("database: none is configured\n") > 0;
    return say("database", hob__database_reachable(config, error) ? NULL : error);
}

/* Opening the services reads what the configuration itself takes as it is, such as the list of cache servers. */
static bool check_services(hob_app *app, const hob_config *config) {
    char error[256] = "";
    hob_services services;
    bool opened = hob__services_open(&services, app, config, error);
    bool good = say("configuration", opened ? NULL : error);
    if (opened) {
        good &= check_database(config, services.db != NULL);
        hob__services_close(&services);
    }
    return good;
}

static int check(hob_app *app, const char *none) {
    (void)none;
    hob_config config;
    char error[256] = "";
    bool good = say("routes", route_fault(app));
    if (load(&config, error)) {
        good &= check_services(app, &config);
        hob__config_free(&config);
    } else {
        good &= say("configuration", error);
    }
    return good ? 0 : 1;
}

static int print_config(hob_app *app, const char *none) {
    (void)none;
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse(app, error);
    hob__config_print(&config, stdout);
    hob__config_free(&config);
    return 0;
}

static int config_table(hob_app *app, const char *none) {
    (void)app;
    (void)none;
    hob__config_markdown(stdout);
    return 0;
}

static int version(hob_app *app, const char *none) {
    (void)none;
    printf("%s, hob %s\n", name_of(app), HOB_VERSION);
    return 0;
}

static int help(hob_app *app, const char *none);

static const struct command {
    const char *name;
    int (*run)(hob_app *app, const char *argument);
    const char *argument; /* what it may take; NULL: nothing */
    const char *help;
} COMMANDS[] = {
    {"migrate", migrate, " [DIR]", "apply DIR/*.sql (" SCHEMA ") to the database, each once"},
    {"routes", routes, NULL, "print the routes"},
    {"--check", check, NULL, "check configuration, routes and database"},
    {"--print-config", print_config, NULL, "print the configuration, secrets hidden"},
    {"--config-table", config_table, NULL, "print all settings as a Markdown table"},
    {"--help", help, NULL, "print this"},
    {"--version", version, NULL, "print the version"},
};
#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void print_help(hob_app *app, FILE *out) {
    fprintf(out, "%s serves FastCGI when fd 0 is a listening socket, and CGI when a web server starts it so.\n\n",
            name_of(app));
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *argument = COMMANDS[i].argument != NULL ? COMMANDS[i].argument : "";
        int width = 20 - (int)strlen(COMMANDS[i].name);
        fprintf(out, "  %s %s%-*s %s\n", name_of(app), COMMANDS[i].name, width, argument, COMMANDS[i].help);
    }
    fprintf(out, "\nSettings, from the environment or from the file that HOB_CONFIG names:\n\n");
    hob__config_help(out);
}

static int help(hob_app *app, const char *none) {
    (void)none;
    print_help(app, stdout);
    return 0;
}

static int run_command(hob_app *app, int argc, char **argv) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        int most = COMMANDS[i].argument != NULL ? 3 : 2;
        if (strcmp(argv[1], COMMANDS[i].name) == 0 && argc <= most)
            return COMMANDS[i].run(app, argc > 2 ? argv[2] : NULL);
    }
    print_help(app, stderr);
    return USAGE;
}

/* ---- What is asked for ---- */

static bool is_listening(int fd) {
    int listening = 0;
    socklen_t size = sizeof(listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

static int run(hob_app *app, int argc, char **argv) {
    if (argc > 1)
        return run_command(app, argc, argv);
    bool listening = is_listening(STDIN_FILENO);
    if (listening || getenv("GATEWAY_INTERFACE") != NULL || getenv("REQUEST_METHOD") != NULL)
        return serve(app, !listening);
    print_help(app, stderr);
    return USAGE;
}

int hob_main(hob_app *app, int argc, char **argv) {
    if (app == NULL) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    int status = run(app, argc, argv);
    hob__router_free(app);
    return status;
}

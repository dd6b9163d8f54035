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
#include "supervisor.h"
#include "worker.h"

#define SCHEMA "app/schema"
#define USAGE 2 /* the exit status of a command line that is none */

static const char *name_of(hob_app *app) {
    return hob__application(app)->name;
}

static const char *program_name; /* argv[0] */
static bool logs_elsewhere;      /* than to stderr */

static int misused(hob_app *app);

/* One clear line, for a human and for the log. */
static int refuse(hob_app *app, const char *why) {
    fprintf(stderr, "%s: %s\n", name_of(app), why);
    if (logs_elsewhere)
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

static bool open_log(const char *path, hob_log_level level) {
    bool opened = hob__log_open(path, level);
    logs_elsewhere = opened && path != NULL && path[0] != '\0' && strcmp(path, "stderr") != 0;
    return opened;
}

/* A start that fails for its configuration still goes to the log, as far as that is known. */
static int refuse_configuration(hob_app *app, const char *why) {
    if (!open_log(getenv("HOB_LOG"), HOB_LOG_INFO))
        fprintf(stderr, "%s: HOB_LOG: %s\n", name_of(app), strerror(errno));
    return refuse(app, why);
}

/* The log and the routes, which a worker and a supervisor need. false: one line in error. */
static bool prepare(hob_app *app, const hob_config *config, char error[256]) {
    const char *fault = NULL;
    if (!open_log(config->log, config->log_level))
        snprintf(error, 256, "HOB_LOG: %.150s: %s", config->log, strerror(errno));
    else if ((fault = route_fault(app)) != NULL)
        snprintf(error, 256, "%.255s", fault);
    else
        return true;
    return false;
}

static int serve_with(hob_app *app, const hob_config *config, bool once) {
    char error[256] = "";
    if (!prepare(app, config, error))
        return refuse(app, error);
    bool served = once ? hob__worker_run_once(app, config, error) : hob__worker_run(app, config, error);
    return served ? 0 : refuse(app, error);
}

static int serve(hob_app *app, bool once) {
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse_configuration(app, error);
    config.on_demand = once;
    int status = serve_with(app, &config, once);
    hob__config_free(&config);
    return status;
}

/* ---- Commands ---- */

static int migrate(hob_app *app, char *const *arguments) {
    const char *directory = arguments[0];
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse(app, error);
    bool good = hob__migrate(&config, directory != NULL ? directory : SCHEMA);
    hob__config_free(&config);
    return good ? 0 : 1;
}

/* What the commands about a supervisor may be given. */
typedef struct options {
    const char *pid_file;
    bool json;
} options;

/* false: something else was given. */
static bool read_options(options *options, char *const *arguments) {
    *options = (struct options){0};
    for (; *arguments != NULL; arguments++)
        if (strcmp(*arguments, "--json") == 0)
            options->json = true;
        else if (strcmp(*arguments, "--pid-file") == 0 && arguments[1] != NULL)
            options->pid_file = *++arguments;
        else
            return false;
    return true;
}

static int supervise_with(hob_app *app, hob_supervision *supervision) {
    const hob_config *config = supervision->config;
    char error[256] = "";
    if (!prepare(app, config, error))
        return refuse(app, error);
    int status = hob__supervisor_run(supervision, error);
    return error[0] != '\0' ? refuse(app, error) : status;
}

static int supervise(hob_app *app, char *const *arguments) {
    char *const *environment =
        environ; /* what a file adds (PG*) goes to a copy of it, which workers must not inherit */
    hob_config config;
    options options;
    char error[256] = "";
    if (!read_options(&options, arguments) || options.json)
        return misused(app);
    if (!load(&config, error))
        return refuse_configuration(app, error);
    hob_supervision supervision = {.application = name_of(app),
                                   .argv0 = program_name,
                                   .config = &config,
                                   .environment = environment,
                                   .pid_file = options.pid_file};
    int status = supervise_with(app, &supervision);
    hob__config_free(&config);
    return status;
}

static int reload(hob_app *app, char *const *arguments) {
    options options;
    if (!read_options(&options, arguments) || options.json || options.pid_file == NULL)
        return misused(app);
    return hob__supervisor_reload(name_of(app), options.pid_file);
}

static int stop(hob_app *app, char *const *arguments) {
    options options;
    if (!read_options(&options, arguments) || options.json || options.pid_file == NULL)
        return misused(app);
    return hob__supervisor_stop(name_of(app), options.pid_file);
}

static int status_of_configured(hob_app *app, bool json) {
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse(app, error);
    int status = hob__supervisor_status(name_of(app), &config, json);
    hob__config_free(&config);
    return status;
}

static int status(hob_app *app, char *const *arguments) {
    options options;
    if (!read_options(&options, arguments))
        return misused(app);
    if (options.pid_file == NULL)
        return status_of_configured(app, options.json);
    return hob__supervisor_status_of(name_of(app), options.pid_file, options.json);
}

static int routes(hob_app *app, char *const *none) {
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
    return say("database", hob__database_check(config, error) ? NULL : error);
}

/* Opening the services reads what the configuration itself takes as it is, such as the list of cache servers. */
static bool check_services(hob_app *app, const hob_config *config) {
    char error[256] = "";
    hob_services services;
    bool opened = hob__services_open(&services, app, config, (hob_services_shared){0}, error);
    bool good = say("configuration", opened ? NULL : error);
    if (opened) {
        good &= check_database(config, services.db != NULL);
        hob__services_close(&services);
    }
    return good;
}

static int check(hob_app *app, char *const *none) {
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

static int print_config(hob_app *app, char *const *none) {
    (void)none;
    hob_config config;
    char error[256] = "";
    if (!load(&config, error))
        return refuse(app, error);
    hob__config_print(&config, stdout);
    hob__config_free(&config);
    return 0;
}

static int config_table(hob_app *app, char *const *none) {
    (void)app;
    (void)none;
    hob__config_markdown(stdout);
    return 0;
}

static int version(hob_app *app, char *const *none) {
    (void)none;
    printf("%s, hob %s\n", name_of(app), HOB_VERSION);
    return 0;
}

static int help(hob_app *app, char *const *none);

static const struct command {
    const char *name;
    int (*run)(hob_app *app, char *const *arguments); /* ended by NULL */
    const char *arguments;                            /* what it may take; NULL: nothing */
    int most;                                         /* of them */
    const char *help;
} COMMANDS[] = {
    {"serve", supervise, " [--pid-file F]", 2, "keep HOB_WORKERS workers running on HOB_LISTEN or inherited sockets"},
    {"reload", reload, " --pid-file F", 2, "change to new workers of the binary and configuration on disk"},
    {"stop", stop, " --pid-file F", 2, "let the workers drain, and wait for the end"},
    {"status", status, " [--json] [--pid-file F]", 3, "print what all workers do"},
    {"migrate", migrate, " [DIR]", 1, "apply DIR/*.sql (" SCHEMA ") to the database, each once"},
    {"routes", routes, NULL, 0, "print the routes"},
    {"--check", check, NULL, 0, "check configuration, routes and database"},
    {"--print-config", print_config, NULL, 0, "print the configuration, secrets hidden"},
    {"--config-table", config_table, NULL, 0, "print all settings as a Markdown table"},
    {"--help", help, NULL, 0, "print this"},
    {"--version", version, NULL, 0, "print the version"},
};
#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void print_help(hob_app *app, FILE *out) {
    fprintf(out, "%s serves FastCGI when fd 0 is a listening socket, and CGI when a web server starts it so.\n\n",
            name_of(app));
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *arguments = COMMANDS[i].arguments != NULL ? COMMANDS[i].arguments : "";
        int width = 30 - (int)strlen(COMMANDS[i].name);
        fprintf(out, "  %s %s%-*s %s\n", name_of(app), COMMANDS[i].name, width, arguments, COMMANDS[i].help);
    }
    fprintf(out,
            "\nSettings, from the environment or from the file that HOB_CONFIG names (DATABASE_URL_FILE and the like\n"
            "name a file that holds the secret):\n\n");
    hob__config_help(out);
}

static int help(hob_app *app, char *const *none) {
    (void)none;
    print_help(app, stdout);
    return 0;
}

static int misused(hob_app *app) {
    print_help(app, stderr);
    return USAGE;
}

static int run_command(hob_app *app, int argc, char **argv) {
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], COMMANDS[i].name) == 0 && argc - 2 <= COMMANDS[i].most)
            return COMMANDS[i].run(app, argv + 2);
    return misused(app);
}

/* ---- What is asked for ---- */

static bool is_listening(int fd) {
    int listening = 0;
    socklen_t size = sizeof(listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

/* The arguments of a CGI program are the client's: the words of a query without '=' (RFC 3875, 4.4). */
static bool is_cgi(void) {
    return getenv("GATEWAY_INTERFACE") != NULL || getenv("REQUEST_METHOD") != NULL;
}

static int run(hob_app *app, int argc, char **argv) {
    bool listening = is_listening(STDIN_FILENO);
    if (is_cgi() && !listening)
        return serve(app, true);
    if (argc > 1)
        return run_command(app, argc, argv);
    return listening ? serve(app, false) : misused(app);
}

int hob_main(hob_app *app, int argc, char **argv) {
    if (app == NULL) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    program_name = argc > 0 ? argv[0] : "";
    int status = run(app, argc, argv);
    hob__router_free(app);
    return status;
}

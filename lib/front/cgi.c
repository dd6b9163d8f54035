/* One request by plain CGI (RFC 3875): in a process of its own, so reading and writing may block. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/log.h"
#include "front/body.h"
#include "front/front.h"

#define CONNECT_WAIT (5 * HOB_S) /* longest wait for a database that is not there yet */
#define CONNECT_LOOK HOB_MS
#define POLL_MOST_MS 60000

typedef struct cgi {
    hob_task task;
    hob_services *services;
    int64_t started;
} cgi;

typedef struct input {
    hob_body_source source;
    size_t left; /* no CGI program may read beyond CONTENT_LENGTH (RFC 3875, 4.2): the end need not come */
    int64_t deadline;
    bool timed_out;
} input;

static bool wait_for(int fd, short events, int64_t deadline) {
    struct pollfd one = {.fd = fd, .events = events};
    int ready;
    do {
        int64_t left = (deadline - hob__clock_ns()) / HOB_MS;
        if (left <= 0)
            return false;
        ready = poll(&one, 1, left < POLL_MOST_MS ? (int)left : POLL_MOST_MS);
    } while (ready == 0 || (ready < 0 && errno == EINTR));
    return ready > 0;
}

static size_t read_input(hob_body_source *source, char *buffer, size_t size) {
    input *in = (input *)source;
    size_t got = 0, want = size < in->left ? size : in->left;
    while (got < want && !in->timed_out) {
        ssize_t n = -1;
        if (!wait_for(STDIN_FILENO, POLLIN, in->deadline))
            in->timed_out = true;
        else
            n = read(STDIN_FILENO, buffer + got, want - got);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    in->left -= got;
    return got;
}

/* Without CONTENT_LENGTH there is no body (RFC 3875, 4.1.2), but web servers pass chunked ones on that way. */
static size_t input_size(const hob_request *request) {
    bool usual = request->method == HOB_POST || request->method == HOB_PUT || request->method == HOB_PATCH;
    if (request->fault == HOB_REQUEST_BAD_LENGTH)
        return 0;
    if (request->content_length >= 0)
        return (size_t)request->content_length;
    return usual ? SIZE_MAX : 0;
}

static void read_request(cgi *run, hob_request *request) {
    const hob_config *config = run->services->config;
    hob__request_from_environment(request, run->task.arena, environ, config->mount);
    request->started = run->started;
    int64_t deadline = hob__time_after(run->started, config->read_timeout);
    input in = {.source = {read_input}, .left = input_size(request), .deadline = deadline};
    bool whole = hob__body_read(&in.source, run->task.arena, (size_t)config->max_body, request);
    if (whole && in.timed_out)
        request->fault = HOB_REQUEST_TIMED_OUT;
}

/* A worker's connection is open long before a request comes; here it is being opened. */
static void wait_for_database(cgi *run) {
    int64_t until = run->started + CONNECT_WAIT;
    hob_db *db = run->services->db;
    while (db != NULL && !hob__db_up(db) && hob__clock_ns() < until)
        (void)hob__task_park(&run->task, hob__loop_now(run->services->loop) + CONNECT_LOOK);
}

static bool write_output(hob_text text, int64_t deadline) {
    while (text.size > 0) {
        ssize_t n = write(STDOUT_FILENO, text.data, text.size);
        if (n < 0 && errno != EINTR && (errno != EAGAIN || !wait_for(STDOUT_FILENO, POLLOUT, deadline))) {
            hob__log(HOB_LOG_WARN, "an answer could not be handed to the web server: %m");
            return false;
        }
        text.data += n > 0 ? n : 0;
        text.size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void write_answer(cgi *run, hob_request *request, hob_response *response) {
    int64_t deadline = hob__time_after(hob__clock_ns(), run->services->config->write_timeout);
    hob_text head = hob__response_head(response, run->task.arena);
    if (write_output(head, deadline) && hob__response_has_body(response, request->method))
        (void)write_output(response->body, deadline);
}

static void serve(hob_task *task) {
    cgi *run = (cgi *)((char *)task - offsetof(cgi, task));
    hob_services *services = run->services;
    hob_request request;
    hob_response response;
    read_request(run, &request);
    wait_for_database(run);
    hob__services_serve(services, task, &request, &response);
    write_answer(run, &request, &response);
    hob__arena_reset(task->arena);
    hob__loop_stop(services->loop);
}

int hob__cgi_run(hob_services *services) {
    cgi run = {.services = services, .started = hob__clock_ns()};
    run.task.loop = services->loop;
    run.task.deadline = HOB_FOREVER;
    run.task.arena = hob__arena_new((size_t)services->config->max_request_memory);
    bool started = run.task.arena != NULL && hob__task_start(&run.task, serve);
    if (started)
        hob__loop_run(services->loop);
    else
        hob__log(HOB_LOG_ERROR, "the request cannot be served: out of memory");
    hob__arena_free(run.task.arena);
    return started ? 0 : 1;
}

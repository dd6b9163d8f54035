/* One request by plain CGI (RFC 3875): in a process of its own, so reading and writing may block. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "front/body.h"
#include "front/fcgi_flight.h"
#include "front/front.h"

#define POLL_MOST_MS 60000

typedef struct cgi {
    hob_task task;
    hob_services *services;
    hob_flight *flight;
    hob_request request;
    int64_t started;
} cgi;

typedef struct input {
    hob_body_source source;
    size_t left; /* no CGI program may read beyond CONTENT_LENGTH (RFC 3875, 4.2): the end need not come */
    int64_t deadline;
    bool timed_out;
} input;

/* ---- The end that others wish for ---- */

static cgi *running;
static volatile sig_atomic_t unwanted; /* the web server has given the request up */

static void on_signal(int signal) {
    (void)signal;
    unwanted = 1;
    hob__loop_wake_from_signal(running->services->loop);
}

static void on_signalled(void *arg) {
    hob__task_cancel(&((cgi *)arg)->task);
}

/* Without SA_RESTART, so that nothing that blocks goes on. Before, there is nothing yet to be put in order. */
static void set_signals(void (*handler)(int)) {
    const struct sigaction action = {.sa_handler = handler};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
}

/* ---- In ---- */

static bool wait_for(int fd, short events, int64_t deadline) {
    struct pollfd one = {.fd = fd, .events = events};
    int ready;
    do {
        int64_t left = (deadline - hob__clock_ns()) / HOB_MS;
        if (left <= 0 || unwanted)
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

/* Without CONTENT_LENGTH there is no body (RFC 3875, 4.1.2), but Apache passes chunked ones, and those of HTTP/2, on
 * that way. */
static size_t input_size(const hob_request *request) {
    bool usual = request->method == HOB_POST || request->method == HOB_PUT || request->method == HOB_PATCH;
    if (request->fault == HOB_REQUEST_BAD_LENGTH)
        return 0;
    if (request->content_length >= 0)
        return (size_t)request->content_length;
    return usual || hob__request_header(request, HOB_TEXT("Transfer-Encoding")).data ? SIZE_MAX : 0;
}

static void read_request(cgi *run) {
    const hob_config *config = run->services->config;
    hob_request *request = &run->request;
    hob__request_from_environment(request, run->task.arena, environ, config->mount);
    request->started = run->started;
    hob__flight_begin(run->flight, request, run->task.arena, HOB_FLIGHT_CGI);
    int64_t deadline = hob__time_after(run->started, config->read_timeout);
    input in = {.source = {read_input}, .left = input_size(request), .deadline = deadline};
    bool whole = hob__body_read(&in.source, run->task.arena, (size_t)config->max_body, request);
    if (whole && in.timed_out)
        request->fault = HOB_REQUEST_TIMED_OUT;
}

/* ---- Out ---- */

static void take_off(struct iovec *part, size_t *size) {
    size_t n = *size < part->iov_len ? *size : part->iov_len;
    part->iov_base = (char *)part->iov_base + n;
    part->iov_len -= n;
    *size -= n;
}

static void write_all(struct iovec parts[2], int64_t deadline) {
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t n = writev(STDOUT_FILENO, parts, 2);
        if (n < 0 && ((errno != EINTR && errno != EAGAIN) || !wait_for(STDOUT_FILENO, POLLOUT, deadline))) {
            hob__log(HOB_LOG_WARN, "an answer could not be handed to the web server: %m");
            return;
        }
        size_t written = n > 0 ? (size_t)n : 0;
        take_off(&parts[0], &written);
        take_off(&parts[1], &written);
    }
}

/* The web server waits for the end of the output, and so does its client: what is left to do is done behind it. */
static void end_output(void) {
    (void)shutdown(STDOUT_FILENO, SHUT_WR); /* mod_cgid's is a socket, and standard input too */
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
}

static void write_answer(cgi *run, hob_response *response) {
    int64_t deadline = hob__time_after(hob__clock_ns(), run->services->config->write_timeout);
    hob_text head = hob__response_head(response, run->task.arena), body = response->body;
    if (!hob__response_has_body(response, run->request.method))
        body = (hob_text){0};
    hob__flight_end(run->flight);
    write_all((struct iovec[]){{(void *)head.data, head.size}, {(void *)body.data, body.size}}, deadline);
    end_output();
}

/* ---- All of it ---- */

static void serve(hob_task *task) {
    cgi *run = hob__container_of(task, cgi, task);
    hob_services *services = run->services;
    hob_response response;
    hob__services_serve(services, task, &run->request, &response);
    if (!unwanted)
        write_answer(run, &response);
    hob__arena_reset(task->arena);
    hob__loop_stop(services->loop);
}

static bool serve_on_loop(cgi *run) {
    hob_loop *loop = run->services->loop;
    running = run;
    hob__loop_on_signal(loop, on_signalled, run);
    set_signals(on_signal);
    bool started = hob__task_start(&run->task, serve);
    if (started)
        hob__loop_run(loop);
    set_signals(SIG_IGN); /* it is ending already */
    return started;
}

int hob__cgi_run(hob_services *services) {
    cgi run = {.services = services, .started = hob__clock_ns(), .flight = hob__flight_open(STDOUT_FILENO)};
    run.task.loop = services->loop;
    run.task.deadline = HOB_FOREVER;
    run.task.arena = hob__arena_new((size_t)services->config->max_request_memory);
    bool served = false;
    if (run.task.arena != NULL) {
        read_request(&run);
        served = serve_on_loop(&run);
    }
    if (!served)
        hob__log(HOB_LOG_ERROR, "the request cannot be served: out of memory");
    hob__flight_end(run.flight);
    hob__flight_close(run.flight);
    hob__arena_free(run.task.arena);
    return served ? 0 : 1;
}

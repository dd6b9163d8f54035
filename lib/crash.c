#include "crash.h"

#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "front/fcgi_flight.h"
#include "http/router.h"
#include "run/task.h"
#include "symbols.h"

#define STACK (64 * 1024)
#define LONGEST_END_S 2 /* the unwinder may wait for a lock that is never released */
#define FRAMES 16384    /* a fiber's whole stack of the smallest frames: the handler is at the far end */
#define INNER_FRAMES 20 /* those shown */
#define OUTER_FRAMES 12 /* and those shown after a gap */
#define HANG_SIGNAL SIGRTMIN

/* What the process dies of. */
typedef struct ending {
    const char *message;
    int signal; /* 0: none */
    const siginfo_t *info;
    const ucontext_t *context; /* what was interrupted */
    int status;                /* of the answers */
    const char *detail;        /* in them */
} ending;

static const hob_loop *loop;
static pid_t loop_thread;
static _Atomic uint64_t hung_pulse;   /* 0: nobody has asked */
static _Atomic int crashed_elsewhere; /* a signal that another thread died of */
static void *frames[FRAMES];

/* ---- The log ---- */

static const char *name_of(int signal) {
    switch (signal) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    default:
        return "SIGABRT";
    }
}

static void *pc_of(const ucontext_t *context) {
#if defined(__x86_64__)
    return (void *)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)context->uc_mcontext.pc;
#else
    (void)context;
    return NULL;
#endif
}

/* Where a call that led nowhere came from. */
static void *caller_of(const ucontext_t *context) {
#if defined(__x86_64__)
    return *(void **)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (void *)context->uc_mcontext.regs[30];
#else
    (void)context;
    return NULL;
#endif
}

/* Fills frames: how many there are, and which of them was interrupted. The unwinder gives up where there is no code,
 * such as behind a null pointer that was called. */
static size_t unwind(const ucontext_t *context, size_t *first) {
    int found = backtrace(frames, FRAMES - 2);
    size_t count = found > 0 ? (size_t)found : 0;
    *first = 0;
    while (*first < count && frames[*first] != pc_of(context))
        ++*first;
    if (*first == count) {
        frames[count++] = pc_of(context);
        frames[count++] = caller_of(context);
    }
    return count;
}

typedef struct trace {
    size_t size;
    char text[3072]; /* leaves room for the rest of the line */
} trace;

static void put(trace *trace, hob_text text) {
    if (text.size > sizeof(trace->text) - trace->size)
        return;
    memcpy(trace->text + trace->size, text.data, text.size);
    trace->size += text.size;
}

static void put_frame(trace *trace, size_t at, size_t first) {
    char buffer[HOB_SYMBOL_SIZE];
    const char *address = frames[at];
    bool returns = at != first && address != NULL; /* an address to return to may be that of the next function */
    hob_text symbol = hob__symbol_of(returns ? address - 1 : address, buffer);
    if (trace->size > 0)
        put(trace, HOB_TEXT(" "));
    put(trace, symbol);
}

static void take_trace(const ucontext_t *context, trace *trace) {
    size_t first;
    size_t count = unwind(context, &first);
    trace->size = 0;
    for (size_t i = first; i < count; i++) {
        if (i == first + INNER_FRAMES && count - i > OUTER_FRAMES) {
            put(trace, HOB_TEXT(" ..."));
            i = count - OUTER_FRAMES;
        }
        put_frame(trace, i, first);
    }
}

static void log_request(hob_log_line *line, const hob_request *request) {
    char buffer[HOB_SYMBOL_SIZE];
    hob__log_text(line, "request_id", request->id);
    if (request->method < HOB_METHODS)
        hob__log_text(line, "method", hob__method_names[request->method]);
    if (request->route == NULL)
        return;
    hob__log_text(line, "route", hob_text_of(request->route->pattern));
    hob__log_text(line, "handler", hob__symbol_of((const void *)request->route->handler, buffer));
}

static void log_cause(hob_log_line *line, const ending *end) {
    char buffer[HOB_SYMBOL_SIZE];
    if (end->signal == 0)
        return;
    hob__log_text(line, "signal", hob_text_of(name_of(end->signal)));
    if (end->info->si_code <= 0 && end->info->si_pid != getpid())
        hob__log_int(line, "sent_by_pid", end->info->si_pid);
    else if (end->info->si_code > 0 && hob__fiber_overflowed(end->info->si_addr))
        hob__log_text(line, "cause", HOB_TEXT("stack overflow"));
    else if (end->info->si_code > 0)
        hob__log_text(line, "address", hob__symbol_of(end->info->si_addr, buffer));
}

static void log_end(const ending *end, const hob_flight *guilty, size_t in_flight, size_t answered) {
    hob_log_line line;
    trace trace;
    take_trace(end->context, &trace);
    hob__log_begin(&line, HOB_LOG_ERROR, hob_text_of(end->message));
    log_cause(&line, end);
    if (guilty != NULL)
        log_request(&line, guilty->request);
    hob__log_int(&line, "in_flight", (int64_t)in_flight);
    hob__log_int(&line, "answered", (int64_t)answered);
    hob__log_text(&line, "backtrace", (hob_text){trace.text, trace.size});
    hob__log_end(&line);
}

/* As the access log would have. */
static void log_answers(const ending *end) {
    for (const hob_flight *flight = NULL; (flight = hob__flight_next(flight)) != NULL;) {
        hob_log_line line;
        hob__log_begin(&line, HOB_LOG_ERROR, HOB_TEXT("request"));
        hob__log_int(&line, "status", end->status);
        log_request(&line, flight->request);
        hob__log_text(&line, "detail", hob_text_of(end->message));
        hob__log_end(&line);
    }
}

/* ---- The end ---- */

/* Branches of a request share its memory. */
static const hob_flight *running_flight(void) {
    const hob_task *task = hob__task_self();
    const hob_flight *flight = NULL;
    while (task != NULL && (flight = hob__flight_next(flight)) != NULL)
        if (flight->arena == task->arena)
            return flight;
    return NULL;
}

static void limit_time(void) {
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    signal(SIGALRM, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
    alarm(LONGEST_END_S);
}

/* What could still be sent to this worker goes to the next one; then the clients, since answering them asks less of a
 * process in this state than looking at it. */
static void answer_and_log(const ending *end) {
    size_t in_flight = 0, answered = 0;
    limit_time();
    hob__flight_hang_up_idle();
    for (const hob_flight *flight = NULL; (flight = hob__flight_next(flight)) != NULL; in_flight++)
        answered += hob__flight_answer(flight, end->status, end->detail);
    log_end(end, running_flight(), in_flight, answered);
    log_answers(end);
}

/* Its own thread shows where; the loop's must not write to connections meanwhile, so it is the one to answer. */
_Noreturn static void crash_of_other_thread(ending *end) {
    limit_time();
    log_end(end, NULL, 0, 0);
    crashed_elsewhere = end->signal;
    tgkill(getpid(), loop_thread, HANG_SIGNAL);
    for (;;)
        pause();
}

/* The disposition is the default again. Raised while it is blocked, the signal waits for the handler's return, and a
 * core dump shows what was interrupted. */
static void on_crash(int signal, siginfo_t *info, void *context) {
    ending end = {.message = "the worker crashed",
                  .signal = signal,
                  .info = info,
                  .context = context,
                  .status = 500,
                  .detail = "the server made a mistake; its log knows it by this instance"};
    if (gettid() != loop_thread)
        crash_of_other_thread(&end);
    answer_and_log(&end);
    raise(signal);
}

static void on_hang(int signal, siginfo_t *info, void *context) {
    (void)signal;
    ending end = {.message = "the worker hung: its loop has not turned for HOB_WATCHDOG",
                  .info = info,
                  .context = context,
                  .status = 504,
                  .detail = "the server did not answer in time; its log knows it by this instance"};
    if (crashed_elsewhere != 0) {
        end.message = "the worker crashed in another thread";
        end.status = 500;
        end.detail = "the server made a mistake; its log knows it by this instance";
        answer_and_log(&end);
        raise(crashed_elsewhere);
        return;
    }
    if (hung_pulse == 0 || hob__loop_pulse(loop) != hung_pulse)
        return;
    answer_and_log(&end);
    _exit(HOB_EXIT_HUNG);
}

void hob__crash_hung(uint64_t pulse) {
    hung_pulse = pulse;
    tgkill(getpid(), loop_thread, HANG_SIGNAL);
}

/* ---- The start ---- */

static bool give_stack(void) {
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, guard + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    return mprotect(memory, guard, PROT_NONE) == 0 &&
           sigaltstack(&(stack_t){.ss_sp = memory + guard, .ss_size = STACK}, NULL) == 0;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction before, action = {.sa_sigaction = handler, .sa_flags = SA_ONSTACK | SA_SIGINFO | flags};
    sigfillset(&action.sa_mask);
    if (sigaction(signal, NULL, &before) == 0 && (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN))
        sigaction(signal, &action, NULL);
}

bool hob__crash_install(const hob_loop *of) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    loop = of;
    loop_thread = gettid();
    if (!give_stack())
        return false;
    (void)backtrace(frames, 1); /* loads the unwinder, which a handler may not */
    hob__symbols_open();
    (void)hob__random(); /* the same of its pool */
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        handle(signals[i], on_crash, SA_RESETHAND);
    handle(HANG_SIGNAL, on_hang, SA_RESTART);
    return true;
}

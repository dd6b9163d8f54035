/* Which workers there are: starting and stopping them, rolling to a new generation, and what is done about deaths. */
#include "supervisor_private.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "observe/notify.h"
#include "supervised.h"

#define QUICK_DEATH (5 * HOB_S) /* a worker that lives shorter makes its slot wait longer */
#define HEALTHY (30 * HOB_S)    /* one that lives longer ends the waiting */
#define LOUD_FROM 3             /* quick deaths in a row: a crash loop */
#define FIRST_WAIT (100 * HOB_MS)
#define LONGEST_WAIT (10 * HOB_S)
#define KILL_AFTER_DRAIN (5 * HOB_S)
#define UNREADY_DRAIN (2 * HOB_S) /* one that never became ready has nothing to finish */

unsigned hob__supervisor_wanted(const hob_config *config) {
    cpu_set_t cores;
    if (config->workers > 0)
        return (unsigned)config->workers;
    int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return count < HOB_WORKERS_MOST ? (unsigned)count : HOB_WORKERS_MOST;
}

unsigned hob__supervisor_ready(const hob_supervisor *s) {
    unsigned ready = 0;
    for (unsigned i = 0; i < s->count; i++)
        ready += s->slots[i].child != NULL && s->slots[i].child->state == HOB_CHILD_READY;
    return ready;
}

unsigned hob__supervisor_looping(const hob_supervisor *s) {
    unsigned looping = 0;
    int64_t now = hob__clock_ns();
    for (unsigned i = 0; i < s->count; i++) {
        const hob_child *child = s->slots[i].child;
        bool healthy = child != NULL && now - child->started >= HEALTHY;
        looping += s->slots[i].quick_deaths >= LOUD_FROM && !healthy;
    }
    return looping;
}

/* ---- Starting and stopping one ---- */

static hob_child *start_child(hob_supervisor *s, unsigned number, unsigned generation) {
    char error[256];
    int listening = hob__listeners_of(&s->listeners, number, error);
    hob_child *child = listening >= 0 ? hob__child_start(&s->program, listening, number, generation) : NULL;
    if (child == NULL) {
        if (listening < 0)
            hob__log(HOB_LOG_ERROR, "worker %u cannot be started: %s", number, error);
        else
            hob__log(HOB_LOG_ERROR, "worker %u cannot be started: %s: %m", number, s->program.path);
        return NULL;
    }
    child->deadline = child->started + s->config.start_timeout;
    child->next = s->children;
    s->children = child;
    hob__log(HOB_LOG_DEBUG, "worker %u starts: pid %d, generation %u", number, (int)child->pid, generation);
    return child;
}

void hob__supervisor_signal(const hob_child *child, int signal) {
    if (kill(child->pid, signal) != 0)
        hob__log(HOB_LOG_ERROR, "worker %u (pid %d) cannot be sent signal %d: %m", child->number, (int)child->pid,
                 signal);
}

void hob__supervisor_drain(const hob_supervisor *s, hob_child *child) {
    if (child == NULL || child->state == HOB_CHILD_DRAINING)
        return;
    int64_t longest = child->state == HOB_CHILD_READY ? s->config.drain_timeout + KILL_AFTER_DRAIN : UNREADY_DRAIN;
    child->state = HOB_CHILD_DRAINING;
    child->deadline = hob__clock_ns() + longest;
    hob__supervisor_signal(child, SIGTERM);
}

/* A first death is made good at once; a slot whose workers keep dying waits, twice as long each time. */
static void plan_start(hob_worker_slot *slot, int64_t now, int64_t lived) {
    if (lived >= HEALTHY) {
        slot->wait = 0;
        slot->quick_deaths = 0;
    }
    slot->start_at = now + (int64_t)((double)slot->wait * hob__jitter(0.2));
    if (lived < QUICK_DEATH) {
        slot->quick_deaths++;
        slot->wait = slot->wait == 0 ? FIRST_WAIT : 2 * slot->wait;
        if (slot->wait > LONGEST_WAIT)
            slot->wait = LONGEST_WAIT;
    }
}

void hob__supervisor_start(hob_supervisor *s, unsigned number) {
    hob_worker_slot *slot = &s->slots[number];
    slot->child = start_child(s, number, s->generation);
    if (slot->child == NULL)
        plan_start(slot, hob__clock_ns(), 0);
}

/* ---- Rolling to a new generation ---- */

static void end_roll(hob_supervisor *s) {
    hob_service *service = &s->board->service;
    s->roll_count = 0;
    service->generation = s->generation;
    service->workers = s->count;
    service->rolls_ended++; /* last: whoever waits for it reads the others */
    hob__notify("READY=1");
}

void hob__supervisor_fail_roll(hob_supervisor *s, const char *why) {
    hob_service *service = &s->board->service;
    hob__log(HOB_LOG_ERROR, "reload failed, generation %u goes on: %s", s->generation, why);
    snprintf(service->roll_fault, sizeof(service->roll_fault), "%s", why);
    service->roll_failed = service->rolls_begun;
    for (unsigned i = 0; i < s->roll_count; i++) {
        hob_child *candidate = s->slots[i].candidate;
        s->slots[i].candidate = NULL;
        hob__supervisor_drain(s, candidate);
    }
    end_roll(s);
    hob__listeners_keep(&s->listeners, s->count);
}

void hob__supervisor_resize(hob_supervisor *s, unsigned count) {
    for (unsigned i = count; i < s->count; i++) {
        hob_child *child = s->slots[i].child;
        s->slots[i] = (hob_worker_slot){0};
        hob__supervisor_drain(s, child);
    }
    s->count = count;
    hob__listeners_keep(&s->listeners, count);
}

static void finish_roll(hob_supervisor *s) {
    s->generation = s->last_generation;
    for (unsigned i = 0; i < s->roll_count; i++) {
        hob_child *before = s->slots[i].child;
        s->slots[i] = (hob_worker_slot){.child = s->slots[i].candidate};
        hob__supervisor_drain(s, before);
    }
    hob__supervisor_resize(s, s->roll_count);
    hob__log(HOB_LOG_INFO, "reloaded: generation %u serves with %u workers", s->generation, s->count);
    end_roll(s);
}

void hob__supervisor_finish_roll(hob_supervisor *s) {
    for (unsigned i = 0; i < s->roll_count; i++)
        if (s->slots[i].candidate->state != HOB_CHILD_READY)
            return;
    if (s->roll_count > 0)
        finish_roll(s);
}

/* The new workers judge their configuration themselves; a supervisor of an older binary may not know all of it. What
 * it can read changes the number of workers, unless that was changed by signals and the file says what it said. */
static unsigned reread_config(hob_supervisor *s) {
    hob_config fresh;
    char error[256];
    if (!hob__config_load(&fresh, s->given_environment, error)) {
        hob__log(HOB_LOG_WARN, "the supervisor itself keeps its settings: %s", error);
        return s->count;
    }
    unsigned count = fresh.workers != s->config.workers ? hob__supervisor_wanted(&fresh) : s->count;
    s->config.workers = fresh.workers;
    s->config.start_timeout = fresh.start_timeout;
    if (fresh.drain_timeout > s->config.drain_timeout) /* those of the old generation have theirs */
        s->config.drain_timeout = fresh.drain_timeout;
    hob__config_free(&fresh);
    return count;
}

void hob__supervisor_roll(hob_supervisor *s) {
    unsigned count = reread_config(s);
    s->roll_again = false;
    s->board->service.rolls_begun++;
    hob__notify("RELOADING=1\nMONOTONIC_USEC=%" PRId64, hob__clock_ns() / HOB_US);
    hob__log(HOB_LOG_INFO, "reload: generation %u starts with %u workers", ++s->last_generation, count);
    while (s->roll_count < count) {
        hob_child *candidate = start_child(s, s->roll_count, s->last_generation);
        if (candidate == NULL) {
            hob__supervisor_fail_roll(s, "a worker could not be started, see the log");
            return;
        }
        s->slots[s->roll_count++].candidate = candidate;
    }
}

/* ---- What a worker says ---- */

static void child_is_ready(hob_child *child) {
    child->state = HOB_CHILD_READY;
    hob__log(HOB_LOG_INFO, "worker %u (pid %d, generation %u) is ready", child->number, (int)child->pid,
             child->generation);
}

/* It has served enough, or somebody else told it to stop. It need not have ended for another to take its place. */
static void child_retires(hob_supervisor *s, hob_child *child) {
    hob_worker_slot *slot = &s->slots[child->number];
    int64_t now = hob__clock_ns();
    if (child == slot->candidate) {
        slot->candidate = NULL;
        hob__supervisor_fail_roll(s, "a worker of the new generation stopped before all were ready");
    } else if (child == slot->child) {
        slot->child = NULL;
        plan_start(slot, now, now - child->started);
    }
    child->state = HOB_CHILD_DRAINING;
    child->deadline = now + s->config.drain_timeout + KILL_AFTER_DRAIN;
}

void hob__supervisor_hear(hob_supervisor *s) {
    for (hob_child *child = s->children; child != NULL; child = child->next) {
        char said = hob__child_hear(child);
        if (said == HOB_SUPERVISED_READY && child->state == HOB_CHILD_STARTING)
            child_is_ready(child);
        else if (said == HOB_SUPERVISED_DRAINING && child->state != HOB_CHILD_DRAINING)
            child_retires(s, child);
    }
    hob__supervisor_finish_roll(s);
}

/* ---- The end of one ---- */

static void slot_died(hob_supervisor *s, const hob_child *child, const char *how) {
    hob_worker_slot *slot = &s->slots[child->number];
    int64_t now = hob__clock_ns(), lived = now - child->started;
    slot->child = NULL;
    plan_start(slot, now, lived);
    s->board->service.deaths++;
    int64_t in_ms = (slot->start_at - now) / HOB_MS;
    if (slot->quick_deaths >= LOUD_FROM)
        hob__log(HOB_LOG_ERROR,
                 "CRASH LOOP: worker %u (pid %d) %s after %" PRId64
                 " ms, the %u. quick death in a row; the next starts in "
                 "%" PRId64 " ms; %u of %u workers are ready",
                 child->number, (int)child->pid, how, lived / HOB_MS, slot->quick_deaths, in_ms,
                 hob__supervisor_ready(s), s->count);
    else
        hob__log(HOB_LOG_ERROR, "worker %u (pid %d) %s after %" PRId64 " s; the next starts in %" PRId64 " ms",
                 child->number, (int)child->pid, how, hob__seconds(lived), in_ms);
}

static void child_ended(hob_supervisor *s, const hob_child *child, int status) {
    char how[128], why[256];
    const hob_worker_slot *slot = &s->slots[child->number];
    hob__wait_status_describe(status, how, sizeof(how));
    hob__slot_release_dead(s->board, child->pid);
    if (child == slot->candidate) {
        s->slots[child->number].candidate = NULL;
        snprintf(why, sizeof(why), "worker %u (pid %d) of generation %u %s before all were ready", child->number,
                 (int)child->pid, child->generation, how);
        hob__supervisor_fail_roll(s, why);
    } else if (child == slot->child && s->stop_signals == 0) {
        slot_died(s, child, how);
    } else {
        if (child == slot->child)
            s->slots[child->number].child = NULL;
        hob__log(status == 0 ? HOB_LOG_INFO : HOB_LOG_WARN, "worker %u (pid %d, generation %u) is done: it %s",
                 child->number, (int)child->pid, child->generation, how);
    }
}

void hob__supervisor_reap(hob_supervisor *s) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        hob_child **link = &s->children;
        while (*link != NULL && (*link)->pid != pid)
            link = &(*link)->next;
        hob_child *child = *link;
        if (child == NULL)
            continue; /* one that our caller left to us */
        *link = child->next;
        child_ended(s, child, status);
        hob__child_free(child);
    }
}

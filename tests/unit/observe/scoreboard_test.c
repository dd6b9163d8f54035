#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "observe/scoreboard.h"

#define APPLICATION "board-test"
#define CROWD 50

static char directory[64];
static char path[128]; /* of the scoreboard of a test, in it */
static char found[PATH_MAX];

static int set_up(void **state) {
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/hob-scoreboard-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/board", directory);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(directory); /* nothing unfinished is left there */
}

static hob_scoreboard *open_board(const char *configured, const char *application) {
    hob_scoreboard *board = hob__scoreboard_open(configured, application, -1, found);
    assert_non_null(board);
    assert_string_equal(found, configured);
    return board;
}

static hob_slot *claim(hob_scoreboard *board) {
    hob_slot *slot = hob__slot_claim(board, 0);
    assert_non_null(slot);
    return slot;
}

static ino_t inode_of(const char *name) {
    struct stat status;
    assert_int_equal(lstat(name, &status), 0);
    return status.st_ino;
}

static void write_file(const char *name, const char *bytes, size_t size) {
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* ---- Other processes ---- */

typedef struct other {
    pid_t pid;
    int wake; /* closed: it ends */
    int said;
} other;

/* A process that does its work, says a number, and waits. */
static other start(int64_t (*work)(void)) {
    int wake[2], said[2];
    assert_int_equal(pipe2(wake, O_CLOEXEC), 0);
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char none;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(wake[1]);
        int64_t number = work();
        bool written = write(said[1], &number, sizeof(number)) == (ssize_t)sizeof(number);
        _exit(written && read(wake[0], &none, 1) == 0 ? 0 : 1);
    }
    close(wake[0]);
    close(said[1]);
    return (other){pid, wake[1], said[0]};
}

static int64_t hear(const other *other) {
    int64_t number = -1;
    assert_int_equal(read(other->said, &number, sizeof(number)), sizeof(number));
    return number;
}

static void end(const other *other) {
    kill(other->pid, SIGKILL);
    assert_int_equal(waitpid(other->pid, NULL, 0), other->pid);
    close(other->wake);
    close(other->said);
}

/* The number of the slot it has. */
static int64_t open_and_claim(void) {
    hob_scoreboard *board = hob__scoreboard_open(path, APPLICATION, -1, found);
    hob_slot *slot = board != NULL ? hob__slot_claim(board, 7) : NULL;
    return slot != NULL ? slot - board->slots : -1;
}

/* ---- Slots ---- */

static void test_claim_and_release(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    assert_null(hob__slot_next(board, NULL));
    hob_slot *slot = hob__slot_claim(board, 3);
    assert_non_null(slot);
    assert_int_equal(hob__owner_pid(slot->owner), getpid());
    assert_int_equal(slot->state, HOB_WORKER_STARTING);
    assert_int_equal(slot->generation, 3);
    assert_true(slot->rss > 100000 && slot->started_us > 0 && slot->seen_us >= slot->started_us);
    assert_ptr_equal(hob__slot_next(board, NULL), slot);
    assert_null(hob__slot_next(board, slot));
    hob__slot_release(slot);
    assert_null(hob__slot_next(board, NULL));
    assert_int_equal(slot->state, HOB_WORKER_GONE);
    hob__scoreboard_close(board);
}

static void test_counters_outlive_their_worker(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    hob_slot *slot = claim(board);
    slot->counters.requests += 10;
    slot->counters.failed += 2;
    slot->in_flight = 5;
    slot->connections = 6;
    hob__slot_release(slot);
    assert_ptr_equal(claim(board), slot);
    assert_int_equal(slot->in_flight, 0);
    assert_int_equal(slot->connections, 0);
    slot->counters.requests += 1;
    slot->in_flight = 1;
    slot->state = HOB_WORKER_READY;
    assert_int_equal(slot->counters.requests - slot->base.requests, 1);
    assert_int_equal(slot->counters.failed - slot->base.failed, 0);
    hob_totals totals = hob__scoreboard_totals(board);
    assert_int_equal(totals.requests, 11);
    assert_int_equal(totals.failed, 2);
    assert_int_equal(totals.workers, 1);
    assert_int_equal(totals.ready, 1);
    assert_int_equal(totals.in_flight, 1);
    hob__scoreboard_close(board);
}

/* All at once, on a file that nobody has made yet. */
static void test_a_crowd_claims_different_slots(void **state) {
    (void)state;
    other crowd[CROWD];
    bool taken[HOB_SCOREBOARD_SLOTS] = {false};
    for (int i = 0; i < CROWD; i++)
        crowd[i] = start(open_and_claim);
    for (int i = 0; i < CROWD; i++) {
        int64_t number = hear(&crowd[i]);
        assert_in_range(number, 0, HOB_SCOREBOARD_SLOTS - 1);
        assert_false(taken[number]);
        taken[number] = true;
    }
    hob_scoreboard *board = open_board(path, APPLICATION);
    assert_int_equal(hob__scoreboard_totals(board).workers, CROWD);
    for (int i = 0; i < CROWD; i++)
        end(&crowd[i]);
    assert_int_equal(hob__scoreboard_totals(board).workers, 0);
    hob__scoreboard_close(board);
}

/* The slots of the dead are fought for. */
static void test_a_crowd_takes_over_from_the_dead(void **state) {
    (void)state;
    other first[CROWD], second[CROWD];
    bool taken[CROWD] = {false};
    for (int i = 0; i < CROWD; i++)
        first[i] = start(open_and_claim);
    for (int i = 0; i < CROWD; i++)
        assert_in_range(hear(&first[i]), 0, HOB_SCOREBOARD_SLOTS - 1);
    for (int i = 0; i < CROWD; i++)
        end(&first[i]);
    for (int i = 0; i < CROWD; i++)
        second[i] = start(open_and_claim);
    for (int i = 0; i < CROWD; i++) {
        int64_t number = hear(&second[i]);
        assert_in_range(number, 0, CROWD - 1);
        assert_false(taken[number]);
        taken[number] = true;
    }
    for (int i = 0; i < CROWD; i++)
        end(&second[i]);
}

static void test_a_dead_owner(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    other dead = start(open_and_claim);
    hob_slot *slot = &board->slots[hear(&dead)];
    hob_owner owner = slot->owner;
    assert_int_equal(hob__owner_pid(owner), dead.pid);
    assert_true(hob__owner_alive(owner));
    assert_false(hob__owner_alive(owner + (UINT64_C(1) << 24))); /* the same pid, started at another time */
    kill(dead.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)dead.pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    assert_false(hob__owner_alive(owner)); /* a zombie */
    assert_null(hob__slot_next(board, NULL));
    end(&dead);
    hob__slot_release_dead(board, dead.pid);
    assert_int_equal(slot->owner, 0);
    hob__scoreboard_close(board);
}

static void test_releasing_the_dead_leaves_the_living(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    hob_slot *slot = claim(board);
    hob__slot_release_dead(board, getppid());
    assert_ptr_equal(hob__slot_next(board, NULL), slot);
    hob__scoreboard_close(board);
}

static void test_all_slots_taken(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    hob_owner parent = hob__owner_of(getppid());
    assert_true(parent != 0);
    for (int i = 0; i < HOB_SCOREBOARD_SLOTS; i++)
        board->slots[i].owner = parent;
    assert_null(hob__slot_claim(board, 0));
    board->slots[HOB_SCOREBOARD_SLOTS - 1].owner = 0;
    assert_ptr_equal(hob__slot_claim(board, 0), &board->slots[HOB_SCOREBOARD_SLOTS - 1]);
    hob__scoreboard_close(board);
}

static int64_t rename_itself(void) {
    prctl(PR_SET_NAME, "a) Z 1 2 3");
    return 0;
}

static void test_a_process_name_does_not_deceive(void **state) {
    (void)state;
    other named = start(rename_itself);
    hear(&named);
    hob_owner owner = hob__owner_of(named.pid);
    assert_int_equal(hob__owner_pid(owner), named.pid);
    assert_true(hob__owner_alive(owner));
    end(&named);
    assert_int_equal(hob__owner_of(named.pid), 0);
}

/* A worker that died owing the cache an invalidation leaves the debt to all. */
static void test_what_a_dead_worker_owed(void **state) {
    (void)state;
    hob_scoreboard *board = open_board(path, APPLICATION);
    other dead = start(open_and_claim);
    size_t number = (size_t)hear(&dead);
    assert_int_equal(hob__owner_pid(board->cache.owners[number]), dead.pid);
    hob_cache_debts *debts = hob__cache_shared_server(&board->cache, "localhost", 11211);
    assert_non_null(debts);
    hob__cache_debts_enter(debts, number);
    end(&dead);
    hob_slot *slot = claim(board);
    assert_int_equal(hob__slot_number(board, slot), number);
    assert_int_equal(hob__owner_pid(board->cache.owners[number]), getpid());
    assert_true(hob__cache_debts_any(debts));
    assert_int_equal(debts->orphaned, 1);
    hob__scoreboard_close(board);
}

/* ---- The file ---- */

static void test_two_openings_share(void **state) {
    (void)state;
    hob_scoreboard *a = open_board(path, APPLICATION), *b = open_board(path, APPLICATION);
    hob_slot *slot = claim(a);
    slot->counters.requests = 42;
    assert_int_equal(b->slots[slot - a->slots].counters.requests, 42);
    hob__scoreboard_close(a);
    hob__scoreboard_close(b);
}

static void test_what_does_not_fit_is_replaced(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } FILES[] = {{"", 0}, {"hobboard", 8}, {"hobboard0123456789abcdef01234567", 32}};
    for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
        char content[64];
        unlink(path);
        write_file(path, FILES[i].bytes, FILES[i].size);
        FILE *before = fopen(path, "r");
        assert_non_null(before);
        hob_scoreboard *board = open_board(path, APPLICATION);
        assert_non_null(claim(board));
        assert_int_equal(fread(content, 1, sizeof(content), before), FILES[i].size); /* who has it open keeps it */
        assert_memory_equal(content, FILES[i].bytes, FILES[i].size);
        fclose(before);
        hob__scoreboard_close(board);
    }
}

static void spoil_layout(hob_scoreboard *board) {
    board->layout--;
}

static void spoil_size(hob_scoreboard *board) {
    board->size -= 8;
}

static void spoil_application(hob_scoreboard *board) {
    board->application[0]++;
}

static void test_an_older_layout_is_replaced_not_truncated(void **state) {
    (void)state;
    void (*const spoil[])(hob_scoreboard *) = {spoil_layout, spoil_size, spoil_application};
    for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
        hob_scoreboard *old = open_board(path, APPLICATION);
        ino_t inode = inode_of(path);
        hob_slot *slot = claim(old);
        slot->counters.requests = 99;
        spoil[i](old);
        hob_scoreboard *fresh = open_board(path, APPLICATION);
        assert_true(inode_of(path) != inode);
        assert_int_equal(hob__scoreboard_totals(fresh).requests, 0);
        slot->counters.requests++; /* its mapping is as large as it was */
        old->slots[HOB_SCOREBOARD_SLOTS - 1].in_flight = 1;
        assert_int_equal(slot->counters.requests, 100);
        hob__scoreboard_close(old);
        hob__scoreboard_close(fresh);
    }
}

static void test_a_crowd_replaces_once(void **state) {
    (void)state;
    other crowd[CROWD];
    bool taken[HOB_SCOREBOARD_SLOTS] = {false};
    write_file(path, "hobboard", 8);
    for (int i = 0; i < CROWD; i++)
        crowd[i] = start(open_and_claim);
    for (int i = 0; i < CROWD; i++) {
        int64_t number = hear(&crowd[i]); /* all different: all have the same scoreboard */
        assert_in_range(number, 0, HOB_SCOREBOARD_SLOTS - 1);
        assert_false(taken[number]);
        taken[number] = true;
    }
    for (int i = 0; i < CROWD; i++)
        end(&crowd[i]);
}

static void test_what_cannot_be_a_scoreboard(void **state) {
    (void)state;
    char target[160], configured[PATH_MAX];
    snprintf(target, sizeof(target), "%s/target", directory);
    write_file(target, "precious", 8);
    assert_int_equal(symlink(target, path), 0);
    const char *const names[] = {path, target, directory, "/nonexistent/board", "/dev/null"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(configured, sizeof(configured), "%s", names[i]);
        hob_scoreboard *board = hob__scoreboard_open(configured, APPLICATION, -1, found);
        assert_non_null(board); /* one of its own */
        assert_string_equal(found, "");
        assert_non_null(hob__slot_claim(board, 0));
        hob__scoreboard_close(board);
    }
    struct stat status;
    assert_int_equal(stat(target, &status), 0);
    assert_int_equal(status.st_size, 8);
    unlink(target);
}

static void opened_for(int fd, const char *expected) {
    hob_scoreboard *board = hob__scoreboard_open(NULL, APPLICATION, fd, found);
    assert_non_null(board);
    assert_string_equal(found, expected);
    assert_int_equal(access(expected, F_OK), 0);
    hob__scoreboard_close(board);
    unlink(expected);
}

static int bound(const void *address, socklen_t size, sa_family_t family) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_its_place_is_beside_the_socket(void **state) {
    (void)state;
    char expected[200];
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    snprintf(local.sun_path, sizeof(local.sun_path), "%s/s", directory);
    int fd = bound(&local, sizeof(local), AF_UNIX);
    snprintf(expected, sizeof(expected), "%s/s.scoreboard", directory);
    opened_for(fd, expected);
    close(fd);
    unlink(local.sun_path);
}

static void test_its_place_without_a_socket_file(void **state) {
    (void)state;
    char expected[200];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(in);
    int fd = bound(&in, sizeof(in), AF_INET);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    snprintf(expected, sizeof(expected), "/dev/shm/" APPLICATION "-%u-%u.scoreboard", geteuid(), ntohs(in.sin_port));
    opened_for(fd, expected);
    close(fd);
    fd = bound(&abstract, sizeof(sa_family_t), AF_UNIX); /* the kernel gives it a name */
    snprintf(expected, sizeof(expected), "/dev/shm/" APPLICATION "-%u.scoreboard", geteuid());
    opened_for(fd, expected);
    opened_for(-1, expected);
    close(fd);
}

/* Where a socket can be, but a file cannot. */
static void test_its_place_when_the_socket_has_a_long_name(void **state) {
    (void)state;
    char expected[400], dashed[128];
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    memset(local.sun_path, 'x', sizeof(local.sun_path));
    memcpy(local.sun_path, directory, strlen(directory));
    local.sun_path[strlen(directory)] = '/';
    int fd = bound(&local, sizeof(local), AF_UNIX); /* as long as it may be, without a NUL */
    snprintf(dashed, sizeof(dashed), "%.*s", (int)sizeof(local.sun_path), local.sun_path);
    snprintf(expected, sizeof(expected), "%s.scoreboard", dashed);
    opened_for(fd, expected);
    close(fd);
    unlink(dashed);
}

static void test_viewing(void **state) {
    (void)state;
    char error[256];
    assert_null(hob__scoreboard_view(path, APPLICATION, error));
    assert_non_null(strstr(error, path));
    write_file(path, "hobboard", 8);
    assert_null(hob__scoreboard_view(path, APPLICATION, error));
    assert_non_null(strstr(error, "not a scoreboard"));
    hob_scoreboard *board = open_board(path, APPLICATION);
    assert_null(hob__scoreboard_view(path, "another", error));
    const hob_scoreboard *view = hob__scoreboard_view(path, APPLICATION, error);
    assert_non_null(view);
    hob_slot *slot = claim(board);
    assert_int_equal(hob__owner_pid(hob__slot_next(view, NULL)->owner), getpid());
    hob__slot_release(slot);
    assert_null(hob__slot_next(view, NULL));
    hob__scoreboard_close(view);
    hob__scoreboard_close(board);
}

static void test_names_of_states(void **state) {
    (void)state;
    assert_string_equal(hob__worker_state_name(HOB_WORKER_GONE), "gone");
    assert_string_equal(hob__worker_state_name(HOB_WORKER_DRAINING), "draining");
    assert_string_equal(hob__worker_state_name(4), "unknown");
    assert_string_equal(hob__worker_state_name(UINT32_MAX), "unknown");
}

int main(void) {
    if (!hob__log_open("/dev/null", HOB_LOG_INFO))
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_claim_and_release),
        TEST(test_counters_outlive_their_worker),
        TEST(test_a_crowd_claims_different_slots),
        TEST(test_a_crowd_takes_over_from_the_dead),
        TEST(test_a_dead_owner),
        TEST(test_releasing_the_dead_leaves_the_living),
        TEST(test_all_slots_taken),
        TEST(test_what_a_dead_worker_owed),
        TEST(test_a_process_name_does_not_deceive),
        TEST(test_two_openings_share),
        TEST(test_what_does_not_fit_is_replaced),
        TEST(test_an_older_layout_is_replaced_not_truncated),
        TEST(test_a_crowd_replaces_once),
        TEST(test_what_cannot_be_a_scoreboard),
        TEST(test_its_place_is_beside_the_socket),
        TEST(test_its_place_without_a_socket_file),
        TEST(test_its_place_when_the_socket_has_a_long_name),
        TEST(test_viewing),
        TEST(test_names_of_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

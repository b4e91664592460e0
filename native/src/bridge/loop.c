/* loop.c - the bridge's one loop: rounds over the sessions, then sleep, until it should leave. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spin.h"
#include "bridge/bridge.h"
#include "program/run.h"
#include "wire/channel.h"

#define RESCUE_MS      1000
#define SWEEP_MS       10
#define RINGING_MS     50
#define LOG_WINDOW_NS  TDI_NS_PER_S
#define SHOW_MS        2 /* until counters are shown that it was too early to show */
#define WORKERS_END_NS TDI_NS_PER_S
/* A busy bridge looks at sockets and signals once in so many rounds. */
#define ROUNDS_A_LOOK    32
#define NEWCOMERS_A_LOOK 2 /* the listener, and one HELLO */
#define DOOR_REST        100u
#define DOOR_REST_NS_MAX (50 * TDI_NS_PER_MS)
#define UNASKED_MAX      1024u /* doorbells beyond those we asked for */

static int must_stop_waiting(const tdi_job *job, void *context)
{
    (void)context;
    if (job->perform == td_program_perform)
        return td_program_job_is_stale(job);
    const tdi_run *run = (const tdi_run *)((const uint8_t *)job - offsetof(tdi_run, job));
    return tdi_run_wish(run) != TD_OK;
}

static uint32_t finish_jobs(tdi_job *job, bool never_ran)
{
    uint32_t finished = 0;
    while (job != NULL) {
        if (job->perform == td_program_perform) {
            tdi_job *const ended = job;
            job = job->next;
            td_program_finished(ended, never_ran); /* its program goes on in this round */
            finished++;
            continue;
        }
        tdi_run *run = (tdi_run *)((uint8_t *)job - offsetof(tdi_run, job));
        tdi_session *session = run->session;
        job = job->next;
        if (never_ran)
            run->status = tdi_run_wish(run);
        session->running--;
        tdi_answer_run(run);
        if (!session->ended)
            tdi_answers_show(session);
        finished++;
    }
    return finished;
}

/* Calls that wait for a thread, and are cancelled, late, or orphaned. */
static void sweep(tdi_bridge *bridge)
{
    finish_jobs(tdi_pool_sweep(bridge->pool, must_stop_waiting, NULL), true);
}

static uint32_t round_of_all(tdi_bridge *bridge)
{
    uint32_t work = finish_jobs(tdi_pool_take(bridge->pool), false);
    work += tdi_programs_go_on(bridge);
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->ended)
            continue;
        const bool waited = session->waiting_first != NULL;
        if (!waited && session->role == TDI_ROLE_ORCHESTRATOR &&
            session->registry_seen != bridge->registry.version)
            tdi_events_send(session);
        if (tdi_answers_pump(session) || session->role == TDI_ROLE_AGENT)
            work += tdi_session_round(session) + waited;
        if (waited && !session->ended)
            tdi_answers_show(session);
    }
    tdi_batches_go_on(bridge);
    tdi_answers_show_all(bridge);
    return work;
}

/* Show every ticket, then look once more. Returns 1 when there is something to do after all. */
static int arm_all(tdi_bridge *bridge)
{
    int work = 0;
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->ended)
            continue;
        if (session->waiting_first != NULL) {
            tdi_bell_arm(&session->space);
            work |= tdi_answers_pump(session);
            tdi_answers_show(session);
        }
        if (session->waiting_first == NULL || session->role == TDI_ROLE_AGENT) {
            tdi_bell_arm(&session->sleep);
            work |= tdi_ring_waiting(&session->rx);
        }
    }
    return work;
}

static void disarm_all(tdi_bridge *bridge)
{
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->ended)
            continue;
        tdi_bell_disarm(&session->space);
        tdi_bell_disarm(&session->sleep);
    }
}

static void parent_speaks(tdi_bridge *bridge)
{
    char bytes[64];
    const ssize_t got = read(bridge->options.spawned_by_fd, bytes, sizeof bytes);
    if (got > 0)
        return;
    bridge->parent_gone = true;
    epoll_ctl(bridge->epoll_fd, EPOLL_CTL_DEL, bridge->options.spawned_by_fd, NULL);
}

static void signal_came(tdi_bridge *bridge)
{
    struct signalfd_siginfo about;
    while (read(bridge->signal_fd, &about, sizeof about) == (ssize_t)sizeof about)
        bridge->stopping = true;
}

/* A peer rings at most once for each ticket we showed, and each one shown or taken back moved its
 * value. More wakes us for nothing, and a flood would do little else. */
static void hear_bell(tdi_session *session)
{
    const uint32_t taken = (uint32_t)tdi_bell_drain(session->bell_in_fd);
    const uint32_t values = session->sleep.value + session->space.value;
    const uint32_t asked = values - session->bells_asked;
    session->bells_asked = values;
    session->counters.doorbells_taken += taken;
    if (taken > asked)
        session->bells_unasked += taken - asked;
    if (session->bells_unasked > UNASKED_MAX)
        tdi_session_end(session, "it rings without being asked");
}

static bool set_door(tdi_bridge *bridge, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = &bridge->door};
    return epoll_ctl(bridge->epoll_fd, EPOLL_CTL_MOD, bridge->door_fd, &event) == 0;
}

static void handle_event(tdi_bridge *bridge, const tdi_source *source);

/* A session takes a while to make, and a crowd at the door must not keep us from the calls of
 * those inside: while there are calls, the door is shut for DOOR_REST times as long as we stood
 * there, so that few of them meet it. */
static void look_at_the_door(tdi_bridge *bridge)
{
    struct epoll_event events[NEWCOMERS_A_LOOK];
    const uint64_t from_ns = tdi_now_ns();
    const int total = epoll_wait(bridge->door_fd, events, NEWCOMERS_A_LOOK, 0);
    for (int i = 0; i < total; i++)
        handle_event(bridge, events[i].data.ptr);
    const bool busy = bridge->worked != bridge->worked_at_door;
    bridge->worked_at_door = bridge->worked;
    if (!busy)
        return;
    const uint64_t now_ns = tdi_now_ns();
    const uint64_t rest_ns = (now_ns - from_ns) * DOOR_REST;
    bridge->door_opens_ns = now_ns + (rest_ns < DOOR_REST_NS_MAX ? rest_ns : DOOR_REST_NS_MAX);
    set_door(bridge, 0);
}

static void handle_event(tdi_bridge *bridge, const tdi_source *source)
{
    switch (source->kind) {
    case TDI_SOURCE_DOOR:
        look_at_the_door(bridge);
        break;
    case TDI_SOURCE_LISTENER:
        tdi_admit_waiting(bridge);
        break;
    case TDI_SOURCE_GUEST: {
        tdi_guest *guest = source->owner;
        if (guest->fd >= 0)
            tdi_guest_speaks(bridge, guest);
        break;
    }
    case TDI_SOURCE_SOCKET: {
        tdi_session *session = source->owner;
        if (!session->ended)
            tdi_session_hears(session);
        break;
    }
    case TDI_SOURCE_BELL: {
        tdi_session *session = source->owner;
        if (!session->ended)
            hear_bell(session);
        break;
    }
    case TDI_SOURCE_POOL: /* the next round takes what finished */
        break;
    case TDI_SOURCE_PARENT:
        parent_speaks(bridge);
        break;
    case TDI_SOURCE_SIGNAL:
        signal_came(bridge);
        break;
    }
}

/* Returns how many events there were. Sessions that end here are freed by the next reap, never
 * between two events of one batch. */
static int look(tdi_bridge *bridge, int timeout_ms)
{
    struct epoll_event events[64];
    if (bridge->door_opens_ns != 0) {
        /* A door that does not open is tried again: nobody else would ever come in. */
        if (tdi_now_ns() >= bridge->door_opens_ns && set_door(bridge, EPOLLIN))
            bridge->door_opens_ns = 0;
        else if (timeout_ms != 0)
            timeout_ms = 1;
    }
    const int total = epoll_wait(bridge->epoll_fd, events, 64, timeout_ms);
    for (int i = 0; i < total; i++)
        handle_event(bridge, events[i].data.ptr);
    return total;
}

static uint32_t sessions_with_frames(tdi_bridge *bridge, uint64_t count)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->ended ||
            (session->waiting_first != NULL && session->role == TDI_ROLE_ORCHESTRATOR) ||
            !tdi_ring_waiting(&session->rx))
            continue;
        session->counters.rescues += count;
        total++;
    }
    return total;
}

/* The timed look, which exists for one bug: a frame is there, yet nobody rang. A peer that has
 * published and is about to ring is no such bug, so it is given time. */
static void rescue(tdi_bridge *bridge)
{
    if (sessions_with_frames(bridge, 0) > 0 && look(bridge, RINGING_MS) == 0)
        sessions_with_frames(bridge, 1);
}

static int guests_total(const tdi_bridge *bridge)
{
    int total = 0;
    for (int i = 0; i < TDI_GUESTS_MAX; i++)
        total += bridge->guests[i].fd >= 0;
    return total;
}

/* A bridge started by hand stays. One that was spawned leaves with its spawner, or a while after
 * its last orchestrator; while one is connected it stays in any case. */
static bool should_leave(tdi_bridge *bridge, uint64_t now_ns)
{
    if (bridge->stopping)
        return true;
    if (bridge->options.spawned_by_fd < 0 || bridge->orchestrators_total > 0)
        return false;
    if (bridge->parent_gone)
        return true;
    return bridge->had_session && guests_total(bridge) == 0 &&
           now_ns - bridge->alone_since_ns >= bridge->options.linger_ns;
}

static int sleep_ms(tdi_bridge *bridge, uint64_t now_ns)
{
    if (tdi_pool_queued(bridge->pool) > 0 || bridge->relays_total > 0 || bridge->batches != NULL)
        return SWEEP_MS;
    if (bridge->orchestrators_total == 0 && bridge->options.spawned_by_fd >= 0 &&
        bridge->had_session) {
        const uint64_t left_at = bridge->alone_since_ns + bridge->options.linger_ns;
        const uint64_t left_ms = left_at > now_ns ? (left_at - now_ns) / TDI_NS_PER_MS + 1 : 0;
        return left_ms < RESCUE_MS ? (int)left_ms : RESCUE_MS;
    }
    return bridge->sessions_total > 0 || guests_total(bridge) > 0 ? RESCUE_MS : -1;
}

static void housekeeping(tdi_bridge *bridge, uint64_t now_ns)
{
    tdi_count_show(bridge, now_ns);
    tdi_guests_expire(bridge, now_ns);
    tdi_relays_sweep(bridge, now_ns);
    if (tdi_pool_queued(bridge->pool) > 0)
        sweep(bridge);
    if (now_ns - bridge->log_window_ns >= LOG_WINDOW_NS) {
        bridge->log_window_ns = now_ns;
        atomic_store_explicit(&bridge->log_lines, 0, memory_order_relaxed);
    }
    tdi_sessions_reap(bridge);
}

static int stop(tdi_bridge *bridge)
{
    tdi_close_all(&bridge->listener_fd, 1); /* nobody new */
    for (int i = 0; i < TDI_GUESTS_MAX; i++)
        tdi_close_all(&bridge->guests[i].fd, 1);
    for (uint32_t i = 0; i < bridge->sessions_high; i++)
        if (bridge->sessions[i] != NULL)
            tdi_session_end(bridge->sessions[i], "the bridge was told to stop");
    tdi_answers_show_all(bridge);
    const uint64_t deadline_ns = tdi_now_ns() + WORKERS_END_NS;
    sweep(bridge); /* all of them: their sessions have ended */
    while (bridge->sessions_total > 0 && tdi_now_ns() < deadline_ns) {
        finish_jobs(tdi_pool_take(bridge->pool), false);
        tdi_programs_go_on(bridge);
        tdi_sessions_reap(bridge);
        if (bridge->sessions_total > 0)
            look(bridge, 1);
    }
    return bridge->sessions_total == 0 && tdi_pool_destroy(bridge->pool, deadline_ns) == TD_OK;
}

int tdi_bridge_serve(tdi_bridge *bridge)
{
    tdi_spin spin = {0};
    uint32_t rounds = 0;
    for (;;) {
        if (round_of_all(bridge) > 0) {
            bridge->worked++;
            tdi_spin_end(&spin);
            if (++rounds % ROUNDS_A_LOOK == 0) {
                look(bridge, 0);
                housekeeping(bridge, tdi_now_ns());
                if (bridge->stopping)
                    break;
            }
            continue;
        }
        const uint64_t now_ns = tdi_now_ns();
        if (bridge->sessions_total > 0 && tdi_spin_once(&spin, now_ns, bridge->options.spin_ns))
            continue;
        housekeeping(bridge, now_ns);
        if (should_leave(bridge, now_ns))
            break;
        const int work = arm_all(bridge);
        int limit_ms = work ? 0 : sleep_ms(bridge, now_ns);
        if (!tdi_count_show(bridge, now_ns) && (limit_ms < 0 || limit_ms > SHOW_MS))
            limit_ms = SHOW_MS; /* soon, and then for long */
        if (look(bridge, limit_ms) == 0 && !work)
            rescue(bridge);
        disarm_all(bridge);
        housekeeping(bridge, tdi_now_ns());
        tdi_spin_end(&spin);
        if (should_leave(bridge, tdi_now_ns()))
            break;
    }
    return stop(bridge);
}

/* session.c - a session's memory, doorbells and end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/blob.h"
#include "wire/channel.h"

/* In huge pages where they were asked for and are to be had. */
static td_status make_region(tdi_bridge *bridge, tdi_region_kind kind, uint64_t ring_bytes,
                             uint32_t slots, int *fd, tdi_region *out, tdi_error *error)
{
    td_status status = TD_ERR_SYSTEM;
    if (bridge->options.huge_pages && ring_bytes >= TDI_HUGE_PAGE_BYTES) {
        tdi_error refusal = {""};
        status = tdi_region_create_huge(kind, ring_bytes, slots, fd, out, &refusal);
        if (status != TD_OK)
            tdi_note(&bridge->notes, "huge pages: asked for, refused: %s", refusal.text);
    }
    if (status != TD_OK)
        status = tdi_region_create(kind, ring_bytes, slots, fd, out, error);
    if (status == TD_OK && bridge->options.locked)
        tdi_wish_locked(out->base, out->bytes, &bridge->notes);
    return status;
}

static td_status make_rings(tdi_session *session, uint64_t ring_bytes, int *memfds,
                            tdi_error *error)
{
    const bool agent = session->role == TDI_ROLE_AGENT;
    td_status status = make_region(session->bridge, agent ? TDI_REGION_AGENT_DOWN : TDI_REGION_DOWN,
                                   ring_bytes, session->slots, &memfds[0], &session->down, error);
    if (status == TD_OK)
        status = make_region(session->bridge, agent ? TDI_REGION_AGENT_UP : TDI_REGION_UP,
                             ring_bytes, session->slots, &memfds[1], &session->up, error);
    if (status != TD_OK)
        return status;
    tdi_control *ours = session->down.control, *theirs = session->up.control;
    tdi_ring_tx_init(&session->tx, session->down.data, ring_bytes, &ours->tail, &theirs->head);
    tdi_ring_rx_init(&session->rx, session->up.data, ring_bytes, &theirs->tail, &ours->head);
    session->frames_rope.ticket = &theirs->sleep_ticket;
    session->space_rope.ticket = &theirs->space_ticket;
    session->sleep.shared = &ours->sleep_ticket;
    session->space.shared = &ours->space_ticket;
    return TD_OK;
}

/* Two pipes: ours is ends[0] of the first and ends[1] of the second; the peer gets the rest. */
static td_status make_bells(tdi_session *session, int *peer_ends, tdi_error *error)
{
    int to_peer[2], to_us[2];
    if (pipe2(to_peer, O_CLOEXEC | O_NONBLOCK) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "pipe: %s", strerror(errno));
    session->bell_out_fd = to_peer[1];
    peer_ends[0] = to_peer[0];
    if (pipe2(to_us, O_CLOEXEC | O_NONBLOCK) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "pipe: %s", strerror(errno));
    session->bell_in_fd = to_us[0];
    peer_ends[1] = to_us[1];
    return TD_OK;
}

static td_status watch(tdi_bridge *bridge, int fd, tdi_source *source, tdi_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(bridge->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "epoll: %s", strerror(errno));
    return TD_OK;
}

static void free_session(tdi_session *session)
{
    tdi_close_all(&session->socket_fd, 1);
    tdi_close_all(&session->bell_in_fd, 1);
    tdi_close_all(&session->bell_out_fd, 1);
    tdi_answers_drop(session);
    tdi_region_unmap(&session->down);
    tdi_region_unmap(&session->up);
    free(session->inbound.body);
    free(session->slot_busy);
    tdi_shelf_free(session);
    free(session->relays);
    free(session->free_relays);
    free(session);
}

td_status tdi_session_create(tdi_bridge *bridge, int socket_fd, int64_t pid, const tdi_hello *hello,
                             tdi_session **out, int *fds, tdi_error *error)
{
    uint32_t place = 0;
    while (place < TDI_SESSIONS_MAX && bridge->sessions[place] != NULL)
        place++;
    if (place == TDI_SESSIONS_MAX)
        return tdi_fail(error, TD_BUSY, "all %d sessions are taken", TDI_SESSIONS_MAX);
    tdi_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for a session");
    session->bridge = bridge;
    session->socket_fd = session->bell_in_fd = session->bell_out_fd = -1;
    session->socket_source = (tdi_source){TDI_SOURCE_SOCKET, session};
    session->bell_source = (tdi_source){TDI_SOURCE_BELL, session};
    session->role = hello->role;
    session->pid = pid;
    memcpy(session->name, hello->name.data, hello->name.bytes);
    session->slots = hello->role == TDI_ROLE_AGENT ? TDI_SLOTS_AGENT : TDI_SLOTS_ORCHESTRATOR;
    session->registry_seen = bridge->registry.version;
    session->features = bridge->options.blobs > 0 ? hello->features_offered & TDI_FEATURE_BLOBS : 0;
    for (int i = 0; i < TDI_CHANNEL_FDS; i++)
        fds[i] = -1;
    td_status status =
        tdi_budget_take(&bridge->budget, hello->role == TDI_ROLE_AGENT, &session->share, error);
    if (status != TD_OK) {
        free_session(session);
        return status;
    }
    session->slot_busy = calloc(session->slots, 1);
    if (session->slot_busy == NULL)
        status = tdi_fail(error, TD_ERR_MEMORY, "no memory for %u slots", session->slots);
    if (status == TD_OK)
        status = make_rings(session, session->share.ring_bytes, fds, error);
    if (status == TD_OK)
        status = make_bells(session, fds + 2, error);
    if (status == TD_OK)
        status = watch(bridge, session->bell_in_fd, &session->bell_source, error);
    if (status == TD_OK)
        status = watch(bridge, socket_fd, &session->socket_source, error);
    if (status == TD_OK && hello->role == TDI_ROLE_AGENT)
        status = tdi_agent_join(session, hello, error);
    if (status != TD_OK) {
        epoll_ctl(bridge->epoll_fd, EPOLL_CTL_DEL, socket_fd, NULL);
        tdi_close_all(fds, TDI_CHANNEL_FDS);
        tdi_budget_give(&bridge->budget, &session->share);
        free_session(session);
        return status;
    }
    session->socket_fd = socket_fd;
    session->id = ++bridge->session_id_last;
    bridge->sessions[place] = session;
    bridge->sessions_total++;
    if (place >= bridge->sessions_high)
        bridge->sessions_high = place + 1;
    if (session->role == TDI_ROLE_ORCHESTRATOR) {
        bridge->orchestrators_total++;
        bridge->had_session = true;
    }
    *out = session;
    return TD_OK;
}

static void end(tdi_session *session, const char *why, bool dead)
{
    if (atomic_load_explicit(&session->ended, memory_order_relaxed))
        return;
    /* release: pairs with tdi_run_wish(); running calls learn it at their next look. */
    atomic_store_explicit(&session->ended, true, memory_order_release);
    if (why != NULL) {
        uint8_t message[512];
        if (!session->bridge->stopping)
            tdi_say(session->bridge, "session %u (%s %s, pid %lld) is cut off: %s", session->id,
                    session->role == TDI_ROLE_AGENT ? "agent" : "orchestrator", session->name,
                    (long long)session->pid, why);
        const size_t bytes = tdi_goodbye_encode(why, message, sizeof message);
        /* A peer that cannot be told will see the socket's end. */
        tdi_channel_send(session->socket_fd, message, bytes, NULL, 0, NULL);
    }
    /* Closing takes them out of epoll, too. The rings stay mapped while calls run. */
    tdi_close_all(&session->socket_fd, 1);
    tdi_close_all(&session->bell_in_fd, 1);
    tdi_close_all(&session->bell_out_fd, 1);
    if (session->role == TDI_ROLE_AGENT) {
        tdi_agent_leave(session, dead);
    } else {
        tdi_batches_orphan(session);
        tdi_relays_orphan(session);
    }
    tdi_blobs_orphan(session);
}

void tdi_session_end(tdi_session *session, const char *why)
{
    end(session, why, false);
}

void tdi_sessions_reap(tdi_bridge *bridge)
{
    tdi_answers_show_all(bridge); /* nothing may point at what is freed here */
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || !session->ended || session->running > 0)
            continue;
        if (session->counters.rescues > 0)
            fprintf(stderr, "agent_bridge: session %u: %llu wake-ups came only by the timed look\n",
                    session->id, (unsigned long long)session->counters.rescues);
        bridge->sessions[i] = NULL;
        bridge->sessions_total--;
        if (session->role == TDI_ROLE_ORCHESTRATOR && --bridge->orchestrators_total == 0)
            bridge->alone_since_ns = tdi_now_ns();
        tdi_budget_give(&bridge->budget, &session->share);
        tdi_count_keep(bridge, session);
        free_session(session);
    }
}

void tdi_session_hears(tdi_session *session)
{
    uint8_t message[64];
    size_t bytes;
    td_status status = TD_OK;
    for (int taken = 0; status == TD_OK; taken++) {
        if (taken == TDI_BLOB_MESSAGES_A_LOOK || session->ended)
            return;
        status = tdi_channel_receive(session->socket_fd, message, sizeof message, &bytes, NULL,
                                     NULL, NULL);
        if (status == TD_OK)
            status = tdi_blob_hear(session, message, bytes);
    }
    if (status == TD_ERR_AGAIN)
        return;
    if (status == TD_CORRUPT || status == TD_TOO_LARGE)
        tdi_session_end(session, tdi_blobs_offered(session)
                                     ? "a message about blobs broke the rules"
                                     : "a message after HELLO: nothing more was expected");
    else {
        /* What it published before its end counts; one that only shut its socket may go on
         * writing, so no more than a ring can hold. */
        uint64_t left = session->rx.capacity / TDI_FRAME_BYTES;
        while (session->role == TDI_ROLE_AGENT && !session->ended && left > 0) {
            const uint32_t frames = tdi_session_round(session);
            if (frames == 0)
                break;
            left -= frames < left ? frames : left;
        }
        end(session, NULL, true);
    }
}

td_status tdi_session_charge(tdi_session *session, uint64_t bytes)
{
    /* relaxed: a counter; nothing is read on its strength. */
    uint64_t used = atomic_load_explicit(&session->bytes_used, memory_order_relaxed);
    do {
        if (bytes > TDI_BYTES_QUOTA - used)
            return TD_BUSY;
    } while (!atomic_compare_exchange_weak_explicit(&session->bytes_used, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return TD_OK;
}

void tdi_session_refund(tdi_session *session, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&session->bytes_used, bytes, memory_order_relaxed);
}

/* logs.c - an agent's lines on their way to whoever made the call; else to where ours go. */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/bridge.h"

/* Agents keep to TDI_LOG_LINES_A_SECOND by themselves; this is for those that do not. */
#define LINES_A_SECOND_MAX (4u * TDI_LOG_LINES_A_SECOND)

static bool within_rate(tdi_session *session)
{
    const uint64_t now_ns = tdi_now_ns();
    if (now_ns - session->log_window_ns >= TDI_NS_PER_S) {
        session->log_window_ns = now_ns;
        session->log_lines = 0;
    }
    return session->log_lines++ < LINES_A_SECOND_MAX;
}

/* Beside the answers, and never in their way. */
static bool has_room(const tdi_session *caller)
{
    const tdi_ring_tx *tx = &caller->tx;
    const uint64_t used = tx->at - atomic_load_explicit(tx->head, memory_order_relaxed);
    return caller->waiting_first == NULL && used <= tx->capacity / 4 * 3;
}

static bool print(const tdi_session *session, const tdi_frame *frame, const uint8_t *body)
{
    char line[TDI_LOG_BYTES_MAX + 256];
    int bytes = snprintf(line, sizeof line - 1, "agent_bridge: level=%u agent=%s session=%u: %.*s",
                         frame->aux, session->name, session->id, (int)frame->body_bytes, body);
    if (bytes < 0)
        return false;
    if ((size_t)bytes > sizeof line - 2)
        bytes = (int)sizeof line - 2;
    for (int i = 0; i < bytes; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
    line[bytes++] = '\n';
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) &&
           write(STDERR_FILENO, line, (size_t)bytes) >= 0;
}

void tdi_agent_log(tdi_session *session, const tdi_relay *relay, const tdi_frame *frame,
                   const uint8_t *body)
{
    tdi_counters *counters = &session->counters;
    const bool said = frame->body_bytes > 0;
    counters->logs += said;
    counters->logs_dropped += frame->aux2;
    if (!within_rate(session)) {
        counters->logs_dropped += said;
        session->logs_owed += said + frame->aux2;
        return;
    }
    if (relay == NULL || relay->reply == NULL || (relay->batch && relay->part == 0) ||
        relay->caller->ended) {
        if (said && !print(session, frame, body))
            counters->logs_dropped++;
        return;
    }
    tdi_session *caller = relay->caller;
    if (!has_room(caller)) {
        counters->logs_dropped += said;
        session->logs_owed += said + frame->aux2;
        return;
    }
    const uint64_t dropped = (uint64_t)session->logs_owed + frame->aux2;
    tdi_answer line = {.frame = {.kind = TDI_KIND_LOG,
                                 .call_id = relay->call_id,
                                 .source = session->id,
                                 .destination = relay->part,
                                 .action_id = relay->action_id,
                                 .attempt = frame->attempt,
                                 .aux = frame->aux,
                                 .aux2 = dropped < UINT32_MAX ? (uint32_t)dropped : UINT32_MAX},
                       .body = (uint8_t *)body, /* only read: not owned */
                       .bytes = frame->body_bytes};
    session->logs_owed = 0;
    tdi_answer_push(caller, &line, 0);
}

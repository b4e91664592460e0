/* log.c - td_log(): lines for whoever made the call, as LOG frames beside its answer.
 *
 * A line is worth nothing next to an answer: over the rate, or with the ring over 3/4 full, it is
 * dropped and counted, and the next line says how many were. Only the serving thread writes to
 * the ring, so lines of a pool's thread wait in their run until its answer.
 */
#include <stdlib.h>
#include <string.h>

#include "agentlib/agent_state.h"
#include "base/clock.h"

struct agent_line {
    agent_line *next;
    int level;
    size_t bytes;
    char text[];
};

static void drop(td_agent *agent)
{
    if (agent->log_dropped < UINT32_MAX)
        agent->log_dropped++;
}

static bool has_room(const td_agent *agent)
{
    const tdi_ring_tx *tx = &agent->tx;
    /* relaxed: only an estimate; a push looks again. */
    const uint64_t used = tx->at - atomic_load_explicit(tx->head, memory_order_relaxed);
    return agent->waiting_first == NULL && used <= tx->capacity / 4 * 3;
}

static bool within_rate(td_agent *agent)
{
    const uint64_t now_ns = tdi_now_ns();
    if (now_ns - agent->log_window_ns >= TDI_NS_PER_S) {
        agent->log_window_ns = now_ns;
        agent->log_lines = 0;
    }
    return agent->log_lines++ < TDI_LOG_LINES_A_SECOND;
}

static void push(agent_run *run, int level, const char *text, size_t bytes)
{
    td_agent *agent = run->agent;
    tdi_frame frame = {.kind = TDI_KIND_LOG,
                       .call_id = run->call_id,
                       .attempt = (uint16_t)run->attempt,
                       .aux = level > 0 ? (uint32_t)level : 0,
                       .aux2 = agent->log_dropped,
                       .body_bytes = (uint32_t)bytes};
    const td_view part = {(const uint8_t *)text, bytes};
    if (tdi_ring_push(&agent->tx, &frame, NULL, &part, bytes > 0) != TD_OK) {
        if (bytes > 0)
            drop(agent);
        return;
    }
    agent->log_dropped = 0;
    if (tdi_ring_publish(&agent->tx)) /* now: it may be the last we hear of this action */
        tdi_bell_ring(&agent->frames_rope, agent->bell_out_fd);
}

static void say(agent_run *run, int level, const char *text, size_t bytes)
{
    if (within_rate(run->agent) && has_room(run->agent))
        push(run, level, text, bytes);
    else
        drop(run->agent);
}

void agent_log(agent_run *run, int level, const char *message)
{
    size_t bytes = message != NULL ? strnlen(message, TDI_LOG_BYTES_MAX) : 0;
    if (bytes == 0)
        return;
    if (bytes == TDI_LOG_BYTES_MAX && message[bytes] != 0)
        while (bytes > 0 && ((unsigned char)message[bytes] & 0xC0) == 0x80)
            bytes--; /* at a character's start */
    if (run == &run->agent->run) {
        say(run, level, message, bytes);
        return;
    }
    agent_line *line = NULL;
    if (run->lines_total < TDI_LOG_LINES_A_SECOND)
        line = malloc(sizeof *line + bytes);
    if (line == NULL) {
        run->lines_dropped++;
        return;
    }
    *line = (agent_line){.level = level, .bytes = bytes};
    memcpy(line->text, message, bytes);
    run->lines_total++;
    if (run->lines_last != NULL)
        run->lines_last->next = line;
    else
        run->lines_first = line;
    run->lines_last = line;
}

void agent_log_flush(agent_run *run, bool speak)
{
    td_agent *agent = run->agent;
    while (run->lines_first != NULL) {
        agent_line *line = run->lines_first;
        run->lines_first = line->next;
        if (speak)
            say(run, line->level, line->text, line->bytes);
        free(line);
    }
    run->lines_last = NULL;
    for (; run->lines_dropped > 0; run->lines_dropped--)
        drop(agent);
    run->lines_total = 0;
    /* Without a further line nobody would hear of the last ones that were dropped. */
    if (speak && agent->log_dropped > 0 && has_room(agent))
        push(run, 0, "", 0);
}

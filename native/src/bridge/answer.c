/* answer.c - completions on their way out: into the ring, or into the session's waiting list. */
#include <stdlib.h>
#include <string.h>

#include "bridge/bridge.h"

/* Push frames of one answer while they fit. TD_OK: all of it. TD_ERR_FULL. TD_CORRUPT. */
static td_status push_some(tdi_session *session, tdi_answer *answer)
{
    const size_t span_max = tdi_ring_span_max(session->tx.capacity);
    do {
        uint8_t longer[TDI_EXT_BYTES_MAX];
        const uint8_t *ext = answer->ext;
        tdi_frame frame;
        const size_t left = answer->bytes - answer->at;
        size_t piece_max = span_max - TDI_FRAME_BYTES;
        if (answer->index == 0) {
            frame = answer->frame;
            piece_max -= 8u * frame.ext_units;
            if (left > piece_max) {
                const uint64_t total = answer->bytes;
                if (frame.ext_units > 0)
                    memcpy(longer, ext, 8u * frame.ext_units);
                ext = longer;
                const uint32_t before = frame.ext_units;
                tdi_extension_add(longer, &frame.ext_units, TDI_EXT_TOTAL, &total, sizeof total);
                piece_max -= 8u * (frame.ext_units - before);
            }
        } else {
            frame = (tdi_frame){.kind = TDI_KIND_CONT,
                                .call_id = answer->frame.call_id,
                                .source = answer->frame.source,
                                .aux = answer->index};
        }
        const size_t piece = left < piece_max ? left : piece_max;
        if (piece < left)
            frame.flags |= TDI_FLAG_MORE;
        frame.body_bytes = (uint32_t)piece;
        const td_view part = {answer->body + answer->at, piece};
        const td_status status = answer->crc_known && piece == answer->bytes
                                     ? tdi_ring_forward(&session->tx, &frame, ext, part.data)
                                     : tdi_ring_push(&session->tx, &frame, ext, &part, piece > 0);
        if (status != TD_OK)
            return status;
        answer->at += piece;
        answer->index++;
        session->counters.frames_out++;
        session->counters.bytes_out += piece;
        if (!session->dirty) {
            session->dirty = true;
            session->bridge->dirty[session->bridge->dirty_total++] = session;
        }
        if (answer->at < answer->bytes)
            tdi_answers_show(session); /* a long body: let the peer begin */
    } while (answer->at < answer->bytes);
    return TD_OK;
}

/* The slot may be used again, and its bytes, once the peer can see its completion. */
static void settled(tdi_session *session, const tdi_answer *answer)
{
    if (answer->frame.kind == TDI_KIND_CALL && session->relays != NULL)
        session->relays[tdi_call_slot(answer->frame.call_id)].end = session->tx.at;
    if (answer->frame.kind != TDI_KIND_COMPLETION)
        return;
    session->slot_busy[tdi_call_slot(answer->frame.call_id)] = 0;
    tdi_session_refund(session, answer->charged);
    session->counters.completions++;
}

/* `owned`: 1 when answer->body is on the heap and ours to keep or free; else it is copied if it
 * has to wait. */
void tdi_answer_push(tdi_session *session, tdi_answer *answer, int owned)
{
    td_status status = session->ended ? TD_ERR_CLOSED : TD_ERR_FULL;
    if (status == TD_ERR_FULL && session->waiting_first == NULL)
        status = push_some(session, answer);
    if (status == TD_ERR_FULL) {
        const size_t ext_bytes = 8u * answer->frame.ext_units;
        tdi_answer *waiting = malloc(sizeof *waiting + ext_bytes);
        uint8_t *body = answer->body;
        if (!owned && answer->bytes > 0) {
            body = malloc(answer->bytes);
            if (body != NULL)
                memcpy(body, answer->body, answer->bytes);
        }
        if (waiting != NULL && (body != NULL || answer->bytes == 0)) {
            *waiting = *answer;
            if (ext_bytes > 0)
                waiting->ext = memcpy(waiting + 1, answer->ext, ext_bytes);
            waiting->body = answer->bytes > 0 ? body : NULL;
            if (owned && answer->bytes == 0)
                free(answer->body);
            waiting->next = NULL;
            if (session->waiting_last != NULL)
                session->waiting_last->next = waiting;
            else
                session->waiting_first = waiting;
            session->waiting_last = waiting;
            session->counters.waited++;
            return;
        }
        free(waiting);
        if (!owned)
            free(body);
        tdi_session_end(session, "the bridge has no memory for an answer");
        status = TD_ERR_MEMORY;
    }
    if (status == TD_CORRUPT)
        tdi_session_end(session, "the peer's cursor makes no sense");
    if (!session->ended || answer->frame.kind == TDI_KIND_COMPLETION)
        settled(session, answer);
    if (owned)
        free(answer->body);
}

static tdi_frame completion_frame(const tdi_session *session, uint64_t call_id, td_status status)
{
    return (tdi_frame){.kind = TDI_KIND_COMPLETION,
                       .call_id = call_id,
                       .source = session->id,
                       .aux = (uint32_t)status};
}

void tdi_answer_run(tdi_run *run)
{
    tdi_session *session = run->session;
    tdi_answer answer = {.frame = completion_frame(session, run->call_id, run->status),
                         .charged = run->charged};
    answer.frame.attempt = (uint16_t)run->attempt;
    answer.frame.time_ns = run->started_ns;
    if (run->started_ns != 0)
        tdi_count_run(session->bridge, run->elapsed_ns);
    if (run->elapsed_ns <= UINT32_MAX) {
        answer.frame.aux2 = (uint32_t)run->elapsed_ns;
    } else {
        const uint64_t elapsed_us = run->elapsed_ns / 1000;
        answer.frame.flags |= TDI_FLAG_ELAPSED_US;
        answer.frame.aux2 = elapsed_us < UINT32_MAX ? (uint32_t)elapsed_us : UINT32_MAX;
    }
    const int short_run = run == &session->bridge->short_run;
    int owned = 0;
    if (run->status == TD_OK) {
        answer.body = run->output.start;
        answer.bytes = td_writer_bytes(&run->output);
        owned = !short_run;
    } else if (run->status == TD_FAILED) {
        answer.body = run->failure;
        answer.bytes = run->failure_bytes;
        session->counters.failures++;
    }
    /* Before the completion can be seen: the slot's next call starts from 0. */
    tdi_progress *progress = &session->down.progress[tdi_call_slot(run->call_id)];
    atomic_store_explicit(&progress->done, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->total, 0, memory_order_relaxed);
    if (owned)
        run->output.start = run->output.at = run->output.end = NULL;
    tdi_answer_push(session, &answer, owned);
    free(run->owned_body);
    run->owned_body = NULL;
    if (!short_run) {
        free(run->output.start);
        free(run);
        return;
    }
    /* Keep a small buffer for the next short action; a large one was for that call alone. */
    if (run->output.end - run->output.start > 64 * 1024) {
        free(run->output.start);
        run->output.start = run->output.at = run->output.end = NULL;
    }
}

void tdi_answer_refusal(tdi_session *session, uint64_t call_id, td_status status, uint64_t charged)
{
    tdi_answer answer = {.frame = completion_frame(session, call_id, status), .charged = charged};
    session->counters.refusals++;
    tdi_answer_push(session, &answer, 0);
}

void tdi_answer_reply(tdi_session *session, uint64_t call_id, tdi_reply *reply, uint64_t charged)
{
    tdi_answer answer = {.frame = completion_frame(session, call_id, reply->status),
                         .crc_known = reply->crc_known,
                         .charged = charged};
    if (reply->frame != NULL) {
        answer.frame.flags = reply->frame->flags & TDI_FLAG_ELAPSED_US;
        answer.frame.attempt = reply->frame->attempt;
        answer.frame.time_ns = reply->frame->time_ns;
        answer.frame.aux2 = reply->frame->aux2;
        answer.frame.source = reply->frame->source;
        answer.frame.body_crc = reply->frame->body_crc;
    }
    if (reply->ext != NULL) { /* the record that names a blob */
        answer.frame.flags |= TDI_FLAG_BLOB;
        answer.frame.ext_units = reply->frame->ext_units;
        answer.ext = reply->ext;
    }
    answer.body = reply->owned != NULL ? reply->owned : (uint8_t *)(uintptr_t)reply->body.data;
    answer.bytes = reply->body.bytes;
    if (reply->status == TD_FAILED)
        session->counters.failures++;
    tdi_progress *progress = &session->down.progress[tdi_call_slot(call_id)];
    atomic_store_explicit(&progress->done, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->total, 0, memory_order_relaxed);
    tdi_answer_push(session, &answer, reply->owned != NULL);
    reply->owned = NULL;
}

int tdi_answers_pump(tdi_session *session)
{
    while (session->waiting_first != NULL && !session->ended) {
        tdi_answer *answer = session->waiting_first;
        const td_status status = push_some(session, answer);
        if (status == TD_ERR_FULL)
            return 0;
        session->waiting_first = answer->next;
        if (session->waiting_first == NULL)
            session->waiting_last = NULL;
        settled(session, answer);
        free(answer->body);
        free(answer);
        if (status == TD_CORRUPT)
            tdi_session_end(session, "the peer's cursor makes no sense");
    }
    return 1;
}

void tdi_answers_show(tdi_session *session)
{
    if (tdi_ring_publish(&session->tx))
        session->counters.doorbells_rung +=
            (uint64_t)tdi_bell_ring(&session->frames_rope, session->bell_out_fd);
}

void tdi_answers_show_all(tdi_bridge *bridge)
{
    for (uint32_t i = 0; i < bridge->dirty_total; i++) {
        tdi_session *session = bridge->dirty[i];
        session->dirty = false;
        if (!session->ended)
            tdi_answers_show(session);
    }
    bridge->dirty_total = 0;
}

void tdi_answers_drop(tdi_session *session)
{
    while (session->waiting_first != NULL) {
        tdi_answer *answer = session->waiting_first;
        session->waiting_first = answer->next;
        free(answer->body);
        free(answer);
    }
    session->waiting_last = NULL;
}

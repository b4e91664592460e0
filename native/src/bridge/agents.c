/* agents.c - who offers what, and calls on their way to an agent and back.
 *
 * A call takes one of the agent session's slots and its bytes; those are the credits. Without
 * them it is refused as BUSY, so a full agent never stops the calls for another. What does not
 * fit into the agent's ring waits in its list, which the credits bound.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/blob.h"

#define LATE_NS  TDI_NS_PER_S /* past its deadline, and the agent has not answered */
#define SWEEP_NS (5 * TDI_NS_PER_MS)

static bool is(const char *text, td_view other)
{
    return strlen(text) == other.bytes && memcmp(text, other.data, other.bytes) == 0;
}

tdi_agent *tdi_agent_find(const tdi_bridge *bridge, td_view name)
{
    for (uint32_t i = 0; i < bridge->agents_total; i++)
        if (is(bridge->agents[i]->name, name))
            return bridge->agents[i];
    return NULL;
}

/* ---- who offers what ---- */

static bool is_name(td_view text)
{
    if (text.bytes == 0 || text.bytes > TDI_NAME_BYTES_MAX || !td_utf8_valid(text.data, text.bytes))
        return false;
    for (size_t i = 0; i < text.bytes; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7F)
            return false;
    return true;
}

td_status tdi_agent_judge(tdi_bridge *bridge, const tdi_hello *hello, tdi_error *error)
{
    if (!is_name(hello->name) || hello->actions_total == 0)
        return tdi_fail(error, TD_ERR_REFUSED, "an agent needs a name and at least one action");
    const tdi_agent *known = tdi_agent_find(bridge, hello->name);
    const int shown = (int)hello->name.bytes;
    if (known != NULL && (known->table_bytes != hello->actions.bytes ||
                          memcmp(known->table, hello->actions.data, known->table_bytes) != 0))
        return tdi_fail(error, TD_ERR_REFUSED,
                        "agent %.*s is connected with other actions: instances of one agent must "
                        "offer the same",
                        shown, hello->name.data);
    if (known != NULL && known->instances_total == TDI_INSTANCES_MAX)
        return tdi_fail(error, TD_BUSY, "agent %.*s has %d instances", shown, hello->name.data,
                        TDI_INSTANCES_MAX);
    size_t at = 0;
    tdi_action_row row;
    uint32_t rows = 0;
    td_status status;
    while ((status = tdi_action_next(hello->actions, &at, &row)) == TD_OK) {
        rows++;
        if (!is_name(row.name) || !is_name(row.version) || row.effects > TD_EFFECTS_EXTERNAL ||
            row.runs > TD_RUNS_BLOCKING || row.deterministic > 1 || row.id != 0 || row.gone != 0 ||
            row.in_programs != 0 || row.takes_blobs != 0)
            return tdi_fail(error, TD_ERR_REFUSED, "agent %.*s: action %u is malformed", shown,
                            hello->name.data, rows);
        if (row.agent.bytes != hello->name.bytes ||
            memcmp(row.agent.data, hello->name.data, row.agent.bytes) != 0)
            return tdi_fail(error, TD_ERR_REFUSED, "agent %.*s: action %.*s is of another agent",
                            shown, hello->name.data, (int)row.name.bytes, row.name.data);
        if (known == NULL && tdi_registry_id(&bridge->registry, row.agent, row.name) != 0)
            return tdi_fail(error, TD_ERR_REFUSED, "action %.*s.%.*s is built in", shown,
                            hello->name.data, (int)row.name.bytes, row.name.data);
    }
    if (status != TD_ERR_AGAIN || rows != hello->actions_total)
        return tdi_fail(error, TD_CORRUPT, "malformed HELLO: its actions do not fit");
    return TD_OK;
}

static void forget_agent(tdi_bridge *bridge, tdi_agent *agent)
{
    for (uint32_t i = 0; i < agent->ids_total; i++)
        tdi_registry_withdraw(&bridge->registry, agent->ids[i]);
    for (uint32_t i = 0; i < bridge->agents_total; i++)
        if (bridge->agents[i] == agent) {
            bridge->agents[i] = bridge->agents[--bridge->agents_total];
            break;
        }
    free(agent->table);
    free(agent);
}

static td_status new_agent(tdi_bridge *bridge, const tdi_hello *hello, tdi_agent **out,
                           tdi_error *error)
{
    if (bridge->agents_total == TDI_AGENTS_MAX)
        return tdi_fail(error, TD_BUSY, "more than %d agents", TDI_AGENTS_MAX);
    tdi_agent *agent = calloc(1, sizeof *agent);
    if (agent != NULL)
        agent->table = malloc(hello->actions.bytes);
    if (agent == NULL || agent->table == NULL) {
        free(agent);
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for an agent");
    }
    memcpy(agent->name, hello->name.data, hello->name.bytes);
    memcpy(agent->table, hello->actions.data, hello->actions.bytes);
    agent->table_bytes = hello->actions.bytes;
    bridge->agents[bridge->agents_total++] = agent;
    size_t at = 0;
    tdi_action_row row;
    while (tdi_action_next(hello->actions, &at, &row) == TD_OK) {
        const td_status status = tdi_registry_offer(&bridge->registry, agent, &row,
                                                    &agent->ids[agent->ids_total], error);
        if (status != TD_OK) {
            forget_agent(bridge, agent);
            return status;
        }
        agent->ids_total++;
    }
    *out = agent;
    return TD_OK;
}

td_status tdi_agent_join(tdi_session *session, const tdi_hello *hello, tdi_error *error)
{
    tdi_agent *agent = tdi_agent_find(session->bridge, hello->name);
    session->relays = calloc(session->slots, sizeof *session->relays);
    session->free_relays = calloc(session->slots, sizeof *session->free_relays);
    if (session->relays == NULL || session->free_relays == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for %u slots", session->slots);
    for (uint32_t slot = 0; slot < session->slots; slot++) {
        session->free_relays[slot] = session->slots - 1 - slot;
        session->relays[slot].agent = session;
    }
    session->free_total = session->slots;
    if (agent == NULL) {
        const td_status status = new_agent(session->bridge, hello, &agent, error);
        if (status != TD_OK)
            return status;
    }
    agent->instances[agent->instances_total++] = session;
    session->agent = agent;
    return TD_OK;
}

/* ---- to the agent ---- */

/* The next instance that has a slot and the bytes. */
static tdi_session *choose(tdi_agent *agent, uint64_t credit)
{
    for (uint32_t i = 0; i < agent->instances_total; i++) {
        tdi_session *session = agent->instances[(agent->next + i) % agent->instances_total];
        if (session->ended || session->free_total == 0 ||
            credit > TDI_AGENT_BYTES_QUOTA - session->credit_used)
            continue;
        agent->next = (agent->next + i + 1) % agent->instances_total;
        return session;
    }
    return NULL;
}

td_status tdi_agent_send(tdi_agent *agent, const tdi_outgoing *call)
{
    const uint64_t reply = call->frame.aux != 0 && call->frame.aux < TDI_BODY_BYTES_MAX
                               ? call->frame.aux
                               : TDI_REPLY_BYTES_RESERVED;
    const uint64_t credit = call->body.bytes + reply;
    tdi_session *session = choose(agent, credit);
    if (session == NULL)
        return agent->instances_total == 0 ? TD_NO_AGENT : TD_BUSY;
    if (call->blob != NULL) { /* before the frame that names it */
        const td_status status = tdi_blob_pass(call->blob, session);
        if (status != TD_OK)
            return status;
    }
    const uint32_t slot = session->free_relays[--session->free_total];
    tdi_relay *relay = &session->relays[slot];
    const uint32_t generation = relay->generation == UINT32_MAX ? 1 : relay->generation + 1;
    *relay = (tdi_relay){
        .reply = call->reply,
        .owner = call->owner,
        .caller = call->caller,
        .agent = session,
        .call_id = call->call_id,
        .deadline_ns = call->frame.time_ns,
        .charged = call->charged,
        .credit = credit,
        .end = UINT64_MAX,
        .blob = call->blob,
        .generation = generation,
        .action_id = call->frame.action_id,
        .reply_bytes_max = call->frame.aux,
        .in_use = true,
        .part = call->part,
        .batch = call->batch,
    };
    if (call->sent != NULL)
        *call->sent = relay;
    session->credit_used += credit;
    session->bridge->relays_total++;
    tdi_answer parcel = {
        .frame = call->frame,
        .ext = call->ext,
        .crc_known = call->crc_known,
        .body = call->owned != NULL ? call->owned : (uint8_t *)(uintptr_t)call->body.data,
        .bytes = call->body.bytes,
    };
    parcel.frame.kind = TDI_KIND_CALL;
    parcel.frame.flags = TDI_FLAG_WANT_REPLY | (call->blob != NULL ? TDI_FLAG_BLOB : 0);
    parcel.frame.call_id = tdi_call_id(slot, generation);
    parcel.frame.source = call->caller->id;
    parcel.frame.destination = session->id;
    session->counters.calls++;
    tdi_answer_push(session, &parcel, call->owned != NULL);
    return TD_OK;
}

/* An agent has answered the call of an orchestrator. */
void tdi_relay_to_caller(tdi_relay *relay, tdi_reply *reply)
{
    tdi_session *caller = relay->caller;
    if (reply->blob != NULL)
        tdi_blob_answer(caller, relay->reply_bytes_max, reply);
    uint64_t charged = relay->charged;
    const uint64_t reserved =
        relay->reply_bytes_max != 0 ? relay->reply_bytes_max : TDI_REPLY_BYTES_RESERVED;
    const bool over = relay->reply_bytes_max != 0 && reply->body.bytes > relay->reply_bytes_max;
    const uint64_t more = reply->body.bytes > reserved ? reply->body.bytes - reserved : 0;
    if (over || (more > 0 && tdi_session_charge(caller, more) != TD_OK)) {
        /* It did run, so not BUSY, which invites a retry. */
        free(reply->owned);
        *reply = (tdi_reply){.status = TD_TOO_LARGE, .frame = reply->frame};
        tdi_frame bare = {0};
        if (reply->frame != NULL)
            bare = *reply->frame;
        bare.body_crc = 0;
        reply->frame = &bare;
        tdi_answer_reply(caller, relay->call_id, reply, charged);
        return;
    }
    charged += more;
    tdi_answer_reply(caller, relay->call_id, reply, charged);
}

void tdi_agent_call(tdi_session *caller, tdi_agent *agent, const tdi_frame *frame,
                    const uint8_t *ext, td_view body, uint8_t *owned, uint64_t charged)
{
    tdi_outgoing call = {
        .frame = *frame,
        .ext = ext,
        .body = body,
        .owned = owned,
        .crc_known = owned == NULL,
        .caller = caller,
        .call_id = frame->call_id,
        .charged = charged,
        .reply = tdi_relay_to_caller,
    };
    if (owned != NULL) { /* in several frames: record 4 is made again for the agent's ring */
        static uint8_t again[TDI_EXT_BYTES_MAX];
        tdi_extension known;
        uint8_t units = 0;
        td_status status = tdi_extension_parse(ext, 8u * frame->ext_units, &known);
        if (status == TD_OK && known.present & 1u << TDI_EXT_INPUTS)
            status = tdi_extension_add(again, &units, TDI_EXT_INPUTS | TDI_EXT_CRITICAL, NULL, 0);
        if (status == TD_OK && known.key.bytes > 0)
            status = tdi_extension_add(again, &units, TDI_EXT_KEY, known.key.data, known.key.bytes);
        if (status == TD_OK && known.cpus.bytes > 0)
            status =
                tdi_extension_add(again, &units, TDI_EXT_CPUS, known.cpus.data, known.cpus.bytes);
        if (status == TD_OK && known.trace.bytes > 0)
            status = tdi_extension_add(again, &units, TDI_EXT_TRACE, known.trace.data,
                                       known.trace.bytes);
        if (status != TD_OK) {
            free(owned);
            tdi_answer_refusal(caller, frame->call_id, TD_CORRUPT, charged);
            return;
        }
        call.ext = again;
        call.frame.ext_units = units;
    }
    const td_status status = tdi_agent_send(agent, &call);
    if (status == TD_OK)
        return;
    free(owned);
    tdi_answer_refusal(caller, frame->call_id, status, charged);
}

/* ---- and back ---- */

static tdi_relay *relay_of(tdi_session *session, uint64_t call_id)
{
    const uint32_t slot = tdi_call_slot(call_id);
    if (slot >= session->slots || !session->relays[slot].in_use ||
        session->relays[slot].generation != tdi_call_generation(call_id))
        return NULL;
    return &session->relays[slot];
}

/* Give the credits back, then tell whoever waits. */
static void settle(tdi_relay *relay, tdi_reply *reply)
{
    tdi_session *session = relay->agent;
    const tdi_relay was = *relay;
    relay->in_use = false;
    relay->reply = NULL;
    session->free_relays[session->free_total++] = (uint32_t)(relay - session->relays);
    session->credit_used -= relay->credit;
    session->bridge->relays_total--;
    session->counters.completions++;
    tdi_relay told = was;
    if (was.blob != NULL) {
        session->blobs_with_calls--;
        tdi_blob_release(was.blob);
    }
    if (reply->blob != NULL && was.reply != tdi_relay_to_caller) { /* nobody can take it */
        tdi_blob_release(reply->blob);
        *reply = (tdi_reply){.status = TD_TOO_LARGE, .frame = reply->frame};
    }
    if (was.reply != NULL)
        was.reply(&told, reply);
    free(reply->owned);
    reply->owned = NULL;
}

static td_status completed(tdi_session *session, const tdi_frame *frame, td_view body,
                           uint8_t *owned)
{
    tdi_relay *relay = relay_of(session, frame->call_id);
    if (relay == NULL || frame->aux > TD_CORRUPT) {
        free(owned);
        return TD_CORRUPT;
    }
    tdi_frame words = *frame;
    words.source = session->id;
    if (frame->time_ns != 0)
        tdi_count_completion(session->bridge, frame);
    tdi_reply reply = {.status = (td_status)frame->aux,
                       .body = body,
                       .owned = owned,
                       .crc_known = owned == NULL && frame->ext_units == 0,
                       .frame = &words};
    if (reply.status != TD_OK && reply.status != TD_FAILED) {
        free(owned);
        reply.owned = NULL;
        reply.body = (td_view){NULL, 0};
        words.body_crc = 0;
    }
    settle(relay, &reply);
    return TD_OK;
}

/* An answer whose body is a blob; its frame has the record that names it, and no other. */
static td_status completed_by_blob(tdi_session *session, const tdi_frame *frame,
                                   const tdi_extension *ext, const uint8_t *ext_bytes,
                                   const uint8_t *body)
{
    tdi_relay *relay = relay_of(session, frame->call_id);
    tdi_frame words = *frame;
    words.source = session->id;
    tdi_reply reply = {.status = TD_OK,
                       .body = {body, frame->body_bytes},
                       .crc_known = true,
                       .frame = &words,
                       .ext = ext_bytes};
    if (relay == NULL || frame->aux != TD_OK || ext->present != 1u << TDI_EXT_BLOB ||
        tdi_blob_named(session, frame, ext, &reply.blob) != TD_OK)
        return TD_CORRUPT;
    if (frame->time_ns != 0)
        tdi_count_completion(session->bridge, frame);
    settle(relay, &reply);
    return TD_OK;
}

static td_status begin_long(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                            const uint8_t *piece)
{
    tdi_inbound *in = &session->inbound;
    if (in->active || !(ext->present & 1u << TDI_EXT_TOTAL) ||
        ext->total_bytes <= frame->body_bytes || ext->total_bytes > TDI_BODY_BYTES_MAX ||
        relay_of(session, frame->call_id) == NULL)
        return TD_CORRUPT;
    *in = (tdi_inbound){.active = true,
                        .first = *frame,
                        .bytes = ext->total_bytes,
                        .at = frame->body_bytes,
                        .index = 1,
                        .body = malloc((size_t)ext->total_bytes)};
    if (in->body != NULL)
        memcpy(in->body, piece, frame->body_bytes);
    return TD_OK;
}

static td_status go_on_long(tdi_session *session, const tdi_frame *frame, const uint8_t *piece)
{
    const td_status status = tdi_inbound_add(&session->inbound, frame, piece);
    if (status != TD_OK)
        return status == TD_ERR_AGAIN ? TD_OK : status;
    const tdi_inbound whole = session->inbound;
    session->inbound = (tdi_inbound){0};
    tdi_frame first = whole.first;
    if (whole.body == NULL)
        first.aux = TD_TOO_LARGE; /* no memory for it here */
    return completed(session, &first,
                     (td_view){whole.body, whole.body != NULL ? (size_t)whole.bytes : 0},
                     whole.body);
}

td_status tdi_agent_handle(tdi_session *session, const tdi_frame *frame, const uint8_t *ext_bytes,
                           const uint8_t *body)
{
    tdi_extension ext;
    if (tdi_extension_parse(ext_bytes, 8u * frame->ext_units, &ext) != TD_OK)
        return TD_CORRUPT;
    switch (frame->kind) {
    case TDI_KIND_CONT:
        return go_on_long(session, frame, body);
    case TDI_KIND_LOG:
        if (frame->body_bytes > TDI_LOG_BYTES_MAX || frame->flags != 0)
            return TD_CORRUPT;
        tdi_agent_log(session, relay_of(session, frame->call_id), frame, body);
        return TD_OK;
    case TDI_KIND_COMPLETION:
        if (frame->flags & TDI_FLAG_MORE)
            return begin_long(session, frame, &ext, body);
        if (session->inbound.active)
            return TD_CORRUPT;
        if (frame->flags & TDI_FLAG_BLOB)
            return completed_by_blob(session, frame, &ext, ext_bytes, body);
        return completed(session, frame, (td_view){body, frame->body_bytes}, NULL);
    default:
        return TD_CORRUPT;
    }
}

/* ---- ends ---- */

static td_status fate(const tdi_session *session, const tdi_relay *relay, bool dead)
{
    /* acquire: pairs with the agent's release of what it popped, before it started it. */
    const uint64_t head = atomic_load_explicit(&session->up.control->head, memory_order_acquire);
    const bool popped = relay->end != UINT64_MAX && (head >= relay->end || head > session->tx.at);
    if (!dead && relay->end != UINT64_MAX)
        return TD_UNKNOWN; /* a living process can still pop what is in its ring */
    return popped ? TD_UNKNOWN : TD_NOT_STARTED;
}

void tdi_agent_leave(tdi_session *session, bool dead)
{
    tdi_agent *agent = session->agent;
    if (agent == NULL)
        return;
    session->agent = NULL;
    for (uint32_t i = 0; i < agent->instances_total; i++)
        if (agent->instances[i] == session) {
            agent->instances[i] = agent->instances[--agent->instances_total];
            break;
        }
    if (agent->instances_total == 0)
        forget_agent(session->bridge, agent);
    uint8_t memory[1024];
    td_writer words;
    tdi_obituary(session, &words, memory, sizeof memory);
    for (uint32_t slot = 0; slot < session->slots; slot++) {
        tdi_relay *relay = &session->relays[slot];
        if (!relay->in_use)
            continue;
        tdi_reply reply = {.status = fate(session, relay, dead)};
        if (reply.status == TD_UNKNOWN)
            reply.body = (td_view){memory, td_writer_bytes(&words)};
        settle(relay, &reply);
    }
}

void tdi_relay_cancel(tdi_relay *relay)
{
    if (relay->cancelled || relay->agent->ended)
        return;
    relay->cancelled = true;
    /* release: as a caller's wish, see tdi_run_wish(). */
    atomic_store_explicit(&relay->agent->down.cancel[relay - relay->agent->relays],
                          relay->generation, memory_order_release);
}

void tdi_relays_orphan(tdi_session *caller)
{
    tdi_bridge *bridge = caller->bridge;
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->relays == NULL || session->ended)
            continue;
        for (uint32_t slot = 0; slot < session->slots; slot++) {
            tdi_relay *relay = &session->relays[slot];
            if (!relay->in_use || relay->caller != caller || relay->reply == NULL)
                continue;
            tdi_relay_cancel(relay);
            if (!relay->batch)
                relay->reply = NULL;
        }
    }
}

/* One call in flight: its caller's wish, its progress, its deadline. */
static void look_after(tdi_relay *relay, uint64_t now_ns)
{
    tdi_session *caller = relay->caller;
    const uint32_t slot = tdi_call_slot(relay->call_id);
    if (relay->batch || relay->reply == NULL)
        return;
    const uint32_t wish = atomic_load_explicit(&caller->up.cancel[slot], memory_order_acquire);
    if (wish == tdi_call_generation(relay->call_id))
        tdi_relay_cancel(relay);
    const tdi_progress *from = &relay->agent->up.progress[relay - relay->agent->relays];
    const uint64_t done = atomic_load_explicit(&from->done, memory_order_acquire);
    if (done != 0) {
        tdi_progress *to = &caller->down.progress[slot];
        atomic_store_explicit(&to->total, atomic_load_explicit(&from->total, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_store_explicit(&to->done, done, memory_order_release);
    }
    const uint64_t late_ns = caller->bridge->options.late_ns;
    if (relay->deadline_ns != 0 && now_ns >= relay->deadline_ns &&
        now_ns - relay->deadline_ns >= (late_ns != 0 ? late_ns : LATE_NS)) {
        tdi_reply reply = {.status = TD_TIMED_OUT};
        tdi_relay_cancel(relay);
        const tdi_reply_fn tell = relay->reply;
        relay->reply = NULL; /* its slot stays taken until the agent lets go of it */
        tell(relay, &reply);
    }
}

void tdi_relays_sweep(tdi_bridge *bridge, uint64_t now_ns)
{
    if (bridge->relays_total == 0 || now_ns - bridge->relays_swept_ns < SWEEP_NS)
        return;
    bridge->relays_swept_ns = now_ns;
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->relays == NULL || session->ended ||
            session->free_total == session->slots)
            continue;
        for (uint32_t slot = 0; slot < session->slots; slot++)
            if (session->relays[slot].in_use)
                look_after(&session->relays[slot], now_ns);
    }
}

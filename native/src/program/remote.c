/* remote.c - a step whose action is not in this process: sent by the host, ended by an answer.
 *
 * An answer may come at any moment of the owner's thread, also from within host.send() of another
 * one. So it is kept, and td_program_step() alone lets it have effects.
 */
#include <stdio.h>

#include "base/clock.h"
#include "program/state.h"
#include "strict/strict.h"

static void keep_failure(td_program_remote *remote, const char *type, const char *message)
{
    uint8_t encoded[TDI_FAILURE_BYTES_MAX];
    const uint32_t bytes = tdi_failure_encode(encoded, sizeof encoded, true, type, message);
    uint8_t *const kept = tdi_arena_take(&remote->run->arena, bytes);
    if (kept != NULL)
        memcpy(kept, encoded, bytes);
    remote->failure = (td_view){kept, kept != NULL ? bytes : 0};
}

static void fail(td_program_remote *remote, const char *type, const char *what)
{
    char text[1400];
    snprintf(text, sizeof text, "%s.%s: %s", remote->action->agent, remote->action->name, what);
    keep_failure(remote, type, text);
}

/* {"type", "message"}, as an agent or an obituary has it; false: it is no map. */
static bool quote(td_program_remote *remote, td_view body)
{
    const char *texts[2] = {"ActionFailed", ""};
    size_t bytes[2] = {12, 0};
    static const char *const names[2] = {"type", "message"};
    if (td_strict_check(body.data, body.bytes) != TD_OK)
        return false;
    const td_reader map = td_reader_of(body.data, body.bytes);
    td_type kind;
    if (td_peek_type(&map, &kind) != TD_OK || kind != TD_TYPE_MAP)
        return false;
    for (int i = 0; i < 2; i++) {
        td_reader value;
        if (td_map_find(map, names[i], &value) == TD_OK)
            td_read_str(&value, &texts[i], &bytes[i]);
    }
    char type[160], message[1100]; /* more than is kept, so that it is cut between characters */
    snprintf(type, sizeof type, "%.*s", (int)(bytes[0] < 159 ? bytes[0] : 159), texts[0]);
    snprintf(message, sizeof message, "%.*s", (int)(bytes[1] < 1099 ? bytes[1] : 1099), texts[1]);
    keep_failure(remote, type, message);
    return true;
}

/* What the agent wrote becomes part of payloads, where a body's rules are taken for granted. */
static uint8_t keep_output(td_program_remote *remote, td_view body, uint8_t **owned)
{
    td_program_run *const run = remote->run;
    if (td_strict_check(body.data, body.bytes) != TD_OK) {
        fail(remote, "Corrupt", "its output is not one strict value");
        return TDI_OUTCOME_FAILED;
    }
    if (*owned != NULL) {
        uint8_t *const buffer = *owned;
        *owned = NULL;
        if (!tdi_arena_adopt(&run->arena, buffer, body.bytes))
            return TDI_OUTCOME_FAILED; /* without a failure: "over the limit" */
        remote->output = body;
        return TDI_OUTCOME_SUCCEEDED;
    }
    uint8_t *const kept = tdi_arena_take(&run->arena, body.bytes);
    if (kept == NULL)
        return TDI_OUTCOME_FAILED;
    memcpy(kept, body.data, body.bytes);
    remote->output = (td_view){kept, body.bytes};
    return TDI_OUTCOME_SUCCEEDED;
}

/* The words of layers/native/reports.py. */
static uint8_t judge(td_program_remote *remote, td_status status, td_view body, uint8_t **owned)
{
    switch (status) {
    case TD_OK:
        return keep_output(remote, body, owned);
    case TD_FAILED:
        if (!quote(remote, body))
            fail(remote, "Corrupt", "its failure is not a map");
        return TDI_OUTCOME_FAILED;
    case TD_TIMED_OUT:
        fail(remote, "TimeoutError", "the deadline passed in the C layer");
        return TDI_OUTCOME_TIMED_OUT;
    case TD_CANCELLED:
        fail(remote, "Cancelled", "asked to stop, and did");
        return TDI_OUTCOME_CANCELLED;
    case TD_NOT_STARTED:
        fail(remote, "NotStarted", "its agent left before taking it");
        return TDI_OUTCOME_NOT_STARTED;
    case TD_NO_AGENT:
        fail(remote, "LayerUnavailable", "the bridge does not offer it");
        return TDI_OUTCOME_NOT_STARTED;
    case TD_BUSY:
        fail(remote, "Busy", "no slot, credit or quota was left");
        return TDI_OUTCOME_NOT_STARTED;
    case TD_TOO_LARGE:
        fail(remote, "TooLarge", "its payload or output is over the limit");
        return TDI_OUTCOME_FAILED;
    case TD_CORRUPT:
        fail(remote, "Corrupt", "its body broke the rules of the wire");
        return TDI_OUTCOME_FAILED;
    default:
        if (body.bytes == 0 || !quote(remote, body)) /* who reads it names the action */
            keep_failure(remote, "OutcomeUnknown", "its agent does not know what became of it");
        return TDI_OUTCOME_UNKNOWN;
    }
}

void td_program_answered(td_program_remote *remote, td_status status, td_view body, uint8_t *owned)
{
    td_program_run *const run = remote->run;
    remote->outcome = judge(remote, status, body, &owned);
    remote->ended_ns = tdi_now_ns();
    remote->next = NULL;
    if (run->answered_last != NULL)
        run->answered_last->next = remote;
    else
        run->answered_first = remote;
    run->answered_last = remote;
    free(owned);
}

void tdi_remotes_end(td_program_run *run)
{
    while (run->answered_first != NULL) {
        td_program_remote *const remote = run->answered_first;
        run->answered_first = remote->next;
        if (run->answered_first == NULL)
            run->answered_last = NULL;
        run->remotes--;
        run->arena.bytes -= remote->body_bytes;
        run->now_ns = remote->ended_ns;
        tdi_unit_ended(run, remote->step, remote->item, remote->outcome, remote->output,
                       remote->failure);
        free(remote);
    }
}

bool tdi_is_remote(const td_program_run *run, uint32_t step)
{
    return run->program->actions[step]->run == NULL;
}

bool tdi_remotes_full(const td_program_run *run)
{
    return run->remotes >= TDI_REMOTES_MAX;
}

/* One body: the payload, or payload and inputs as a pair. NULL: no memory, or over the limit. */
static td_program_remote *make(td_program_run *run, td_view payload, td_view inputs)
{
    const size_t bytes = payload.bytes + (inputs.bytes > 0 ? 1 + inputs.bytes : 0);
    if (bytes > run->arena.bytes_max - run->arena.bytes)
        return NULL;
    td_program_remote *const remote = calloc(1, sizeof *remote + bytes);
    if (remote == NULL)
        return NULL;
    uint8_t *at = remote->body;
    if (inputs.bytes > 0)
        *at++ = 0x92;
    if (payload.bytes > 0)
        memcpy(at, payload.data, payload.bytes);
    if (inputs.bytes > 0)
        memcpy(at + payload.bytes, inputs.data, inputs.bytes);
    remote->body_bytes = bytes;
    remote->is_pair = inputs.bytes > 0;
    run->arena.bytes += bytes;
    return remote;
}

void tdi_remote_start(td_program_run *run, const tdi_unit *unit)
{
    td_program_remote *const remote = make(run, unit->payload, unit->inputs);
    if (remote == NULL) {
        tdi_step_fail(run, unit->step, unit->item, "TooLarge",
                      "its payload or output is over the limit");
        return;
    }
    remote->run = run;
    remote->action = unit->action;
    remote->action_id = run->program->steps[unit->step].action_id;
    remote->step = unit->step;
    remote->item = unit->item;
    remote->deadline_ns = unit->deadline_ns;
    remote->key_bytes = tdi_unit_key(run, unit->step, unit->item, remote->key);
    run->remotes++;
    const td_status status =
        run->host.send != NULL ? run->host.send(run->host.context, remote) : TD_NO_AGENT;
    /* TD_OK: it is the host's, and may have been answered already. */
    if (status != TD_OK)
        td_program_answered(remote, status, (td_view){NULL, 0}, NULL);
}

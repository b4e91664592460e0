/* program_remote.c - steps whose actions agents have: sent, waiting for room, answered.
 *
 * A step for a full agent waits in one list of the whole bridge, oldest first, so that programs
 * get their turn in the order in which they asked. The list is looked at once a round; what does
 * not fit into it is answered BUSY, which says that it did not start.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/program_call.h"

#define LATE_NS     TDI_NS_PER_S /* past its deadline, and the agent has not answered */
#define SWEEP_NS    (5 * TDI_NS_PER_MS)
#define WAITING_MAX 8192u
#define FULL_KNOWN  8 /* agents that one look remembers as full */

static const td_view nothing = {NULL, 0};

static struct tdi_program_call *call_of(const td_program_remote *remote)
{
    return td_program_host_context(remote->run);
}

/* ---- lists ---- */

static void take_up(struct tdi_program_call *call, td_program_remote *remote)
{
    remote->previous = NULL;
    remote->next = call->remotes;
    if (call->remotes != NULL)
        call->remotes->previous = remote;
    call->remotes = remote;
}

static void let_go(struct tdi_program_call *call, td_program_remote *remote)
{
    if (remote->previous != NULL)
        remote->previous->next = remote->next;
    else
        call->remotes = remote->next;
    if (remote->next != NULL)
        remote->next->previous = remote->previous;
}

static void queue_up(struct tdi_program_call *call, td_program_remote *remote)
{
    tdi_bridge *bridge = call->answer->session->bridge;
    remote->waits = true;
    remote->wait_next = NULL;
    remote->wait_previous = bridge->remotes_last;
    if (bridge->remotes_last != NULL)
        bridge->remotes_last->wait_next = remote;
    else
        bridge->remotes_first = remote;
    bridge->remotes_last = remote;
    bridge->remotes_waiting++;
    call->waiting++;
}

static void leave_queue(struct tdi_program_call *call, td_program_remote *remote)
{
    tdi_bridge *bridge = call->answer->session->bridge;
    if (remote->wait_previous != NULL)
        remote->wait_previous->wait_next = remote->wait_next;
    else
        bridge->remotes_first = remote->wait_next;
    if (remote->wait_next != NULL)
        remote->wait_next->wait_previous = remote->wait_previous;
    else
        bridge->remotes_last = remote->wait_previous;
    remote->waits = false;
    bridge->remotes_waiting--;
    call->waiting--;
}

/* It ends here, whether it waits or was sent; an agent that still has it is not heard any more. */
static void give_up(struct tdi_program_call *call, td_program_remote *remote, td_status status)
{
    tdi_relay *relay = remote->carrier;
    if (remote->waits)
        leave_queue(call, remote);
    if (relay != NULL)
        relay->reply = NULL; /* its slot stays taken until the agent lets go of it */
    remote->carrier = NULL;
    let_go(call, remote);
    td_program_answered(remote, status, nothing, NULL);
}

/* ---- there and back ---- */

static void answered(tdi_relay *relay, tdi_reply *reply)
{
    td_program_remote *remote = relay->owner;
    remote->carrier = NULL;
    let_go(call_of(remote), remote);
    td_program_answered(remote, reply->status, reply->body, reply->owned);
    reply->owned = NULL;
}

static tdi_agent *agent_of(tdi_bridge *bridge, const td_program_remote *remote)
{
    const tdi_registry_row *row = tdi_registry_row_of(&bridge->registry, remote->action_id);
    return row != NULL ? row->agent : NULL;
}

/* On TD_OK it may have been answered already. Else nothing has changed. */
static td_status send_now(struct tdi_program_call *call, tdi_agent *agent,
                          td_program_remote *remote)
{
    uint8_t ext[TDI_EXT_BYTES_MAX];
    tdi_outgoing parcel = {
        .frame = {.lane = call->lane,
                  .attempt = call->attempt,
                  .tenant = call->tenant,
                  .time_ns = remote->deadline_ns,
                  .action_id = remote->action_id},
        .ext = ext,
        .body = {remote->body, remote->body_bytes},
        .caller = call->answer->session,
        .call_id = call->answer->call_id,
        .reply = answered,
        .owner = remote,
        .sent = (tdi_relay **)&remote->carrier,
        .part = remote->step + 1,
        .batch = true,
    };
    td_status status = agent == NULL ? TD_NO_AGENT : TD_OK;
    if (status == TD_OK && remote->is_pair)
        status = tdi_extension_add(ext, &parcel.frame.ext_units, TDI_EXT_INPUTS | TDI_EXT_CRITICAL,
                                   NULL, 0);
    if (status == TD_OK && remote->key_bytes > 0)
        status = tdi_extension_add(ext, &parcel.frame.ext_units, TDI_EXT_KEY, remote->key,
                                   remote->key_bytes);
    if (status == TD_OK && call->trace_bytes > 0)
        status = tdi_extension_add(ext, &parcel.frame.ext_units, TDI_EXT_TRACE, call->trace,
                                   call->trace_bytes);
    return status == TD_OK ? tdi_agent_send(agent, &parcel) : status;
}

td_status tdi_program_send(void *context, td_program_remote *remote)
{
    struct tdi_program_call *call = context;
    tdi_bridge *bridge = call->answer->session->bridge;
    take_up(call, remote);
    /* While others wait, perhaps for the same agent, it takes its place behind them. */
    td_status status = TD_BUSY;
    if (bridge->remotes_waiting == 0)
        status = send_now(call, agent_of(bridge, remote), remote);
    if (status == TD_BUSY && bridge->remotes_waiting < WAITING_MAX) {
        queue_up(call, remote);
        return TD_OK;
    }
    if (status != TD_OK)
        let_go(call, remote);
    return status;
}

static bool is_among(const tdi_agent *agent, const tdi_agent *const *full, uint32_t total)
{
    for (uint32_t i = 0; i < total && i < FULL_KNOWN; i++)
        if (full[i] == agent)
            return true;
    return false;
}

void tdi_program_remotes_pump(tdi_bridge *bridge)
{
    const tdi_agent *full[FULL_KNOWN];
    uint32_t full_total = 0;
    td_program_remote *next = NULL;
    for (td_program_remote *remote = bridge->remotes_first; remote != NULL; remote = next) {
        struct tdi_program_call *call = call_of(remote);
        next = remote->wait_next;
        tdi_agent *agent = agent_of(bridge, remote);
        if (agent != NULL && is_among(agent, full, full_total))
            continue;
        const td_status status = send_now(call, agent, remote);
        if (status == TD_BUSY) {
            full[full_total++ % FULL_KNOWN] = agent;
            continue;
        }
        leave_queue(call, remote);
        if (status != TD_OK)
            give_up(call, remote, status);
    }
}

/* ---- ends that no agent makes ---- */

static void cancel_all(struct tdi_program_call *call)
{
    const bool unheard = call->answer->session->ended;
    td_program_remote *next = NULL;
    for (td_program_remote *remote = call->remotes; remote != NULL; remote = next) {
        next = remote->next;
        if (remote->carrier != NULL)
            tdi_relay_cancel(remote->carrier);
        if (remote->waits || unheard)
            give_up(call, remote, TD_CANCELLED);
    }
}

void tdi_program_remotes_sweep(struct tdi_program_call *call, uint64_t now_ns)
{
    if (call->remotes == NULL)
        return;
    if (tdi_run_wish(call->answer) != TD_OK) {
        if (!call->cancelled || call->answer->session->ended || call->waiting > 0)
            cancel_all(call);
        call->cancelled = true;
    }
    if (now_ns - call->swept_ns < SWEEP_NS)
        return;
    call->swept_ns = now_ns;
    const bool stopped = td_program_stopped(call->run);
    td_program_remote *next = NULL;
    for (td_program_remote *remote = call->remotes; remote != NULL; remote = next) {
        next = remote->next;
        const uint64_t grace_ns = remote->waits ? 0 : LATE_NS;
        if (remote->waits && stopped && td_program_is_whole_step(remote)) {
            give_up(call, remote, TD_NOT_STARTED);
        } else if (remote->deadline_ns != 0 && now_ns >= remote->deadline_ns &&
                   now_ns - remote->deadline_ns >= grace_ns) {
            if (remote->carrier != NULL)
                tdi_relay_cancel(remote->carrier);
            give_up(call, remote, TD_TIMED_OUT);
        }
    }
}

/* blob_call.c - calls and answers whose body is a blob: the frame passes as it is, the fd before.
 */
#include "bridge/blob.h"

td_status tdi_blob_call(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                        const uint8_t *ext_bytes, const uint8_t *body)
{
    tdi_blob *blob;
    uint64_t charged;
    td_status status = tdi_blob_named(session, frame, ext, &blob);
    if (status != TD_OK)
        return status;
    status = tdi_call_enter(session, frame, frame->body_bytes, &charged);
    if (status == TD_CORRUPT) {
        tdi_blob_release(blob);
        return status;
    }
    session->counters.calls++;
    const tdi_registry_row *row = tdi_registry_row_of(&session->bridge->registry, frame->action_id);
    if (status == TD_OK)
        status = row == NULL ? TD_NO_AGENT : TD_OK;
    /* What the bridge does itself, and programs, take no body that is longer than a ring carries.
     */
    if (status == TD_OK && (frame->kind != TDI_KIND_CALL || row->agent == NULL))
        status = TD_TOO_LARGE;
    if (status == TD_OK) {
        const tdi_outgoing call = {
            .frame = *frame,
            .ext = ext_bytes,
            .body = {body, frame->body_bytes},
            .blob = blob,
            .crc_known = true,
            .caller = session,
            .call_id = frame->call_id,
            .charged = charged,
            .reply = tdi_relay_to_caller,
        };
        tdi_blob_keep(blob); /* the call may have ended when this returns */
        status = tdi_agent_send(row->agent, &call);
        if (status == TD_OK)
            tdi_blob_shut(blob); /* the agent has it */
        tdi_blob_release(blob);
    }
    if (status != TD_OK) {
        tdi_blob_release(blob);
        tdi_answer_refusal(session, frame->call_id, status == TD_ERR_SYSTEM ? TD_BUSY : status,
                           charged);
    }
    return TD_OK;
}

void tdi_blob_answer(tdi_session *caller, uint32_t reply_bytes_max, tdi_reply *reply)
{
    const bool over = reply_bytes_max != 0 && reply->blob->bytes > reply_bytes_max;
    if (!over && tdi_blob_give(reply->blob, caller) == TD_OK) {
        reply->blob = NULL; /* the caller drops it */
        return;
    }
    /* It did run, so not BUSY, which invites a retry. */
    tdi_blob_release(reply->blob);
    reply->blob = NULL;
    reply->ext = NULL;
    reply->status = TD_TOO_LARGE;
    reply->body = (td_view){NULL, 0};
    reply->crc_known = false;
}

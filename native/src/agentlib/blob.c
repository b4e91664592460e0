/* blob.c - an agent's bodies that are longer than a ring may carry: calls in, answers out. */
#include <string.h>

#include "agentlib/agent_state.h"
#include "base/crc32c.h"

td_status agent_blob_take(td_agent *agent, const tdi_frame *frame, const tdi_extension *ext,
                          tdi_blob_view *out, bool *sound)
{
    uint32_t sum;
    if (!(ext->present & 1u << TDI_EXT_BLOB) || frame->body_bytes != sizeof sum)
        return tdi_fail(&agent->error, TD_CORRUPT, "a blob that is none");
    const td_status status = tdi_blob_receive(agent->socket_fd, &agent->blobs, ext->blob_id,
                                              ext->blob_bytes, out, &agent->error);
    if (status != TD_OK)
        return status;
    memcpy(&sum, agent->scratch, sizeof sum);
    *sound = tdi_crc32c(0, out->data, out->bytes) == sum;
    return TD_OK;
}

td_status agent_blob_give(td_agent *agent, agent_parcel *parcel, uint32_t *sum)
{
    const td_view whole = {parcel->body, parcel->bytes};
    tdi_blob_name name;
    const td_status status =
        tdi_blob_send(agent->socket_fd, &agent->blobs, &whole, 1, &name, &agent->error);
    parcel->body = NULL;
    parcel->bytes = 0;
    if (status == TD_BUSY || status == TD_TOO_LARGE) {
        parcel->frame.aux = TD_TOO_LARGE; /* it did run, so not BUSY, which invites a retry */
        return TD_OK;
    }
    if (status != TD_OK)
        return status;
    *sum = name.crc;
    parcel->frame.flags |= TDI_FLAG_BLOB;
    parcel->blob[0] = name.id;
    parcel->blob[1] = name.bytes;
    parcel->body = (uint8_t *)sum;
    parcel->bytes = sizeof *sum;
    return TD_OK;
}

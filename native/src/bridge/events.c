/* events.c - EVENT frames: which actions came and went. */
#include "bridge/bridge.h"

void tdi_events_send(tdi_session *session)
{
    tdi_registry *registry = &session->bridge->registry;
    static uint8_t rows[16 * 1024];
    size_t bytes_max = tdi_ring_span_max(session->tx.capacity) - TDI_FRAME_BYTES;
    if (bytes_max > sizeof rows)
        bytes_max = sizeof rows;
    uint32_t from = 0;
    while (from < registry->total && !session->ended) {
        size_t bytes;
        uint32_t total;
        tdi_registry_encode_changes(registry, session->registry_seen, &from, rows, bytes_max,
                                    &bytes, &total);
        if (total == 0)
            break;
        tdi_answer event = {
            .frame = {.kind = TDI_KIND_EVENT, .aux = total}, .body = rows, .bytes = bytes};
        tdi_answer_push(session, &event, 0);
    }
    session->registry_seen = registry->version;
}

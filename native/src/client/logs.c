/* logs.c - lines that agents logged for our calls, kept until somebody takes them. */
#include <stdlib.h>
#include <string.h>

#include "client/client_state.h"

struct client_logs {
    size_t total;
    uint32_t dropped; /* since the last one that was kept */
    tdi_client_log lines[TDI_CLIENT_LOGS_MAX];
};

void tdi_client_keep_log(tdi_client *client, const tdi_frame *frame, const uint8_t *text)
{
    if (client->logs == NULL)
        client->logs = calloc(1, sizeof *client->logs);
    client_logs *logs = client->logs;
    if (logs == NULL || frame->body_bytes > TDI_LOG_BYTES_MAX)
        return;
    char *copy = logs->total < TDI_CLIENT_LOGS_MAX ? malloc((size_t)frame->body_bytes + 1) : NULL;
    if (copy == NULL) {
        logs->dropped += frame->aux2 + (frame->body_bytes > 0);
        return;
    }
    memcpy(copy, text, frame->body_bytes);
    logs->lines[logs->total++] = (tdi_client_log){.call_id = frame->call_id,
                                                  .action_id = frame->action_id,
                                                  .part = frame->destination,
                                                  .level = frame->aux,
                                                  .attempt = frame->attempt,
                                                  .dropped = frame->aux2 + logs->dropped,
                                                  .text = copy,
                                                  .bytes = frame->body_bytes};
    logs->dropped = 0;
}

size_t tdi_client_logs_waiting(const tdi_client *client)
{
    return client->logs != NULL ? client->logs->total : 0;
}

void tdi_client_take_logs(tdi_client *client, tdi_client_log_fn fn, void *context)
{
    client_logs *logs = client->logs;
    if (logs == NULL)
        return;
    const size_t total = logs->total;
    logs->total = 0; /* fn may not call us, and its own failure loses no memory */
    for (size_t i = 0; i < total; i++) {
        if (fn != NULL)
            fn(context, &logs->lines[i]);
        free(logs->lines[i].text);
    }
}

void tdi_client_free_logs(tdi_client *client)
{
    tdi_client_take_logs(client, NULL, NULL);
    free(client->logs);
    client->logs = NULL;
}

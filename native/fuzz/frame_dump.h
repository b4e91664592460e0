/* frame_dump.h - check a whole frame as an endpoint does, and show it as one line of text.
 *
 * name=value for each field of protocol/frame.tsv in its order, then the known extension records,
 * then the body in hex. tests/parity makes the same line in Python.
 *
 * Threads: any.  Memory: none.  Errors: TD_CORRUPT as the parts of src/wire.
 */
#ifndef TDI_FRAME_DUMP_H
#define TDI_FRAME_DUMP_H

#include <inttypes.h>
#include <stdio.h>

#include "base/crc32c.h"
#include "wire/extension.h"
#include "wire/frame.h"

/* The frame at the front of `data`, with whatever seq it carries. A PAD has a header only. */
static inline td_status frame_take(const uint8_t *data, size_t bytes, tdi_frame *frame,
                                   tdi_extension *extension)
{
    if (bytes < TDI_FRAME_BYTES)
        return TD_CORRUPT;
    tdi_frame_copy(frame, data);
    memset(extension, 0, sizeof *extension);
    const td_status status = tdi_frame_check(frame, frame->seq, bytes);
    if (status != TD_OK || frame->kind == TDI_KIND_PAD)
        return status;
    const size_t ext_bytes = 8u * frame->ext_units;
    const uint8_t *const behind = data + TDI_FRAME_BYTES;
    if (tdi_crc32c(0, behind, ext_bytes + frame->body_bytes) != frame->body_crc)
        return TD_CORRUPT;
    return tdi_extension_parse(behind, ext_bytes, extension);
}

static inline void dump_hex(FILE *out, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        fprintf(out, "%02x", data[i]);
}

static inline void dump_frame(FILE *out, const uint8_t *data, const tdi_frame *frame,
                              const tdi_extension *extension)
{
    fprintf(out, "kind=%u flags=%u lane=%u ext_units=%u body_bytes=%" PRIu32 " seq=%" PRIu32,
            frame->kind, frame->flags, frame->lane, frame->ext_units, frame->body_bytes,
            frame->seq);
    fprintf(out, " call_id=%" PRIu64 " time_ns=%" PRIu64, frame->call_id, frame->time_ns);
    fprintf(out, " source=%" PRIu32 " destination=%" PRIu32 " action_id=%" PRIu32, frame->source,
            frame->destination, frame->action_id);
    fprintf(out, " attempt=%u tenant=%u aux=%" PRIu32 " aux2=%" PRIu32, frame->attempt,
            frame->tenant, frame->aux, frame->aux2);
    if (extension->present & 1u << TDI_EXT_TRACE) {
        fputs(" trace=", out);
        dump_hex(out, extension->trace.data, extension->trace.bytes);
    }
    if (extension->present & 1u << TDI_EXT_KEY) {
        fputs(" key=", out);
        dump_hex(out, extension->key.data, extension->key.bytes);
    }
    if (extension->present & 1u << TDI_EXT_FENCE)
        fprintf(out, " fence=%" PRIu64, extension->fence);
    if (extension->present & 1u << TDI_EXT_TOTAL)
        fprintf(out, " total_bytes=%" PRIu64, extension->total_bytes);
    if (extension->present & 1u << TDI_EXT_BLOB)
        fputs(" blob", out);
    if (extension->present & 1u << TDI_EXT_RUN_STEP)
        fputs(" run_step", out);
    if (extension->present & 1u << TDI_EXT_INPUTS)
        fputs(" inputs", out);
    if (extension->present & 1u << TDI_EXT_CPUS) {
        fputs(" cpus=", out);
        dump_hex(out, extension->cpus.data, extension->cpus.bytes);
    }
    if (frame->kind != TDI_KIND_PAD && frame->body_bytes > 0) {
        fputs(" body=", out);
        dump_hex(out, data + TDI_FRAME_BYTES + 8u * frame->ext_units, frame->body_bytes);
    }
}

#endif /* TDI_FRAME_DUMP_H */

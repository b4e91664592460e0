/* frame_fuzz.c - any bytes as a frame: never a read outside, and CRCs are no shield.
 *
 * A random header hardly ever has the right CRC, so each input is tried as it is, and once more
 * with its CRCs put right: what a hostile peer would do.
 */
#include <stdlib.h>

#include "frame_dump.h"

/* The extension alone, in memory of exactly its size: in the frame a read past it meets the body,
 * and no sanitizer sees anything. */
static void extension_alone(const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes + 1);
    tdi_extension extension;
    if (exact == NULL)
        return;
    memcpy(exact + 1, data, bytes);
    if (tdi_extension_parse(exact + 1, bytes, &extension) == TD_OK &&
        extension.key.bytes > TDI_KEY_BYTES_MAX)
        abort();
    free(exact);
}

static void endpoint(const uint8_t *data, size_t bytes)
{
    tdi_frame frame;
    tdi_extension extension;
    if (bytes >= TDI_FRAME_BYTES) {
        tdi_frame_copy(&frame, data);
        const size_t room = bytes - TDI_FRAME_BYTES, units = frame.ext_units % 33u;
        extension_alone(data + TDI_FRAME_BYTES, 8 * units <= room ? 8 * units : room);
    }
    if (frame_take(data, bytes, &frame, &extension) != TD_OK || frame.kind == TDI_KIND_PAD)
        return;
    if (tdi_frame_span(&frame) > bytes)
        abort();
    const td_view body = {data + TDI_FRAME_BYTES + 8u * frame.ext_units, frame.body_bytes};
    td_view payload, inputs;
    if (tdi_body_split(body, &payload, &inputs) == TD_OK &&
        1 + payload.bytes + inputs.bytes != body.bytes)
        abort();
    if (extension.key.bytes > TDI_KEY_BYTES_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    endpoint(data, bytes);
    if (bytes < TDI_FRAME_BYTES)
        return 0;
    uint8_t *repaired = malloc(bytes);
    if (repaired == NULL)
        return 0;
    memcpy(repaired, data, bytes);
    tdi_frame frame;
    tdi_frame_copy(&frame, repaired);
    frame.ext_units %= TDI_EXT_UNITS_MAX + 1;
    const size_t room = bytes - TDI_FRAME_BYTES;
    const size_t behind = 8u * frame.ext_units + (size_t)frame.body_bytes;
    const uint32_t crc = tdi_crc32c(0, repaired + TDI_FRAME_BYTES, behind <= room ? behind : room);
    tdi_frame_seal(&frame, frame.seq, crc);
    memcpy(repaired, &frame, sizeof frame);
    endpoint(repaired, bytes);
    free(repaired);
    return 0;
}

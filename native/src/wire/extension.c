#include "wire/extension.h"

#include <string.h>

#include "tandem/message.h"
#include "worker/cpus.h"

static uint16_t load16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Length each known type must have; 0 = its own rule. */
static const uint8_t exact_bytes[TDI_EXT_KNOWN_MAX + 1] = {
    [TDI_EXT_TRACE] = 25, [TDI_EXT_FENCE] = 8,     [TDI_EXT_TOTAL] = 8,
    [TDI_EXT_BLOB] = 16,  [TDI_EXT_RUN_STEP] = 24,
};

static td_status take_record(tdi_extension *out, uint16_t type, const uint8_t *data, size_t bytes)
{
    const uint16_t plain = type & 0x7FFF;
    if (plain == 0)
        return TD_CORRUPT;
    if (plain > TDI_EXT_KNOWN_MAX)
        return type & TDI_EXT_CRITICAL ? TD_CORRUPT : TD_OK;
    if (out->present & (1u << plain))
        return TD_CORRUPT;
    if (exact_bytes[plain] != 0 && bytes != exact_bytes[plain])
        return TD_CORRUPT;
    if (plain == TDI_EXT_KEY && (bytes == 0 || bytes > TDI_KEY_BYTES_MAX))
        return TD_CORRUPT;
    if (plain == TDI_EXT_INPUTS && (bytes != 0 || !(type & TDI_EXT_CRITICAL)))
        return TD_CORRUPT;
    if (plain == TDI_EXT_CPUS && (bytes == 0 || bytes > TDI_CPUS_BYTES_MAX || bytes % 8 != 0))
        return TD_CORRUPT;
    out->present |= 1u << plain;
    if (plain == TDI_EXT_KEY)
        out->key = (td_view){data, bytes};
    else if (plain == TDI_EXT_TRACE)
        out->trace = (td_view){data, bytes};
    else if (plain == TDI_EXT_CPUS)
        out->cpus = (td_view){data, bytes};
    else if (plain == TDI_EXT_TOTAL)
        out->total_bytes = load64(data);
    else if (plain == TDI_EXT_FENCE)
        out->fence = load64(data);
    else if (plain == TDI_EXT_BLOB) {
        out->blob_id = load64(data);
        out->blob_bytes = load64(data + 8);
    }
    return TD_OK;
}

td_status tdi_extension_parse(const uint8_t *data, size_t bytes, tdi_extension *out)
{
    tdi_extension parsed = {0};
    while (bytes > 0) {
        if (bytes < 8)
            return TD_CORRUPT;
        const uint16_t type = load16(data), length = load16(data + 2);
        const size_t span = ((size_t)length + 4 + 7) & ~(size_t)7;
        if (span > bytes)
            return TD_CORRUPT;
        for (size_t i = 4 + (size_t)length; i < span; i++)
            if (data[i] != 0)
                return TD_CORRUPT;
        const td_status status = take_record(&parsed, type, data + 4, length);
        if (status != TD_OK)
            return status;
        data += span;
        bytes -= span;
    }
    *out = parsed;
    return TD_OK;
}

td_status tdi_extension_add(uint8_t *into, uint8_t *units, uint16_t type, const void *data,
                            size_t bytes)
{
    const size_t at = (size_t)*units * 8, span = (bytes + 4 + 7) & ~(size_t)7;
    if (bytes > TDI_EXT_BYTES_MAX || span > TDI_EXT_BYTES_MAX - at)
        return TD_TOO_LARGE;
    const uint16_t length = (uint16_t)bytes;
    memset(into + at, 0, span);
    memcpy(into + at, &type, 2);
    memcpy(into + at + 2, &length, 2);
    if (bytes > 0)
        memcpy(into + at + 4, data, bytes);
    *units = (uint8_t)(*units + span / 8);
    return TD_OK;
}

/* Length of the value at the front; looks at structure only, never past `bytes`. */
static td_status value_bytes_of(const uint8_t *data, size_t bytes, size_t *value_bytes)
{
    td_reader reader = td_reader_of(data, bytes);
    const td_status status = td_skip(&reader);
    if (status == TD_OK)
        *value_bytes = (size_t)(reader.at - data);
    return status;
}

td_status tdi_body_split(td_view body, td_view *payload, td_view *inputs)
{
    size_t first, second;
    if (body.bytes < 3 || body.data[0] != 0x92)
        return TD_CORRUPT;
    if (value_bytes_of(body.data + 1, body.bytes - 1, &first) != TD_OK)
        return TD_CORRUPT;
    const size_t left = body.bytes - 1 - first;
    if (left == 0 || value_bytes_of(body.data + 1 + first, left, &second) != TD_OK ||
        second != left)
        return TD_CORRUPT;
    *payload = (td_view){body.data + 1, first};
    *inputs = (td_view){body.data + 1 + first, second};
    return TD_OK;
}

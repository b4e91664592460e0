/* verdict.c - what an action's return value means, and failures as bytes. */
#include "strict/verdict.h"

#include <stdio.h>
#include <string.h>

#include "strict/strict.h"

static tdi_verdict internal_error(const char *what)
{
    return (tdi_verdict){TD_FAILED, "InternalError", what};
}

static bool is_one_value(const td_writer *output, bool strict)
{
    const size_t bytes = td_writer_bytes(output);
    if (bytes == 1 && output->start[0] == 0xC0)
        return true;
    if (strict)
        return td_strict_check(output->start, bytes) == TD_OK;
    td_reader reader = td_reader_of(output->start, bytes);
    return td_skip(&reader) == TD_OK && (size_t)(reader.at - output->start) == bytes;
}

tdi_verdict tdi_judge(td_status returned, td_status wished, bool failed, const td_writer *output,
                      uint64_t bytes_max, bool strict)
{
    if (returned == TD_FAILED && failed)
        return (tdi_verdict){TD_FAILED, NULL, NULL};
    if (returned == TD_CANCELLED)
        return wished != TD_OK ? (tdi_verdict){wished, NULL, NULL}
                               : internal_error("stopped though nobody asked");
    /* BUSY: over a quota. It did run, so BUSY, which invites a retry, would be wrong. */
    if (output->status == TD_TOO_LARGE || output->status == TD_BUSY ||
        td_writer_bytes(output) > bytes_max)
        return (tdi_verdict){TD_TOO_LARGE, "TooLarge", "its payload or output is over the limit"};
    if (output->status == TD_ERR_MEMORY)
        return (tdi_verdict){TD_FAILED, "MemoryError", "no memory for the output"};
    if (returned != TD_OK)
        return internal_error("returned a status without td_fail()");
    if (failed)
        return internal_error("called td_fail() and returned TD_OK");
    if (!is_one_value(output, strict))
        return internal_error(strict ? "did not write exactly one strict value"
                                     : "did not write exactly one value");
    return (tdi_verdict){TD_OK, NULL, NULL};
}

/* Strict MessagePack wants UTF-8; what is not becomes '?'. Cut at a character's start. */
static void write_text(td_writer *writer, const char *text, size_t bytes_max)
{
    char clean[TDI_FAILURE_TEXT_MAX + 1];
    const char *const end = memchr(text, '\0', bytes_max);
    size_t bytes = end != NULL ? (size_t)(end - text) : bytes_max;
    if (end == NULL)
        while (bytes > 0 && ((unsigned char)text[bytes] & 0xC0) == 0x80)
            bytes--;
    memcpy(clean, text, bytes);
    if (!td_utf8_valid((const uint8_t *)clean, bytes))
        for (size_t i = 0; i < bytes; i++)
            if ((unsigned char)clean[i] >= 0x80)
                clean[i] = '?';
    td_write_str(writer, clean, bytes);
}

uint32_t tdi_failure_encode(uint8_t *into, size_t room, bool bare, const char *type,
                            const char *message)
{
    td_writer writer;
    td_writer_fixed(&writer, into, room);
    if (!bare) {
        td_write_map(&writer, 2);
        td_write_text(&writer, "type");
    }
    write_text(&writer, type != NULL && *type != '\0' ? type : "Error", TDI_FAILURE_TYPE_MAX);
    if (!bare)
        td_write_text(&writer, "message");
    write_text(&writer, message != NULL ? message : "", TDI_FAILURE_TEXT_MAX);
    return (uint32_t)td_writer_bytes(&writer);
}

uint32_t tdi_verdict_encode(uint8_t *into, size_t room, bool bare, tdi_verdict verdict,
                            const char *agent, const char *action)
{
    char text[256];
    snprintf(text, sizeof text, "%s.%s: %s", agent, action, verdict.what);
    return tdi_failure_encode(into, room, bare, verdict.type, text);
}

#include "docgen_scan_request.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FILES_MAX_DEFAULT   1000000u
#define FILES_MAX_LIMIT     10000000u
#define EXTENSION_BYTES_MAX 255
#define SHOWN_BYTES_MAX     64

static const char *const type_error = "TypeError", *const value_error = "ValueError";

bool tdi_scan_fail(tdi_scan_fault *fault, const char *type, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fault->type = type;
    vsnprintf(fault->message, sizeof fault->message, format, arguments);
    va_end(arguments);
    return false;
}

const char *tdi_scan_shown(td_view text, size_t bytes_max, char *out)
{
    size_t bytes = text.bytes < bytes_max ? text.bytes : bytes_max;
    /* Never cut a character in two: go back to where one starts. */
    if (bytes < text.bytes)
        while (bytes > 0 && (text.data[bytes] & 0xC0) == 0x80)
            bytes--;
    for (size_t i = 0; i < bytes; i++)
        out[i] = text.data[i] < ' ' || text.data[i] == 0x7F ? '?' : (char)text.data[i];
    memcpy(out + bytes, text.bytes > bytes_max ? "..." : "", text.bytes > bytes_max ? 4 : 1);
    return out;
}

static bool has_nul(td_view text)
{
    return text.bytes > 0 && memchr(text.data, 0, text.bytes) != NULL;
}

static bool read_bool(const td_item *value, const char *key, bool *out, tdi_scan_fault *fault)
{
    if (value->type != TD_TYPE_BOOL)
        return tdi_scan_fail(fault, type_error, "payload.%s: must be a bool", key);
    *out = value->boolean;
    return true;
}

static bool read_path(const td_item *value, td_view *out, tdi_scan_fault *fault)
{
    if (value->type != TD_TYPE_STR)
        return tdi_scan_fail(fault, type_error, "payload.path: must be a str");
    *out = (td_view){value->data, value->count};
    if (has_nul(*out))
        return tdi_scan_fail(fault, value_error, "payload.path: must not hold a NUL");
    char shown[SHOWN_BYTES_MAX + 4];
    if (out->bytes == 0 || out->data[0] != '/')
        return tdi_scan_fail(fault, value_error, "payload.path='%s': must be an absolute path",
                             tdi_scan_shown(*out, SHOWN_BYTES_MAX, shown));
    return true;
}

static bool read_path_raw(const td_item *value, td_view *out, tdi_scan_fault *fault)
{
    if (value->type != TD_TYPE_BIN)
        return tdi_scan_fail(fault, type_error, "payload.path_raw: must be bytes");
    *out = (td_view){value->data, value->count};
    if (has_nul(*out))
        return tdi_scan_fail(fault, value_error, "payload.path_raw: must not hold a NUL");
    if (out->bytes == 0 || out->data[0] != '/')
        return tdi_scan_fail(fault, value_error, "payload.path_raw: must be an absolute path");
    return true;
}

/* `reader` stands on the first member. */
static bool read_extensions(const td_item *value, td_reader reader, tdi_scan_request *request,
                            tdi_scan_fault *fault)
{
    request->extensions_count = 0;
    if (value->type == TD_TYPE_NIL)
        return true;
    if (value->type != TD_TYPE_ARRAY)
        return tdi_scan_fail(fault, type_error, "payload.extensions: must be a list of str");
    if (value->count < 1 || value->count > TDI_SCAN_EXTENSIONS_MAX)
        return tdi_scan_fail(fault, value_error, "payload.extensions: must have 1 to %d members",
                             TDI_SCAN_EXTENSIONS_MAX);
    for (size_t i = 0; i < value->count; i++) {
        const char *text;
        td_view ending;
        if (td_read_str(&reader, &text, &ending.bytes) != TD_OK)
            return tdi_scan_fail(fault, type_error, "payload.extensions[%zu]: must be a str", i);
        ending.data = (const uint8_t *)text;
        char shown[SHOWN_BYTES_MAX + 4];
        if (ending.bytes < 2 || ending.bytes > EXTENSION_BYTES_MAX || ending.data[0] != '.' ||
            has_nul(ending) || memchr(ending.data, '/', ending.bytes) != NULL)
            return tdi_scan_fail(
                fault, value_error,
                "payload.extensions[%zu]='%s': must be a dot and 1 to %d bytes without '/'", i,
                tdi_scan_shown(ending, SHOWN_BYTES_MAX, shown), EXTENSION_BYTES_MAX - 1);
        request->extensions[i] = ending;
    }
    request->extensions_count = value->count;
    return true;
}

static bool read_max_files(const td_item *value, uint64_t *out, tdi_scan_fault *fault)
{
    if (value->type == TD_TYPE_INT)
        return tdi_scan_fail(fault, value_error, "payload.max_files=%" PRId64 ": must be 1 to %u",
                             value->signed_value, FILES_MAX_LIMIT);
    if (value->type != TD_TYPE_UINT)
        return tdi_scan_fail(fault, type_error, "payload.max_files: must be an int");
    *out = value->unsigned_value;
    if (*out < 1 || *out > FILES_MAX_LIMIT)
        return tdi_scan_fail(fault, value_error, "payload.max_files=%" PRIu64 ": must be 1 to %u",
                             *out, FILES_MAX_LIMIT);
    return true;
}

static bool read_max_file_bytes(const td_item *value, uint64_t *out, tdi_scan_fault *fault)
{
    *out = UINT64_MAX;
    if (value->type == TD_TYPE_NIL)
        return true;
    if (value->type == TD_TYPE_INT)
        return tdi_scan_fail(fault, value_error,
                             "payload.max_file_bytes=%" PRId64 ": must be at least 0",
                             value->signed_value);
    if (value->type != TD_TYPE_UINT)
        return tdi_scan_fail(fault, type_error, "payload.max_file_bytes: must be an int or null");
    *out = value->unsigned_value;
    return true;
}

static bool key_is(td_view key, const char *name)
{
    return key.bytes == strlen(name) && memcmp(key.data, name, key.bytes) == 0;
}

static bool read_member(td_view key, const td_item *value, td_reader members,
                        tdi_scan_request *request, tdi_scan_fault *fault)
{
    if (key_is(key, "extensions"))
        return read_extensions(value, members, request, fault);
    if (key_is(key, "hash"))
        return read_bool(value, "hash", &request->hash, fault);
    if (key_is(key, "hidden"))
        return read_bool(value, "hidden", &request->hidden, fault);
    if (key_is(key, "ignore"))
        return read_bool(value, "ignore", &request->ignore, fault);
    if (key_is(key, "lines"))
        return read_bool(value, "lines", &request->lines, fault);
    if (key_is(key, "max_file_bytes"))
        return read_max_file_bytes(value, &request->max_file_bytes, fault);
    if (key_is(key, "max_files"))
        return read_max_files(value, &request->max_files, fault);
    if (key_is(key, "path"))
        return read_path(value, &request->path, fault);
    if (key_is(key, "path_raw"))
        return read_path_raw(value, &request->path_raw, fault);
    char shown[SHOWN_BYTES_MAX + 4];
    return tdi_scan_fail(fault, value_error,
                         "payload: unknown key '%s', must be one of extensions, hash, hidden, "
                         "ignore, lines, max_file_bytes, max_files, path, path_raw",
                         tdi_scan_shown(key, SHOWN_BYTES_MAX, shown));
}

bool tdi_scan_request_read(td_view payload, tdi_scan_request *request, tdi_scan_fault *fault)
{
    *request = (tdi_scan_request){.hash = true,
                                  .lines = true,
                                  .ignore = true,
                                  .hidden = true,
                                  .max_files = FILES_MAX_DEFAULT,
                                  .max_file_bytes = UINT64_MAX};
    td_reader reader = td_reader_of(payload.data, payload.bytes);
    size_t pairs;
    if (td_read_map(&reader, &pairs) != TD_OK)
        return tdi_scan_fail(fault, type_error, "payload: must be a dict");
    for (; pairs > 0; pairs--) {
        const char *text;
        td_view key;
        td_item value;
        if (td_read_str(&reader, &text, &key.bytes) != TD_OK)
            return tdi_scan_fail(fault, type_error, "payload: must be a dict with keys of str");
        key.data = (const uint8_t *)text;
        td_reader members = reader;
        if (td_read_item(&members, &value) != TD_OK || td_skip(&reader) != TD_OK)
            return tdi_scan_fail(fault, value_error, "payload: is not strict MessagePack");
        if (!read_member(key, &value, members, request, fault))
            return false;
    }
    if (request->path.data == NULL)
        return tdi_scan_fail(fault, value_error,
                             "payload.path: is missing, must be an absolute path");
    return true;
}

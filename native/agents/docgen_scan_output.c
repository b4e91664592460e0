#define _GNU_SOURCE
#include "docgen_scan_output.h"

#include "docgen_scan_sort.h"

/* How many bytes from `text` on are one good character, or 0; then `*bad` is the length of the
 * part to replace: the bytes that could have begun a character, at least one (Unicode 15, 3.9,
 * "substitution of maximal subparts"). */
static size_t good_bytes(const uint8_t *text, size_t bytes, size_t *bad)
{
    const uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    size_t more = 0;
    uint8_t low = 0x80, high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
        more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        more = 2;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        more = 3;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    }
    size_t at = 1;
    for (; at <= more && at < bytes && text[at] >= low && text[at] <= high; at++) {
        low = 0x80; /* only the second byte is special */
        high = 0xBF;
    }
    *bad = at;
    return more > 0 && at == more + 1 ? at : 0;
}

size_t tdi_utf8_replace(const uint8_t *text, size_t bytes, uint8_t *out)
{
    uint8_t *const start = out;
    while (bytes > 0) {
        size_t used = 0, bad = 0;
        used = good_bytes(text, bytes, &bad);
        if (used > 0) {
            memcpy(out, text, used);
            out += used;
        } else {
            used = bad;
            memcpy(out, "\xEF\xBF\xBD", 3);
            out += 3;
        }
        text += used;
        bytes -= used;
    }
    return (size_t)(out - start);
}

static tdi_path path_of(const void *owner, size_t index)
{
    const tdi_found *const found = (const tdi_found *)owner + index;
    return (tdi_path){found->path_at, found->path_bytes, found->error};
}

/* Keys of each file as ready-made bytes: a short string's head is 0xA0 and its length. */
#define KEY(head, text) td_write_raw(out, head text, sizeof head text - 1)

/* The pair "path", and after it "path_raw" if the first loses something. */
static void write_path(td_writer *out, const uint8_t *path, size_t bytes, bool valid)
{
    KEY("\xA4", "path");
    if (valid) {
        td_write_str(out, (const char *)path, bytes);
        return;
    }
    uint8_t *const shown = malloc(3 * bytes);
    if (shown == NULL) {
        out->status = TD_ERR_MEMORY;
        return;
    }
    td_write_str(out, (const char *)shown, tdi_utf8_replace(path, bytes, shown));
    free(shown);
    td_write_text(out, "path_raw");
    td_write_bin(out, path, bytes);
}

static void write_error(const tdi_walk *walk, const tdi_found *found, td_writer *out)
{
    const uint8_t *const path = walk->paths.data + found->path_at;
    const bool valid = td_utf8_valid(path, found->path_bytes);
    td_write_map(out, valid ? 2 : 3);
    td_write_text(out, "error");
    td_write_text(out, tdi_scan_error_name(found->error));
    write_path(out, path, found->path_bytes, valid);
}

static void write_file(const tdi_walk *walk, const tdi_found *found, td_writer *out)
{
    static const char digits[] = "0123456789abcdef";
    const tdi_scan_request *const request = walk->request;
    const uint8_t *const path = walk->paths.data + found->path_at;
    const bool valid = td_utf8_valid(path, found->path_bytes);
    td_write_map(out, 2u + !valid + request->lines + request->hash);
    KEY("\xA5", "bytes");
    td_write_uint(out, found->facts.bytes);
    if (request->lines) {
        KEY("\xA5", "lines");
        td_write_uint(out, found->facts.lines);
    }
    write_path(out, path, found->path_bytes, valid);
    if (request->hash) {
        char hex[66] = {(char)0xD9, 64}; /* a string of 64 bytes */
        for (size_t i = 0; i < 32; i++) {
            hex[2 + 2 * i] = digits[found->facts.sha256[i] >> 4];
            hex[2 + 2 * i + 1] = digits[found->facts.sha256[i] & 15];
        }
        KEY("\xA6", "sha256");
        td_write_raw(out, hex, sizeof hex);
    }
}

static void write_total(td_writer *out, const char *name, uint64_t value)
{
    td_write_text(out, name);
    td_write_uint(out, value);
}

td_status tdi_scan_write(tdi_walk *walk, td_writer *out)
{
    const tdi_scan_request *const request = walk->request;
    const tdi_found *const all = (void *)walk->found.data;
    const size_t count = walk->found.bytes / sizeof *all;
    tdi_placed *order;
    const td_status status = tdi_paths_sort(walk->paths.data, path_of, all, count, &order);
    if (status != TD_OK)
        return status;
    size_t errors_count = 0;
    for (size_t i = 0; i < count; i++)
        errors_count += all[i].error != TDI_SCAN_FINE;
    uint64_t bytes = 0, lines = 0;
    td_write_map(out, request->path_raw.data != NULL ? 5 : 4);
    td_write_text(out, "errors");
    td_write_array(out, errors_count);
    for (size_t i = 0; i < count && out->status == TD_OK; i++)
        if (all[order[i].index].error != TDI_SCAN_FINE)
            write_error(walk, &all[order[i].index], out);
    td_write_text(out, "files");
    td_write_array(out, count - errors_count);
    for (size_t i = 0; i < count && out->status == TD_OK; i++) {
        const tdi_found *const found = &all[order[i].index];
        if (found->error != TDI_SCAN_FINE)
            continue;
        write_file(walk, found, out);
        bytes += found->facts.bytes;
        lines += found->facts.lines;
    }
    free(order);
    td_write_text(out, "root");
    td_write_str(out, (const char *)request->path.data, request->path.bytes);
    if (request->path_raw.data != NULL) {
        td_write_text(out, "root_raw");
        td_write_bin(out, request->path_raw.data, request->path_raw.bytes);
    }
    td_write_text(out, "totals");
    td_write_map(out, request->lines ? 7 : 6);
    write_total(out, "bytes", bytes);
    write_total(out, "directories", walk->directories);
    write_total(out, "errors", errors_count);
    write_total(out, "files", count - errors_count);
    write_total(out, "ignored", walk->ignored);
    if (request->lines)
        write_total(out, "lines", lines);
    write_total(out, "symlinks", walk->symlinks);
    return out->status;
}

/* docgen_scan_request.h - the checked payload of docgen.scan_codebase.
 *
 * Keys are checked in the order of the payload and the first fault is told, in the words of
 * `scan_request.py`: a wrong payload fails alike in both layers.
 *
 * Threads: any; no state.
 * Memory:  a request borrows the payload.
 * Errors:  false, and `fault` has the type and the message for td_fail().
 */
#ifndef TDI_DOCGEN_SCAN_REQUEST_H
#define TDI_DOCGEN_SCAN_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/agent.h"

#define TDI_SCAN_EXTENSIONS_MAX 256

typedef struct tdi_scan_request {
    td_view path;     /* as given; UTF-8, absolute */
    td_view path_raw; /* the root's bytes if not UTF-8; wins over path. Absent: data is NULL */
    td_view extensions[TDI_SCAN_EXTENSIONS_MAX]; /* endings, each with its dot */
    size_t extensions_count;                     /* 0: all files */
    bool hash, lines, ignore, hidden;
    uint64_t max_files;      /* listed files and errors together */
    uint64_t max_file_bytes; /* UINT64_MAX: no limit */
} tdi_scan_request;

typedef struct tdi_scan_fault {
    const char *type;
    char message[1024];
} tdi_scan_fault;

/* Read the payload, a strict MessagePack value. */
bool tdi_scan_request_read(td_view payload, tdi_scan_request *request, tdi_scan_fault *fault);

/* Fill `fault`; returns false, so that callers can return it. */
bool tdi_scan_fail(tdi_scan_fault *fault, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copy text fit for one line of an error: control bytes become '?', at most `bytes_max` bytes of
 * it, then "..." if some were left out. `out` has room for bytes_max + 4. Returns `out`. */
const char *tdi_scan_shown(td_view text, size_t bytes_max, char *out);

#endif /* TDI_DOCGEN_SCAN_REQUEST_H */

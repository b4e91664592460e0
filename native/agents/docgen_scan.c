/* docgen.scan_codebase in C: list a tree with sizes, lines and digests.
 *
 * The rules are in docs/scan.md; the Python twin is agents/docgen/scan.py. Both give the same
 * bytes on the same tree: nothing depends on time, locale or the order of a file system.
 */
#define _GNU_SOURCE
#include "docgen_scan.h"

#include <errno.h>
#include <inttypes.h>

#include "docgen_scan_output.h"
#include "docgen_scan_request.h"
#include "docgen_scan_walk.h"

#define SHOWN_PATH_BYTES_MAX 512

/* Say why the root could not be opened, by the name of the Python exception. */
static bool fail_root(const tdi_scan_request *request, int error_number, tdi_scan_fault *fault)
{
    char path[SHOWN_PATH_BYTES_MAX + 4], text[128];
    tdi_scan_shown(request->path, SHOWN_PATH_BYTES_MAX, path);
    switch (error_number) {
    case ENOENT:
        return tdi_scan_fail(fault, "FileNotFoundError", "path='%s': there is no such directory",
                             path);
    case ENOTDIR:
        return tdi_scan_fail(fault, "NotADirectoryError", "path='%s': is not a directory", path);
    case EACCES:
    case EPERM:
        return tdi_scan_fail(fault, "PermissionError", "path='%s': no permission to read it", path);
    default:
        return tdi_scan_fail(fault, "OSError", "path='%s': %s", path,
                             strerror_r(error_number, text, sizeof text));
    }
}

/* Explain a walk that did not end well. */
static void explain(const tdi_walk *walk, td_status status, int error_number, tdi_scan_fault *fault)
{
    if (status == TD_ERR_SYSTEM)
        fail_root(walk->request, error_number, fault);
    else if (status == TD_TOO_LARGE)
        tdi_scan_fail(fault, "ScanLimit", "more than max_files=%" PRIu64 " files and errors",
                      walk->request->max_files);
    else
        tdi_scan_fail(fault, "MemoryError", "no memory left after %" PRIu64 " entries",
                      walk->entries);
}

static td_status scan_codebase(td_call *call)
{
    tdi_scan_request request;
    tdi_scan_fault fault;
    if (!tdi_scan_request_read(td_payload(call), &request, &fault))
        return td_fail(call, fault.type, fault.message);
    const td_view root = request.path_raw.data != NULL ? request.path_raw : request.path;
    char *const path = strndup((const char *)root.data, root.bytes);
    if (path == NULL)
        return td_fail(call, "MemoryError", "no memory for the path");
    tdi_walk walk;
    td_status status = tdi_walk_run(&walk, &request, call, path);
    if (status != TD_OK && status != TD_CANCELLED) {
        explain(&walk, status, errno, &fault);
        status = td_fail(call, fault.type, fault.message);
    } else if (status == TD_OK) {
        /* A reply beyond the caller's limit is the writer's sticky status; the host tells it. */
        status = tdi_scan_write(&walk, td_output(call));
    }
    tdi_walk_fini(&walk);
    free(path);
    return status;
}

const td_action tdi_docgen_actions[] = {
    {.agent = "docgen",
     .name = "scan_codebase",
     .run = scan_codebase,
     .effects = TD_EFFECTS_NONE,
     .runs = TD_RUNS_BLOCKING,
     .deterministic = 0,
     .version = "1"},
};
const size_t tdi_docgen_actions_count = sizeof tdi_docgen_actions / sizeof tdi_docgen_actions[0];

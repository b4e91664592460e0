/* docgen_scan_file.h - open one file of a tree without ever waiting; read lines and SHA-256.
 *
 * A name may change its meaning between the listing and the opening. So nothing is opened that
 * the listing did not call a regular file, the opening neither follows links nor blocks, and
 * what was opened is asked again what it is.
 *
 * Threads: one tdi_reading for each thread.
 * Memory:  taken by init, constant whatever the sizes of the files.
 * Errors:  what is wrong with a file is a tdi_scan_error, an entry of the output.
 */
#ifndef TDI_DOCGEN_SCAN_FILE_H
#define TDI_DOCGEN_SCAN_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "tandem/status.h"

/* Entries of `errors`, in the order of their names. */
typedef enum tdi_scan_error {
    TDI_SCAN_FINE = 0,
    TDI_SCAN_BLOCK_DEVICE,
    TDI_SCAN_CHANGED,
    TDI_SCAN_CHAR_DEVICE,
    TDI_SCAN_FIFO,
    TDI_SCAN_IGNORE_TOO_LARGE,
    TDI_SCAN_IGNORE_UNREADABLE,
    TDI_SCAN_IO_ERROR,
    TDI_SCAN_NO_PERMISSION,
    TDI_SCAN_SOCKET,
    TDI_SCAN_TOO_LARGE,
    TDI_SCAN_VANISHED,
    TDI_SCAN_STOPPED /* no entry: `stop` said so */
} tdi_scan_error;

typedef struct tdi_file_facts {
    uint64_t bytes; /* what stat said before and after reading */
    uint64_t lines; /* newlines, plus one for a last line without */
    uint8_t sha256[32];
} tdi_file_facts;

/* How to read, and what reading needs. */
typedef struct tdi_reading {
    bool lines, sha256;
    uint64_t bytes_max;
    /* Told of every buffer read; true ends the reading. */
    bool (*stop)(void *owner, size_t bytes);
    void *owner;
    uint8_t *buffer;
    void *digest;    /* EVP_MD_CTX */
    void *algorithm; /* EVP_MD */
} tdi_reading;

/* Take the buffer and the digest; the caller has set the members before them.
 * Errors: TD_ERR_MEMORY. Call fini in any case. */
td_status tdi_reading_init(tdi_reading *reading);
void tdi_reading_fini(tdi_reading *reading);

/* Read the file `name` of the directory `dir_fd`, or only stat it where neither lines nor a
 * digest are wanted; `facts` is complete only on TDI_SCAN_FINE. */
tdi_scan_error tdi_file_read(tdi_reading *reading, int dir_fd, const char *name,
                             tdi_file_facts *facts);

/* TDI_SCAN_FINE for a regular file of at most `bytes_max` bytes. */
tdi_scan_error tdi_file_check(mode_t mode, uint64_t bytes, uint64_t bytes_max);

/* "fifo", "vanished", …: the name in the output. */
const char *tdi_scan_error_name(tdi_scan_error error);

/* The entry for a system call that failed with this errno. */
tdi_scan_error tdi_scan_error_of(int error_number);

#endif /* TDI_DOCGEN_SCAN_FILE_H */

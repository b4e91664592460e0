/* sysfs.h - small kernel files, read with bounds: what is missing, odd or too long is "not known".
 *
 * layers/native/sysfs.py keeps the same rules.
 *
 * Threads: a tdi_sysfs belongs to one thread.
 * Memory:  64 KiB inside the structure; allocate it, do not put it on a stack.
 * Errors:  1 read, 0 not; a caller has a stand-in for each fact.
 */
#ifndef TDI_SYSFS_H
#define TDI_SYSFS_H

#include <stdint.h>

#include "topology/cpu_set.h"

enum {
    TDI_TEXT_BYTES_MAX = 65536, /* longer files are taken as unreadable */
    TDI_PATH_BYTES_MAX = 4096,
    TDI_ENTRIES_MAX = 65536 /* names looked at in one folder */
};

typedef struct tdi_sysfs {
    char path[TDI_PATH_BYTES_MAX];
    char text[TDI_TEXT_BYTES_MAX + 2]; /* what tdi_sysfs_text() read, and a zero */
} tdi_sysfs;

/* Read a regular file without a zero byte into ->text. The path is printf-made. */
__attribute__((format(printf, 2, 3))) int tdi_sysfs_text(tdi_sysfs *at, const char *format, ...);

/* One whole number of at most 18 digits. */
__attribute__((format(printf, 3, 4))) int tdi_sysfs_number(tdi_sysfs *at, int64_t *out,
                                                           const char *format, ...);

/* A number in [1, 10^9]; 0: not known. */
__attribute__((format(printf, 2, 3))) uint32_t tdi_sysfs_measure(tdi_sysfs *at, const char *format,
                                                                 ...);

/* A size such as 48K, 2M or 1G in KiB, at most 10^9; 0: not known. */
__attribute__((format(printf, 2, 3))) uint32_t tdi_sysfs_kib(tdi_sysfs *at, const char *format,
                                                             ...);

/* A list of CPUs; *high as td_cpu_set_parse(). */
__attribute__((format(printf, 4, 5))) int tdi_sysfs_cpus(tdi_sysfs *at, td_cpu_set *out, int *high,
                                                         const char *format, ...);

/* The N in [0, below) for which the folder has an entry `prefix`N; below <= TD_CPUS_MAX. */
__attribute__((format(printf, 5, 6))) void tdi_sysfs_numbered(tdi_sysfs *at, td_cpu_set *out,
                                                              const char *prefix, uint32_t below,
                                                              const char *format, ...);

/* Drop blanks at both ends of ->text, in place; returns it. */
char *tdi_sysfs_strip(tdi_sysfs *at);

#endif /* TDI_SYSFS_H */

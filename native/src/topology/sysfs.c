#include "topology/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGITS_MAX = 18, MEASURE_MAX = 1000000000 };

static int make_path(tdi_sysfs *at, const char *format, va_list arguments)
{
    const int bytes = vsnprintf(at->path, sizeof at->path, format, arguments);
    return bytes > 0 && (size_t)bytes < sizeof at->path;
}

/* Read ->path into ->text. */
static int read_path(tdi_sysfs *at)
{
    /* Non-blocking: a fifo in a made-up tree must not hold us. */
    const int fd = open(at->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    size_t bytes = 0;
    ssize_t got = -1;
    at->text[0] = '\0';
    if (fd < 0)
        return 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        do {
            got = read(fd, at->text + bytes, TDI_TEXT_BYTES_MAX + 1 - bytes);
            if (got > 0)
                bytes += (size_t)got;
        } while (got > 0 || (got < 0 && errno == EINTR));
    close(fd);
    at->text[bytes] = '\0';
    return got == 0 && bytes <= TDI_TEXT_BYTES_MAX && strlen(at->text) == bytes;
}

#define READ(at, format)                                     \
    __extension__({                                          \
        va_list arguments_;                                  \
        va_start(arguments_, format);                        \
        const int made_ = make_path(at, format, arguments_); \
        va_end(arguments_);                                  \
        made_ &&read_path(at);                               \
    })

int tdi_sysfs_text(tdi_sysfs *at, const char *format, ...)
{
    return READ(at, format);
}

char *tdi_sysfs_strip(tdi_sysfs *at)
{
    static const char blanks[] = " \t\n\r";
    char *text = at->text + strspn(at->text, blanks);
    size_t bytes = strlen(text);
    while (bytes > 0 && strchr(blanks, text[bytes - 1]) != NULL)
        bytes--;
    text[bytes] = '\0';
    return text;
}

/* The whole text as a number; 0: it is none. */
static int to_number(const char *text, size_t digits_max, int64_t *out)
{
    const int negative = *text == '-';
    const char *digits = text + negative;
    const size_t total = strspn(digits, "0123456789");
    int64_t value = 0;
    if (total == 0 || total > digits_max || digits[total] != '\0')
        return 0;
    for (size_t i = 0; i < total; i++)
        value = value * 10 + (digits[i] - '0');
    *out = negative ? -value : value;
    return 1;
}

int tdi_sysfs_number(tdi_sysfs *at, int64_t *out, const char *format, ...)
{
    return READ(at, format) && to_number(tdi_sysfs_strip(at), DIGITS_MAX, out);
}

uint32_t tdi_sysfs_measure(tdi_sysfs *at, const char *format, ...)
{
    int64_t value;
    if (!READ(at, format) || !to_number(tdi_sysfs_strip(at), DIGITS_MAX, &value))
        return 0;
    return value >= 1 && value <= MEASURE_MAX ? (uint32_t)value : 0;
}

uint32_t tdi_sysfs_kib(tdi_sysfs *at, const char *format, ...)
{
    if (!READ(at, format))
        return 0;
    char *text = tdi_sysfs_strip(at);
    const size_t bytes = strlen(text);
    if (bytes < 2)
        return 0;
    const char unit = text[bytes - 1];
    const int64_t factor = unit == 'K' ? 1 : unit == 'M' ? 1024 : unit == 'G' ? 1048576 : 0;
    int64_t value;
    text[bytes - 1] = '\0';
    if (factor == 0 || *text == '-' || !to_number(text, 9, &value))
        return 0;
    return value * factor <= MEASURE_MAX ? (uint32_t)(value * factor) : 0;
}

int tdi_sysfs_cpus(tdi_sysfs *at, td_cpu_set *out, int *high, const char *format, ...)
{
    return READ(at, format) && td_cpu_set_parse(at->text, out, high) == TD_OK;
}

void tdi_sysfs_numbered(tdi_sysfs *at, td_cpu_set *out, const char *prefix, uint32_t below,
                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int made = make_path(at, format, arguments);
    va_end(arguments);
    *out = (td_cpu_set){{0}};
    DIR *folder = made ? opendir(at->path) : NULL;
    if (folder == NULL)
        return;
    const size_t prefix_bytes = strlen(prefix);
    const struct dirent *entry;
    for (int seen = 0; seen < TDI_ENTRIES_MAX && (entry = readdir(folder)) != NULL;) {
        const char *digits = entry->d_name + prefix_bytes;
        int64_t number;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        seen++;
        if (strncmp(entry->d_name, prefix, prefix_bytes) != 0 || *digits == '-' ||
            (digits[0] == '0' && digits[1] != '\0') || !to_number(digits, 9, &number))
            continue;
        if (number < below)
            td_cpu_set_add(out, (uint32_t)number);
    }
    closedir(folder);
}

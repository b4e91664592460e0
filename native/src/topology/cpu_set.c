#include "topology/cpu_set.h"

#include <stdio.h>
#include <string.h>

enum { WORDS = TD_CPUS_MAX / 64, DIGITS_MAX = 18 };

uint32_t td_cpu_set_total(const td_cpu_set *set)
{
    uint32_t total = 0;
    for (int i = 0; i < WORDS; i++)
        total += (uint32_t)__builtin_popcountll(set->words[i]);
    return total;
}

uint32_t td_cpu_set_next(const td_cpu_set *set, uint32_t from)
{
    for (uint32_t i = from / 64; i < WORDS; i++) {
        uint64_t word = set->words[i];
        if (i == from / 64)
            word &= ~UINT64_C(0) << (from % 64);
        if (word != 0)
            return i * 64 + (uint32_t)__builtin_ctzll(word);
    }
    return TD_CPUS_MAX;
}

void td_cpu_set_both(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out)
{
    for (int i = 0; i < WORDS; i++)
        out->words[i] = left->words[i] & right->words[i];
}

void td_cpu_set_either(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out)
{
    for (int i = 0; i < WORDS; i++)
        out->words[i] = left->words[i] | right->words[i];
}

void td_cpu_set_minus(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out)
{
    for (int i = 0; i < WORDS; i++)
        out->words[i] = left->words[i] & ~right->words[i];
}

int td_cpu_set_within(const td_cpu_set *part, const td_cpu_set *whole)
{
    for (int i = 0; i < WORDS; i++)
        if ((part->words[i] & ~whole->words[i]) != 0)
            return 0;
    return 1;
}

/* One number of 1 to 18 digits; NULL: there is none. */
static const char *number(const char *at, const char *end, uint64_t *out)
{
    const char *first = at;
    uint64_t value = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        if (at - first == DIGITS_MAX)
            return NULL;
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    *out = value;
    return at == first ? NULL : at;
}

td_status td_cpu_set_parse(const char *text, td_cpu_set *out, int *high)
{
    static const char blanks[] = " \t\n\r";
    td_cpu_set found = {{0}};
    int beyond = 0;
    const char *at = text + strspn(text, blanks), *end = at + strlen(at);
    while (end > at && strchr(blanks, end[-1]) != NULL)
        end--;
    for (int more = at < end; more;) {
        uint64_t low, last;
        if ((at = number(at, end, &low)) == NULL)
            return TD_ERR_ARGUMENT;
        last = low;
        if (at < end && *at == '-' && (at = number(at + 1, end, &last)) == NULL)
            return TD_ERR_ARGUMENT;
        if (low > last || (at < end && *at != ','))
            return TD_ERR_ARGUMENT;
        beyond |= last >= TD_CPUS_MAX;
        for (uint64_t cpu = low; cpu <= last && cpu < TD_CPUS_MAX; cpu++)
            td_cpu_set_add(&found, (uint32_t)cpu);
        more = at < end; /* a comma, after which an entry must follow */
        at += more;
    }
    *out = found;
    if (high != NULL)
        *high = beyond;
    return TD_OK;
}

size_t td_cpu_set_format(const td_cpu_set *set, char *out)
{
    size_t bytes = 0;
    out[0] = '\0';
    for (uint32_t first = td_cpu_set_next(set, 0); first < TD_CPUS_MAX;) {
        uint32_t last = first;
        while (td_cpu_set_has(set, last + 1))
            last++;
        const char *comma = bytes > 0 ? "," : "";
        /* Every second CPU: 2,048 entries of at most 5 bytes; ranges are rarer. */
        const int wrote = first == last ? snprintf(out + bytes, TD_CPU_LIST_BYTES_MAX - bytes,
                                                   "%s%u", comma, first)
                                        : snprintf(out + bytes, TD_CPU_LIST_BYTES_MAX - bytes,
                                                   "%s%u-%u", comma, first, last);
        bytes += (size_t)wrote;
        first = td_cpu_set_next(set, last + 1);
    }
    return bytes;
}

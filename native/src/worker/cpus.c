#include "worker/cpus.h"

#include <sched.h>
#include <string.h>

/* glibc's functions take a mask of any length. */
static bool set(const uint8_t mask[TDI_CPUS_BYTES_MAX])
{
    cpu_set_t wanted[TDI_CPUS_BYTES_MAX / sizeof(cpu_set_t)];
    memcpy(wanted, mask, sizeof wanted);
    return sched_setaffinity(0, sizeof wanted, wanted) == 0;
}

void tdi_cpus_init(tdi_cpus *cpus)
{
    cpu_set_t found[TDI_CPUS_BYTES_MAX / sizeof(cpu_set_t)];
    *cpus = (tdi_cpus){0};
    /* Fails where the kernel knows more CPUs than we have room for. */
    cpus->known = sched_getaffinity(0, sizeof found, found) == 0;
    if (!cpus->known)
        return;
    memcpy(cpus->own, found, sizeof cpus->own);
    memcpy(cpus->now, found, sizeof cpus->now);
}

void tdi_cpus_follow(tdi_cpus *cpus, td_view mask)
{
    uint8_t wanted[TDI_CPUS_BYTES_MAX] = {0};
    if (!cpus->known || (mask.bytes == 0 && !cpus->is_away) || mask.bytes > sizeof wanted)
        return;
    if (mask.bytes > 0)
        memcpy(wanted, mask.data, mask.bytes);
    else
        memcpy(wanted, cpus->own, sizeof wanted);
    if (memcmp(wanted, cpus->now, sizeof wanted) == 0)
        return;
    if (!set(wanted)) {
        cpus->refused++;
        if (!cpus->is_away)
            return;
        memcpy(wanted, cpus->own, sizeof wanted);
        if (!set(wanted))
            return;
    }
    memcpy(cpus->now, wanted, sizeof wanted);
    cpus->is_away = memcmp(wanted, cpus->own, sizeof wanted) != 0;
}

bool tdi_cpus_within(const tdi_cpus *cpus, td_view mask)
{
    if (mask.bytes == 0 || !cpus->known)
        return true;
    for (size_t i = 0; i < TDI_CPUS_BYTES_MAX; i++)
        if (cpus->own[i] & (uint8_t) ~(i < mask.bytes ? mask.data[i] : 0))
            return false;
    return true;
}

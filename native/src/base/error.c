#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "tdi_build.h"

td_status tdi_fail(tdi_error *error, td_status status, const char *format, ...)
{
    if (error == NULL)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    /* Names and paths come from other processes and end up on terminals. */
    for (char *at = error->text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            *at = '?';
    return status;
}

const char *tdi_status_name(td_status status)
{
    switch (status) {
    case TD_OK:
        return "OK";
    case TD_FAILED:
        return "FAILED";
    case TD_TIMED_OUT:
        return "TIMED_OUT";
    case TD_CANCELLED:
        return "CANCELLED";
    case TD_UNKNOWN:
        return "UNKNOWN";
    case TD_NOT_STARTED:
        return "NOT_STARTED";
    case TD_NO_AGENT:
        return "NO_AGENT";
    case TD_BUSY:
        return "BUSY";
    case TD_TOO_LARGE:
        return "TOO_LARGE";
    case TD_CORRUPT:
        return "CORRUPT";
    case TD_ERR_AGAIN:
        return "ERR_AGAIN";
    case TD_ERR_FULL:
        return "ERR_FULL";
    case TD_ERR_CLOSED:
        return "ERR_CLOSED";
    case TD_ERR_SYSTEM:
        return "ERR_SYSTEM";
    case TD_ERR_MEMORY:
        return "ERR_MEMORY";
    case TD_ERR_REFUSED:
        return "ERR_REFUSED";
    case TD_ERR_ARGUMENT:
        return "ERR_ARGUMENT";
    }
    return "?";
}

const char *tdi_version(void)
{
    return TDI_VERSION;
}

const char *tdi_build_id(void)
{
    return TDI_BUILD_ID;
}

/* absent.c - a build without libffi: nothing can be bound, and that is said. */
#include "foreign/foreign.h"

td_status tdi_foreign_bind(const char *signature, void (*function)(void), tdi_foreign **out,
                           tdi_error *error)
{
    (void)signature;
    (void)function;
    *out = NULL;
    return tdi_fail(error, TD_ERR_ARGUMENT,
                    "this build cannot call plain functions: it was made without libffi "
                    "(install libffi-dev and build again)");
}

td_status tdi_foreign_call(const tdi_foreign *foreign, td_call *call)
{
    (void)foreign;
    return td_fail(call, "InternalError", "nothing was bound");
}

void tdi_foreign_free(tdi_foreign *foreign)
{
    (void)foreign;
}

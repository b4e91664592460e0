/* confine.h - give up, for good, what a bridge never needs.
 *
 * It never starts a program or a process, never debugs another, never speaks to a network. After
 * this the kernel refuses those (EPERM), whatever an action is talked into.
 *
 * Threads: call on the main thread before any other exists; they inherit it.
 * Memory:  none.
 * Errors:  TD_ERR_SYSTEM where the kernel or a container does not allow the filter; the bridge
 *          works without, and says so.
 */
#ifndef TDI_CONFINE_H
#define TDI_CONFINE_H

#include "base/error.h"

td_status tdi_confine(tdi_error *error);

#endif /* TDI_CONFINE_H */

/* value.h - questions about strict values, answered as Python answers them.
 *
 * Every view here is one strict value (td_strict_check has said so): depth is bounded, so a walk
 * may recurse, and no read can fail.
 *
 * Threads: any.
 * Memory:  tdi_value_same() may sort copies on the heap; nothing else allocates.
 * Errors:  tdi_value_same() says false when there is no memory for the copies.
 */
#ifndef TDI_VALUE_H
#define TDI_VALUE_H

#include "program/program.h"
#include "tandem/message.h"

/* Containers open inside each other at most; 0 for a plain value. Linear. */
unsigned tdi_value_depth(td_view value);

/* model/shapes.py same(): 1 is 1.0 and not true, NaN is NaN, the order of keys does not count. */
bool tdi_value_same(td_view left, td_view right);

/* Not null, false, 0, NaN or empty. */
bool tdi_value_truthy(td_view value);

/* Both numbers, both strings or both bytes: true, and *order below, at or above 0, or
 * TDI_UNORDERED where one is NaN. */
enum { TDI_UNORDERED = 2 };
bool tdi_value_order(td_view left, td_view right, int *order);

/* model/conditions.py _contains(): a list that holds an equal item, or text within text. */
bool tdi_value_contains(td_view held_by, td_view item);

/* Whether a map has this key; `key` is any value, and only a string can be one. */
bool tdi_value_has_key(td_view map, td_view key);

/* Follow tokens into a value. TD_OK, or TD_FAILED with the number of tokens that did lead on. */
td_status tdi_value_walk(const td_program *program, const tdi_ref_row *ref, td_view value,
                         td_view *found, uint32_t *depth);

/* The name Python has for the value's type. */
const char *tdi_value_type_name(td_view value);

#endif /* TDI_VALUE_H */

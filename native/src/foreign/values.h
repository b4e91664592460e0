/* values.h - what the files of src/foreign share: the arguments of one call.
 *
 * Threads: of the call's thread.
 * Memory:  tdi_values_free gives back what conversion allocated; pointers into the payload are
 *          borrowed.
 * Errors:  functions that take a call return what td_fail gave, ready to be returned.
 */
#ifndef TDI_VALUES_H
#define TDI_VALUES_H

#include "foreign/signature.h"
#include "tandem/agent.h"

/* How a buffer came in, and how out-buffers go out. */
typedef enum tdi_form { TDI_FORM_LIST, TDI_FORM_BYTES, TDI_FORM_BUFFER } tdi_form;

/* One argument, in the form in which libffi wants its address. */
typedef union tdi_slot {
    uint8_t flag;
    int32_t i32;
    int64_t i64;
    uint32_t u32;
    uint64_t u64;
    float f32;
    double f64;
    void *pointer;
} tdi_slot;

typedef struct tdi_value {
    bool given;
    tdi_slot slot;
    size_t count; /* items, or bytes of text */
    tdi_form form;
    td_view kind; /* BUFFER: as "numpy"; data is NULL when it was not said */
} tdi_value;

typedef struct tdi_values {
    td_call *call;
    tdi_value all[TDI_ARGUMENTS_MAX];
    void *owned[TDI_ARGUMENTS_MAX];
    size_t owned_total, owned_bytes;
} tdi_values;

/* `format`ted failure of an attempt. */
__attribute__((format(printf, 3, 4))) td_status tdi_call_fails(td_call *call, const char *type,
                                                               const char *format, ...);

/* convert.c: the payload's values; out-buffers stay as they are. */
td_status tdi_values_take(tdi_values *values, const tdi_signature *signature);
void tdi_values_free(tdi_values *values);
/* Memory that lives as long as the values, for anything; at least one byte. NULL: it has failed,
 * and *status says how. */
void *tdi_values_keep(tdi_values *values, size_t bytes, const char *name, td_status *status);

/* size.c: allocate the out-buffers, zeroed. */
td_status tdi_values_make_room(tdi_values *values, const tdi_signature *signature);

#endif /* TDI_VALUES_H */

/* format.h - the bytes of a program: a header and eight tables, little-endian, 8-aligned.
 *
 * The tables follow each other in the order of tdi_program_header's totals, each padded with
 * zeros to 8 bytes, so there are no offsets that could lie. `at` and `bytes` name a run of bytes in
 * the literals; `first` and `count` a run of rows. Described in protocol/program.md and, field by
 * field, in protocol/program.tsv, which both languages are tested against.
 *
 * Threads: constants only.  Memory: none.  Errors: none.
 */
#ifndef TDI_PROGRAM_FORMAT_H
#define TDI_PROGRAM_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum {
    TDI_PROGRAM_MAGIC = 0x47504454, /* "TDPG" */
    TDI_PROGRAM_VERSION = 1,
    TDI_NO_INDEX = -1 /* as u32: a token that cannot be a position in a list */
};

typedef struct tdi_program_header {
    uint32_t magic;
    uint16_t version;
    uint16_t flags; /* 0 */
    uint32_t total_bytes;
    uint32_t steps_total;
    uint32_t edges_total;
    uint32_t refs_total;
    uint32_t tokens_total;
    uint32_t pieces_total;
    uint32_t conditions_total;
    uint32_t inputs_total;
    uint32_t literals_bytes;
    uint32_t slots_total;  /* values a RUN brings: the run's inputs, outers, literal values */
    uint32_t outers_total; /* outputs of steps that are not in the program */
    uint32_t reserved[3];
} tdi_program_header;

enum {
    TDI_STEP_WANTED = 1,
    TDI_STEP_CAN_FAIL = 2,
    TDI_STEP_FOR_EACH = 4,
    TDI_STEP_COLLECT = 8, /* on_item_failure = collect */
    TDI_STEP_FLAGS = 15
};

typedef struct tdi_step_row {
    uint32_t action_id;
    uint32_t flags;
    uint32_t piece_first, piece_count; /* the payload */
    uint32_t each_first, each_count;   /* what FOR_EACH runs over */
    uint32_t when_first, when_count;   /* 0: no condition */
    uint32_t edge_first, edge_count;   /* steps that wait for this one */
    uint32_t needs;                    /* edges that lead here */
    uint32_t input_first, input_count;
    uint32_t reserved;
    uint64_t timeout_ns; /* 0: none */
} tdi_step_row;

/* Where a value comes from: in references, input rows and, as far as they apply, pieces. */
enum { TDI_FROM_STEP = 0, TDI_FROM_SLOT = 1, TDI_FROM_ITEM = 2 };

typedef struct tdi_ref_row {
    uint32_t from, index;
    uint32_t token_first, token_count;
    uint32_t default_at, default_bytes; /* 0 bytes: no default */
    uint32_t name_at, name_bytes;       /* what the author called the source, for messages */
} tdi_ref_row;

typedef struct tdi_token_row {
    uint32_t at, bytes;
    uint32_t index; /* what the token means in a list, or TDI_NO_INDEX */
    uint32_t reserved;
} tdi_token_row;

enum { TDI_PIECE_LITERAL = 0, TDI_PIECE_REF = 1, TDI_PIECE_SLOT = 2 };

typedef struct tdi_piece_row {
    uint32_t kind;
    uint32_t at;    /* LITERAL: where; REF, SLOT: which */
    uint32_t bytes; /* LITERAL only */
    uint32_t reserved;
} tdi_piece_row;

enum {
    TDI_WHEN_ALL = 0,
    TDI_WHEN_ANY,
    TDI_WHEN_NOT,
    TDI_WHEN_EQ,
    TDI_WHEN_NE,
    TDI_WHEN_LT,
    TDI_WHEN_LE,
    TDI_WHEN_GT,
    TDI_WHEN_GE,
    TDI_WHEN_IN,
    TDI_WHEN_CONTAINS,
    TDI_WHEN_EXISTS,
    TDI_WHEN_TRUTHY,
    TDI_WHEN_DEPTH_MAX = 33
};

/* A tree in reading order: the rows of what is inside a group follow it. */
typedef struct tdi_condition_row {
    uint32_t op;
    uint32_t size; /* rows of this subtree, itself included */
    uint32_t ref;
    uint32_t at, bytes; /* the value that is compared with */
    uint32_t reserved[3];
} tdi_condition_row;

typedef struct tdi_input_row {
    uint32_t at, bytes; /* the name */
    uint32_t from, index;
} tdi_input_row;

_Static_assert(sizeof(tdi_program_header) == 64, "");
_Static_assert(sizeof(tdi_step_row) == 64, "");
_Static_assert(sizeof(tdi_ref_row) == 32, "");
_Static_assert(sizeof(tdi_token_row) == 16, "");
_Static_assert(sizeof(tdi_piece_row) == 16, "");
_Static_assert(sizeof(tdi_condition_row) == 32, "");
_Static_assert(sizeof(tdi_input_row) == 16, "");

/* What a RUN carries: this, with the keyed magic steps_total keys, slots_total lengths (u32, padded
 * to 8), the values one after another. Length 0 says that an outer step gave nothing; only outers
 * may have it. */
typedef struct tdi_run_header {
    uint32_t magic; /* TDI_RUN_MAGIC */
    uint32_t slots_total;
} tdi_run_header;

enum {
    TDI_RUN_MAGIC = 0x4E524454,       /* "TDRN" */
    TDI_RUN_KEYED_MAGIC = 0x4B524454, /* "TDRK": behind the header, a key for each step */
    TDI_RUN_KEY_BYTES = 16            /* zeros: that step has none */
};

/* What became of a step, as the completion says it. */
enum {
    TDI_OUTCOME_SUCCEEDED = 0,
    TDI_OUTCOME_FAILED = 1,
    TDI_OUTCOME_TIMED_OUT = 2,
    TDI_OUTCOME_CANCELLED = 3,
    TDI_OUTCOME_SKIPPED = 4,
    TDI_OUTCOME_NOT_STARTED = 5,
    TDI_OUTCOME_PACKED = 6, /* SUCCEEDED; the output is nested so deep that it travels as bin */
    TDI_OUTCOME_UNKNOWN = 7
};

/* Why a step was skipped. */
enum { TDI_SKIP_CONDITION = 1, TDI_SKIP_NO_OUTPUT = 2 };

#endif /* TDI_PROGRAM_FORMAT_H */

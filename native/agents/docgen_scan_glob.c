#include "docgen_scan_glob.h"

#include <stdlib.h>
#include <string.h>

#include "docgen_scan_class.h"

/* What position i waits for, in the order of the pattern. */
enum item_kind { ITEM_BYTE, ITEM_ANY, ITEM_CLASS };

typedef struct item {
    uint8_t kind;
    uint8_t byte;
    tdi_byte_set set;
} item;

/* Position i is "the first i items have matched". Words of the sets below: bit i & 63 of word
 * i >> 6 is position i. */
struct tdi_glob {
    size_t words;           /* of one set */
    size_t final;           /* the last position */
    uint64_t *loop_all;     /* positions that any byte keeps: a "**" stands there */
    uint64_t *loop_segment; /* positions that any byte but '/' keeps: a "*" stands there */
    uint64_t *skips;        /* positions before a double star and its slash: both may be left out */
    uint64_t *states, *next;
    uint64_t *accept;     /* one set for each kind of byte: the positions whose item takes it */
    uint8_t kind_of[256]; /* byte -> index into accept */
    uint64_t storage[];
};

/* A pattern, read: at most one item a byte. */
typedef struct draft {
    item *items;
    uint8_t *loops; /* LOOP_* of each position */
    size_t count;
    bool pathname;
} draft;

enum { LOOP_ALL = 1, LOOP_SEGMENT = 2, LOOP_SKIP = 4 };

/* Read a run of stars at `*at`. */
static void read_stars(draft *draft, const uint8_t *pattern, size_t bytes, size_t *at)
{
    const size_t start = *at;
    size_t end = start;
    while (end < bytes && pattern[end] == '*')
        end++;
    *at = end;
    uint8_t *const here = &draft->loops[draft->count];
    if (!draft->pathname) {
        *here |= LOOP_ALL;
        return;
    }
    const bool alone = start == 0 || pattern[start - 1] == '/';
    const bool ends = end == bytes;
    const bool slash = !ends && pattern[end] == '/';
    const bool quoted = bytes - end >= 2 && pattern[end] == '\\' && pattern[end + 1] == '/';
    if (end - start < 2 || !alone || !(ends || slash || quoted)) {
        *here |= LOOP_SEGMENT;
        return;
    }
    if (!slash) {
        *here |= LOOP_ALL;
        return;
    }
    *at = end + 1;
    /* Nothing at all, or anything up to a slash. A second one adds nothing. */
    if (draft->count > 0 && (draft->loops[draft->count - 1] & LOOP_SKIP))
        return;
    *here |= LOOP_ALL | LOOP_SKIP;
    item *const next = &draft->items[draft->count++];
    next->kind = ITEM_BYTE;
    next->byte = '/';
}

/* False for a pattern that can match nothing. */
static bool read_pattern(draft *draft, const uint8_t *pattern, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint8_t byte = pattern[at];
        if (byte == '*') {
            read_stars(draft, pattern, bytes, &at);
            continue;
        }
        item *const next = &draft->items[draft->count++];
        at++;
        if (byte == '[') {
            next->kind = ITEM_CLASS;
            if (!tdi_class_read(pattern, bytes, &at, &next->set))
                return false;
        } else if (byte == '?') {
            next->kind = ITEM_ANY;
        } else {
            if (byte == '\\') {
                if (at == bytes)
                    return false;
                byte = pattern[at++];
            }
            next->kind = ITEM_BYTE;
            next->byte = byte;
        }
    }
    return true;
}

static bool takes(const draft *draft, const item *item, uint8_t byte)
{
    if (item->kind == ITEM_BYTE)
        return item->byte == byte;
    if (draft->pathname && byte == '/')
        return false;
    return item->kind == ITEM_ANY || tdi_byte_set_has(&item->set, byte);
}

/* Number the kinds of bytes this pattern can tell apart; returns how many. Bytes that it never
 * names share kind 0, unless it has classes: then each byte is its own kind. */
static size_t number_kinds(const draft *draft, uint8_t kind_of[256], uint8_t example[256])
{
    bool named[256] = {false};
    named['/'] = true;
    for (size_t i = 0; i < draft->count; i++) {
        if (draft->items[i].kind == ITEM_CLASS)
            memset(named, true, sizeof named);
        else if (draft->items[i].kind == ITEM_BYTE)
            named[draft->items[i].byte] = true;
    }
    size_t kinds = 1;
    memset(kind_of, 0, 256);
    example[0] = 0; /* NUL: no name holds it, so kind 0 stands for all unnamed bytes */
    for (unsigned c = 1; c < 256; c++) {
        if (!named[c])
            continue;
        example[kinds] = (uint8_t)c;
        kind_of[c] = (uint8_t)kinds++;
    }
    return kinds;
}

static tdi_glob *build(const draft *draft)
{
    uint8_t kind_of[256], example[256];
    const size_t kinds = number_kinds(draft, kind_of, example);
    const size_t words = draft->count / 64 + 1;
    tdi_glob *glob = calloc(1, sizeof *glob + (5 + kinds) * words * sizeof(uint64_t));
    if (glob == NULL)
        return NULL;
    glob->words = words;
    glob->final = draft->count;
    glob->loop_all = glob->storage;
    glob->loop_segment = glob->loop_all + words;
    glob->skips = glob->loop_segment + words;
    glob->states = glob->skips + words;
    glob->next = glob->states + words;
    glob->accept = glob->next + words;
    memcpy(glob->kind_of, kind_of, sizeof kind_of);
    for (size_t i = 0; i <= draft->count; i++) {
        const uint64_t bit = 1ull << (i & 63);
        if (draft->loops[i] & LOOP_ALL)
            glob->loop_all[i >> 6] |= bit;
        if (draft->loops[i] & (LOOP_ALL | LOOP_SEGMENT))
            glob->loop_segment[i >> 6] |= bit;
        if (draft->loops[i] & LOOP_SKIP)
            glob->skips[i >> 6] |= bit;
        if (i == draft->count)
            break;
        if (draft->items[i].kind == ITEM_BYTE) {
            glob->accept[kind_of[draft->items[i].byte] * words + (i >> 6)] |= bit;
            continue;
        }
        for (size_t kind = 0; kind < kinds; kind++)
            if (takes(draft, &draft->items[i], example[kind]))
                glob->accept[kind * words + (i >> 6)] |= bit;
    }
    return glob;
}

td_status tdi_glob_create(const uint8_t *pattern, size_t bytes, bool pathname, tdi_glob **out)
{
    draft draft = {.pathname = pathname};
    draft.items = calloc(bytes + 1, sizeof *draft.items);
    draft.loops = calloc(bytes + 1, 1);
    td_status status = TD_ERR_MEMORY;
    if (draft.items != NULL && draft.loops != NULL) {
        tdi_glob *glob = NULL;
        const bool can_match = read_pattern(&draft, pattern, bytes);
        if (can_match)
            glob = build(&draft);
        if (!can_match || glob != NULL) {
            *out = glob;
            status = TD_OK;
        }
    }
    free(draft.loops);
    free(draft.items);
    return status;
}

void tdi_glob_destroy(tdi_glob *glob)
{
    free(glob);
}

/* Nearly all patterns: up to 63 items, so each set is one word. */
static bool matches_one_word(const tdi_glob *glob, const uint8_t *text, size_t bytes)
{
    const uint64_t skips = glob->skips[0];
    uint64_t states = 1 | (skips & 1) << 1;
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t accept = glob->accept[glob->kind_of[text[i]]];
        const uint64_t loops = text[i] == '/' ? glob->loop_all[0] : glob->loop_segment[0];
        uint64_t moved = (states & accept) << 1;
        moved |= (moved & skips) << 1;
        states = moved | (states & loops);
        if (states == 0)
            return false;
    }
    return states >> glob->final & 1;
}

bool tdi_glob_matches(tdi_glob *glob, const uint8_t *text, size_t bytes)
{
    const size_t words = glob->words;
    if (words == 1)
        return matches_one_word(glob, text, bytes);
    uint64_t *states = glob->states, *next = glob->next;
    memset(states, 0, words * sizeof *states);
    states[0] = 1 | (glob->skips[0] & 1) << 1;
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t *accept = glob->accept + glob->kind_of[text[i]] * words;
        const uint64_t *loops = text[i] == '/' ? glob->loop_all : glob->loop_segment;
        /* Bits that leave the top of one word enter the next: once for the step, once more for a
         * skip from the position just reached. Two skips never stand side by side. */
        uint64_t carry = 0, skip_carry = 0, any = 0;
        for (size_t w = 0; w < words; w++) {
            const uint64_t stepping = states[w] & accept[w];
            const uint64_t moved = stepping << 1 | carry;
            const uint64_t skipping = moved & glob->skips[w];
            next[w] = moved | skipping << 1 | skip_carry | (states[w] & loops[w]);
            carry = stepping >> 63;
            skip_carry = skipping >> 63;
            any |= next[w];
        }
        uint64_t *const spare = states;
        states = next;
        next = spare;
        if (any == 0)
            return false;
    }
    return states[glob->final >> 6] >> (glob->final & 63) & 1;
}

#include "program/value.h"

#include "strict/strict.h"

static td_item head_of(td_view value)
{
    td_reader reader = td_reader_of(value.data, value.bytes);
    td_item item = {.type = TD_TYPE_NIL};
    tdi_read_item(&reader, &item);
    return item;
}

unsigned tdi_value_depth(td_view value)
{
    td_reader reader = td_reader_of(value.data, value.bytes);
    uint64_t left[TD_DEPTH_MAX + 1];
    unsigned depth = 0, deepest = 0;
    td_item item;
    while (tdi_read_item(&reader, &item)) {
        if (depth > 0)
            left[depth - 1]--;
        if (item.type == TD_TYPE_ARRAY || item.type == TD_TYPE_MAP) {
            if (depth + 1 > deepest)
                deepest = depth + 1;
            if (depth == TD_DEPTH_MAX)
                return deepest; /* deeper than strict: the caller refuses it */
            left[depth++] = item.type == TD_TYPE_MAP ? 2 * (uint64_t)item.count : item.count;
        }
        while (depth > 0 && left[depth - 1] == 0)
            depth--;
    }
    return deepest;
}

/* ---- numbers ---- */

static bool is_number(const td_item *item)
{
    return item->type == TD_TYPE_UINT || item->type == TD_TYPE_INT || item->type == TD_TYPE_FLOAT;
}

static int sign(bool above, bool below)
{
    return (int)above - (int)below;
}

/* An integer against a float, exactly: rounding the integer would make 2^53 + 1 equal 2^53. */
static int order_int_real(const td_item *integer, double real)
{
    if (real != real)
        return TDI_UNORDERED;
    if (real >= 18446744073709551616.0)
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    /* Toward zero, as a cast goes; what is cut off decides where the whole parts are equal. */
    int order;
    double whole;
    if (integer->type == TD_TYPE_UINT) {
        if (real < 0)
            return 1;
        const uint64_t cut = (uint64_t)real;
        whole = (double)cut;
        order = sign(integer->unsigned_value > cut, integer->unsigned_value < cut);
    } else {
        if (real >= 0)
            return -1;
        const int64_t cut = (int64_t)real;
        whole = (double)cut;
        order = sign(integer->signed_value > cut, integer->signed_value < cut);
    }
    return order != 0 ? order : sign(whole > real, whole < real);
}

static int order_numbers(const td_item *left, const td_item *right)
{
    if (left->type == TD_TYPE_FLOAT && right->type == TD_TYPE_FLOAT) {
        if (left->real != left->real || right->real != right->real)
            return TDI_UNORDERED;
        return sign(left->real > right->real, left->real < right->real);
    }
    if (left->type == TD_TYPE_FLOAT) {
        const int order = order_int_real(right, left->real);
        return order == TDI_UNORDERED ? order : -order;
    }
    if (right->type == TD_TYPE_FLOAT)
        return order_int_real(left, right->real);
    if (left->type != right->type)
        return left->type == TD_TYPE_UINT ? 1 : -1;
    if (left->type == TD_TYPE_UINT)
        return sign(left->unsigned_value > right->unsigned_value,
                    left->unsigned_value < right->unsigned_value);
    return sign(left->signed_value > right->signed_value, left->signed_value < right->signed_value);
}

static int order_bytes(const td_item *left, const td_item *right)
{
    const size_t common = left->count < right->count ? left->count : right->count;
    const int order = common > 0 ? memcmp(left->data, right->data, common) : 0;
    return order != 0 ? sign(order > 0, order < 0)
                      : sign(left->count > right->count, left->count < right->count);
}

bool tdi_value_order(td_view left, td_view right, int *order)
{
    const td_item a = head_of(left), b = head_of(right);
    if (is_number(&a) && is_number(&b)) {
        *order = order_numbers(&a, &b);
        return true;
    }
    if (a.type != b.type || (a.type != TD_TYPE_STR && a.type != TD_TYPE_BIN))
        return false;
    *order = order_bytes(&a, &b); /* UTF-8 sorts as its code points do */
    return true;
}

/* ---- equality ---- */

/* Walk both. Keys must come in the same order: *disordered says that they did not. */
static bool same_in_order(td_reader *left, td_reader *right, bool *disordered)
{
    td_item a, b;
    if (!tdi_read_item(left, &a) || !tdi_read_item(right, &b))
        return false;
    if (is_number(&a) && is_number(&b)) {
        const bool both_nan = a.type == TD_TYPE_FLOAT && b.type == TD_TYPE_FLOAT &&
                              a.real != a.real && b.real != b.real;
        return both_nan || order_numbers(&a, &b) == 0;
    }
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case TD_TYPE_NIL:
        return true;
    case TD_TYPE_BOOL:
        return a.boolean == b.boolean;
    case TD_TYPE_STR:
    case TD_TYPE_BIN:
        return order_bytes(&a, &b) == 0;
    case TD_TYPE_ARRAY:
        for (size_t i = 0; i < a.count; i++)
            if (a.count != b.count || !same_in_order(left, right, disordered))
                return false;
        return a.count == b.count;
    case TD_TYPE_MAP:
        if (a.count != b.count)
            return false;
        for (size_t i = 0; i < a.count; i++) {
            td_item key_a, key_b;
            tdi_read_item(left, &key_a);
            tdi_read_item(right, &key_b);
            if (order_bytes(&key_a, &key_b) != 0) {
                *disordered = true;
                return false;
            }
            if (!same_in_order(left, right, disordered))
                return false;
        }
        return true;
    default: /* a timestamp is no value of the model: it equals nothing */
        return false;
    }
}

bool tdi_value_same(td_view left, td_view right)
{
    bool disordered = false;
    td_reader a = td_reader_of(left.data, left.bytes), b = td_reader_of(right.data, right.bytes);
    if (same_in_order(&a, &b, &disordered))
        return true;
    if (!disordered)
        return false;
    /* Sort the keys of both, which looking each key up would make quadratic. */
    td_heap_writer sorted_a, sorted_b;
    td_heap_writer_init(&sorted_a, left.bytes);
    td_heap_writer_init(&sorted_b, right.bytes);
    bool same = false;
    if (td_canonical(left.data, left.bytes, &sorted_a.writer) == TD_OK &&
        td_canonical(right.data, right.bytes, &sorted_b.writer) == TD_OK) {
        a = td_reader_of(sorted_a.writer.start, left.bytes);
        b = td_reader_of(sorted_b.writer.start, right.bytes);
        same = same_in_order(&a, &b, &disordered);
    }
    td_heap_writer_fini(&sorted_a);
    td_heap_writer_fini(&sorted_b);
    return same;
}

/* ---- the rest ---- */

bool tdi_value_truthy(td_view value)
{
    const td_item item = head_of(value);
    switch (item.type) {
    case TD_TYPE_NIL:
        return false;
    case TD_TYPE_BOOL:
        return item.boolean;
    case TD_TYPE_UINT:
        return item.unsigned_value != 0;
    case TD_TYPE_FLOAT:
        return item.real == item.real && item.real != 0;
    case TD_TYPE_STR:
    case TD_TYPE_BIN:
    case TD_TYPE_ARRAY:
    case TD_TYPE_MAP:
        return item.count != 0;
    default:
        return true;
    }
}

bool tdi_value_contains(td_view held_by, td_view item)
{
    const td_item holder = head_of(held_by), wanted = head_of(item);
    if (holder.type == TD_TYPE_STR || holder.type == TD_TYPE_BIN) {
        if (wanted.type != holder.type)
            return false;
        return wanted.count == 0 ||
               memmem(holder.data, holder.count, wanted.data, wanted.count) != NULL;
    }
    if (holder.type != TD_TYPE_ARRAY)
        return false;
    td_reader reader = td_reader_of(held_by.data, held_by.bytes);
    size_t items = 0;
    td_read_array(&reader, &items);
    for (; items > 0; items--) {
        td_view held;
        if (td_read_raw(&reader, &held.data, &held.bytes) != TD_OK)
            return false;
        if (tdi_value_same(held, item))
            return true;
    }
    return false;
}

bool tdi_value_has_key(td_view map, td_view key)
{
    const td_item wanted = head_of(key);
    td_reader value;
    return wanted.type == TD_TYPE_STR &&
           td_map_find_n(td_reader_of(map.data, map.bytes), (const char *)wanted.data, wanted.count,
                         &value) == TD_OK;
}

td_status tdi_value_walk(const td_program *program, const tdi_ref_row *ref, td_view value,
                         td_view *found, uint32_t *depth)
{
    td_reader at = td_reader_of(value.data, value.bytes);
    for (uint32_t i = 0; i < ref->token_count; i++) {
        const tdi_token_row *token = &program->tokens[ref->token_first + i];
        td_reader inside = at;
        td_item item;
        *depth = i;
        if (!tdi_read_item(&inside, &item))
            return TD_FAILED;
        if (item.type == TD_TYPE_MAP) {
            if (td_map_find_n(at, (const char *)program->literals + token->at, token->bytes,
                              &inside) != TD_OK)
                return TD_FAILED;
        } else if (item.type == TD_TYPE_ARRAY && token->index < item.count) {
            for (uint32_t k = 0; k < token->index; k++)
                if (td_skip(&inside) != TD_OK)
                    return TD_FAILED;
        } else {
            return TD_FAILED;
        }
        at = inside;
    }
    if (ref->token_count == 0) {
        *found = value;
        return TD_OK;
    }
    return td_read_raw(&at, &found->data, &found->bytes);
}

const char *tdi_value_type_name(td_view value)
{
    switch (head_of(value).type) {
    case TD_TYPE_NIL:
        return "NoneType";
    case TD_TYPE_BOOL:
        return "bool";
    case TD_TYPE_UINT:
    case TD_TYPE_INT:
        return "int";
    case TD_TYPE_FLOAT:
        return "float";
    case TD_TYPE_STR:
        return "str";
    case TD_TYPE_BIN:
        return "bytes";
    case TD_TYPE_ARRAY:
        return "list";
    case TD_TYPE_MAP:
        return "dict";
    default:
        return "Timestamp";
    }
}

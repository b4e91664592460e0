/* condition.c - model/conditions.py in C. A group's rows follow it, so a walk needs no links. */
#include "program/state.h"
#include "program/value.h"

static bool in_order(uint32_t op, td_view left, td_view right)
{
    int order;
    if (!tdi_value_order(left, right, &order) || order == TDI_UNORDERED)
        return false;
    switch (op) {
    case TDI_WHEN_LT:
        return order < 0;
    case TDI_WHEN_LE:
        return order <= 0;
    case TDI_WHEN_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static bool is_map(td_view value)
{
    return value.data[0] == 0xDE || value.data[0] == 0xDF || (value.data[0] & 0xF0) == 0x80;
}

static bool compare(uint32_t op, td_view found, td_view value)
{
    switch (op) {
    case TDI_WHEN_EXISTS:
        return true;
    case TDI_WHEN_TRUTHY:
        return tdi_value_truthy(found);
    case TDI_WHEN_EQ:
        return tdi_value_same(found, value);
    case TDI_WHEN_NE:
        return !tdi_value_same(found, value);
    case TDI_WHEN_IN:
        return tdi_value_contains(value, found);
    case TDI_WHEN_CONTAINS:
        return is_map(found) ? tdi_value_has_key(found, value) : tdi_value_contains(found, value);
    default:
        return in_order(op, found, value);
    }
}

/* Recursion as deep as groups are, which the check bounds by TDI_WHEN_DEPTH_MAX. */
bool tdi_condition_holds(td_program_run *run, uint32_t row)
{
    const tdi_condition_row *condition = &run->program->conditions[row];
    const uint32_t end = row + condition->size;
    switch (condition->op) {
    case TDI_WHEN_ALL:
        for (uint32_t i = row + 1; i < end; i += run->program->conditions[i].size)
            if (!tdi_condition_holds(run, i))
                return false;
        return true;
    case TDI_WHEN_ANY:
        for (uint32_t i = row + 1; i < end; i += run->program->conditions[i].size)
            if (tdi_condition_holds(run, i))
                return true;
        return false;
    case TDI_WHEN_NOT:
        return !tdi_condition_holds(run, row + 1);
    default:
        break;
    }
    td_view found;
    uint32_t depth;
    if (tdi_resolve_ref(run, condition->ref, (td_view){NULL, 0}, &found, &depth) != TD_OK)
        return condition->op == TDI_WHEN_NE;
    const td_view value = {run->program->literals + condition->at, condition->bytes};
    return compare(condition->op, found, value);
}

#include "bridge/registry.h"

#include <string.h>

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

td_status tdi_registry_add(tdi_registry *registry, const td_action *actions, size_t total,
                           tdi_error *error)
{
    for (size_t i = 0; i < total; i++) {
        for (uint32_t k = 0; k < registry->total; k++)
            if (strcmp(registry->actions[k]->agent, actions[i].agent) == 0 &&
                strcmp(registry->actions[k]->name, actions[i].name) == 0)
                return tdi_fail(error, TD_ERR_ARGUMENT, "action %s.%s is offered twice",
                                actions[i].agent, actions[i].name);
        if (registry->total == TDI_ACTIONS_MAX)
            return tdi_fail(error, TD_TOO_LARGE, "more than %d actions", TDI_ACTIONS_MAX);
        registry->actions[registry->total++] = &actions[i];
    }
    return TD_OK;
}

td_status tdi_registry_add_built_in(tdi_registry *registry, tdi_error *error)
{
    td_status status =
        tdi_registry_add(registry, tdi_system_actions, tdi_system_actions_count, error);
    if (status == TD_OK)
        status = tdi_registry_add(registry, tdi_docgen_actions, tdi_docgen_actions_count, error);
    return status;
}

const td_action *tdi_registry_find(const tdi_registry *registry, uint32_t id)
{
    return id >= 1 && id <= registry->total ? registry->actions[id - 1] : NULL;
}

td_status tdi_registry_encode(const tdi_registry *registry, uint8_t *data, size_t bytes_max,
                              size_t *bytes)
{
    size_t at = 0;
    for (uint32_t i = 0; i < registry->total; i++) {
        const td_action *action = registry->actions[i];
        const tdi_action_row row = {
            .id = i + 1,
            .effects = action->effects,
            .runs = action->runs,
            .deterministic = action->deterministic,
            .agent = view(action->agent),
            .name = view(action->name),
            .version = view(action->version),
        };
        const td_status status = tdi_action_encode(&row, data, bytes_max, &at);
        if (status != TD_OK)
            return status;
    }
    *bytes = at;
    return TD_OK;
}

/* Ids keep their meaning; what is built in stays. */
#include "bridge/registry.h"

#include "base/test.h"

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

static tdi_action_row row_of(const char *agent, const char *name, const char *version)
{
    return (tdi_action_row){.agent = view(agent), .name = view(name), .version = view(version)};
}

static tdi_registry registry; /* large */
static tdi_agent *const somebody = (tdi_agent *)&registry;

static void begin(void)
{
    tdi_registry_free(&registry);
    registry = (tdi_registry){0};
    CHECK_EQ(tdi_registry_add(&registry, tdi_system_actions, tdi_system_actions_count, NULL),
             TD_OK);
}

static void the_same_action_gets_its_id_back_and_a_changed_one_another(void)
{
    uint32_t first, again, changed;
    begin();
    const tdi_action_row one = row_of("a", "x", "1"), two = row_of("a", "x", "2");
    CHECK_EQ(tdi_registry_offer(&registry, somebody, &one, &first, NULL), TD_OK);
    CHECK(tdi_registry_row_of(&registry, first) != NULL);
    CHECK(tdi_registry_find(&registry, first) == NULL); /* not run here */
    tdi_registry_withdraw(&registry, first);
    CHECK(tdi_registry_row_of(&registry, first) == NULL);
    CHECK_EQ(tdi_registry_id(&registry, view("a"), view("x")), 0);
    CHECK_EQ(tdi_registry_offer(&registry, somebody, &two, &changed, NULL), TD_OK);
    CHECK(changed != first);
    tdi_registry_withdraw(&registry, changed);
    CHECK_EQ(tdi_registry_offer(&registry, somebody, &one, &again, NULL), TD_OK);
    CHECK_EQ(again, first);
}

static void what_is_built_in_cannot_be_offered(void)
{
    uint32_t id;
    tdi_error error = {""};
    begin();
    const tdi_action_row echo = row_of("system", "echo", "1");
    CHECK_EQ(tdi_registry_offer(&registry, somebody, &echo, &id, &error), TD_ERR_REFUSED);
    CHECK(strstr(error.text, "system.echo") != NULL);
    CHECK(tdi_registry_is_built_in(&registry, view("system")));
}

static void changes_come_in_frames_that_are_full_and_none_is_left_out(void)
{
    begin();
    const uint64_t before = registry.version;
    uint32_t ids[100], from = 0, rows, seen = 0;
    char names[100][8];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "x%d", i);
        const tdi_action_row row = row_of("a", names[i], "1");
        CHECK_EQ(tdi_registry_offer(&registry, somebody, &row, &ids[i], NULL), TD_OK);
    }
    tdi_registry_withdraw(&registry, ids[7]);
    while (from < registry.total) {
        uint8_t data[256];
        size_t bytes, at = 0;
        tdi_action_row row;
        tdi_registry_encode_changes(&registry, before, &from, data, sizeof data, &bytes, &rows);
        REQUIRE(rows > 0);
        while (tdi_action_next((td_view){data, bytes}, &at, &row) == TD_OK) {
            CHECK_EQ(row.gone, row.id == ids[7]);
            seen++;
        }
    }
    CHECK_EQ(seen, 100);
}

static void the_number_of_ids_is_bounded(void)
{
    begin();
    uint32_t id;
    tdi_error error = {""};
    td_status status = TD_OK;
    int made = 0;
    while (made < 2 * TDI_IDS_MAX) {
        char version[16];
        snprintf(version, sizeof version, "%d", made);
        const tdi_action_row row = row_of("a", "x", version);
        status = tdi_registry_offer(&registry, somebody, &row, &id, &error);
        if (status != TD_OK)
            break;
        tdi_registry_withdraw(&registry, id);
        made++;
    }
    CHECK_EQ(status, TD_TOO_LARGE);
    CHECK_EQ(made, TDI_IDS_MAX - (int)tdi_system_actions_count);
    CHECK(strstr(error.text, "restart the bridge") != NULL);
}

int main(void)
{
    RUN(the_same_action_gets_its_id_back_and_a_changed_one_another);
    RUN(what_is_built_in_cannot_be_offered);
    RUN(changes_come_in_frames_that_are_full_and_none_is_left_out);
    RUN(the_number_of_ids_is_bounded);
    tdi_registry_free(&registry);
    return TEST_RESULT;
}

/* Ids keep their meaning; what is built in stays. */
#include "bridge/registry.h"

#include "base/test.h"
#include "wire/channel.h"

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

static void ever_new_names_fill_nothing_and_no_id_comes_twice(void)
{
    begin();
    uint32_t stays, last, id;
    const tdi_action_row lasting = row_of("b", "stays", "1");
    CHECK_EQ(tdi_registry_offer(&registry, somebody, &lasting, &stays, NULL), TD_OK);
    last = stays;
    for (int i = 0; i < 3 * TDI_IDS_MAX; i++) {
        char version[16];
        snprintf(version, sizeof version, "%d", i);
        const tdi_action_row row = row_of("a", "x", version);
        REQUIRE(tdi_registry_offer(&registry, somebody, &row, &id, NULL) == TD_OK);
        REQUIRE(id > last);
        REQUIRE(tdi_registry_row_of(&registry, id) != NULL);
        REQUIRE(tdi_registry_row_of(&registry, last) ==
                (last == stays ? &registry.rows[stays - 1] : NULL));
        last = id;
        tdi_registry_withdraw(&registry, id);
    }
    CHECK_EQ(tdi_registry_id(&registry, view("b"), view("stays")), stays);
    CHECK(tdi_registry_find(&registry, 1) == &tdi_system_actions[0]);
    CHECK(tdi_registry_row_of(&registry, 0) == NULL);
    CHECK(tdi_registry_row_of(&registry, UINT32_MAX) == NULL);
    CHECK(registry.total <= TDI_IDS_MAX);
}

static void what_is_offered_always_fits_into_a_welcome(void)
{
    static uint8_t table[TDI_MESSAGE_BYTES_MAX - 2048];
    begin();
    char name[129];
    uint32_t id, made = 0;
    tdi_error error = {""};
    td_status status = TD_OK;
    while (status == TD_OK) {
        snprintf(name, sizeof name, "%0128u", made);
        const tdi_action_row row = row_of(name, name, name);
        status = tdi_registry_offer(&registry, somebody, &row, &id, &error);
        made += status == TD_OK;
    }
    CHECK_EQ(status, TD_TOO_LARGE);
    CHECK(made > 100);
    size_t bytes;
    CHECK_EQ(tdi_registry_encode(&registry, table, sizeof table, &bytes), TD_OK);
    CHECK_EQ(bytes, registry.live_bytes);
    tdi_registry_withdraw(&registry, id);
    CHECK_EQ(tdi_registry_encode(&registry, table, sizeof table, &bytes), TD_OK);
    CHECK_EQ(bytes, registry.live_bytes);
}

int main(void)
{
    RUN(the_same_action_gets_its_id_back_and_a_changed_one_another);
    RUN(what_is_built_in_cannot_be_offered);
    RUN(changes_come_in_frames_that_are_full_and_none_is_left_out);
    RUN(ever_new_names_fill_nothing_and_no_id_comes_twice);
    RUN(what_is_offered_always_fits_into_a_welcome);
    tdi_registry_free(&registry);
    return TEST_RESULT;
}

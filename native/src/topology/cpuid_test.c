#include "topology/cpuid.h"
#include "topology/cpuid_tell.h"

#include "base/test.h"
#include "topology/affinity.h"

/* One made-up processor: a P-core with two threads. */
static int answer(void *context, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
                  uint32_t registers[4])
{
    static const struct {
        uint32_t leaf, subleaf, registers[4];
    } table[] = {
        {0, 0, {0x1F, 0, 0, 0}},
        {0x1A, 0, {0x40000001, 0, 0, 0}},
        {0x1F, 0, {1, 2, 0x100, 33}},
        {4, 0, {1 | 1 << 5 | 1 << 14, 11 << 22 | 63, 63, 0}},      /* L1d: 12 * 64 * 64 */
        {4, 1, {2 | 1 << 5 | 1 << 14, 7 << 22 | 63, 127, 0}},      /* L1i: left out */
        {4, 2, {3 | 2 << 5 | 7 << 14, 15 << 22 | 63, 2047, 0}},    /* L2 */
        {4, 3, {3 | 3 << 5 | 127 << 14, 11 << 22 | 63, 32767, 0}}, /* L3 */
        {4, 4, {3 | 4 << 5, 63, 1, 0}},                            /* L4: left out */
    };
    memset(registers, 0, 4 * sizeof registers[0]);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].leaf == leaf && table[i].subleaf == subleaf)
            memcpy(registers, table[i].registers, sizeof table[i].registers);
    if (leaf == 0 && context != NULL)
        registers[0] = *(const uint32_t *)context;
    return cpu == 1;
}

static const tdi_cpuid made_up = {answer, NULL};

static void kind_ids_and_caches_are_read(void)
{
    uint32_t apic, shift;
    tdi_cpuid_cache caches[TDI_CPUID_CACHES_MAX];
    CHECK_EQ(tdi_cpuid_kind(&made_up, 1), TDI_KIND_CORE);
    CHECK_EQ(tdi_cpuid_apic(&made_up, 1, &apic, &shift), 1);
    CHECK_EQ(apic, 33);
    CHECK_EQ(shift, 1);
    REQUIRE(tdi_cpuid_caches(&made_up, 1, caches) == 3);
    CHECK_EQ(caches[0].kib, 48);
    CHECK_EQ(caches[0].shift, 1);
    CHECK_EQ(caches[1].kib, 2048);
    CHECK_EQ(caches[1].shift, 3);
    CHECK_EQ(caches[2].kib, 24576);
    CHECK_EQ(caches[2].shift, 7);
}

static void a_cpu_that_cannot_be_asked_or_lacks_the_leaf_says_nothing(void)
{
    uint32_t apic, shift, highest = 3;
    tdi_cpuid_cache caches[TDI_CPUID_CACHES_MAX];
    const tdi_cpuid nobody = {NULL, NULL}, old = {answer, &highest};
    const struct {
        const tdi_cpuid *cpuid;
        uint32_t cpu;
    } cases[] = {{&made_up, 0}, {&nobody, 1}, {&old, 1}};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tdi_cpuid_kind(cases[i].cpuid, cases[i].cpu), 0);
        CHECK_EQ(tdi_cpuid_apic(cases[i].cpuid, cases[i].cpu, &apic, &shift), 0);
        CHECK_EQ(tdi_cpuid_caches(cases[i].cpuid, cases[i].cpu, caches), 0);
    }
}

/* Every answer all ones, or whatever the seed makes: nothing to say, but nothing breaks. */
static int babble(void *context, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
                  uint32_t registers[4])
{
    uint32_t *seed = context;
    (void)cpu, (void)leaf, (void)subleaf;
    for (int i = 0; i < 4; i++)
        registers[i] = *seed == 0 ? UINT32_MAX : (*seed = *seed * 1664525 + 1013904223);
    return 1;
}

static void nonsense_stays_within_its_bounds(void)
{
    for (uint32_t start = 0; start < 20000; start++) {
        uint32_t seed = start, apic, shift = 0;
        tdi_cpuid_cache caches[TDI_CPUID_CACHES_MAX];
        const tdi_cpuid cpuid = {babble, &seed};
        tdi_cpuid_kind(&cpuid, 0);
        tdi_cpuid_apic(&cpuid, 0, &apic, &shift);
        CHECK(shift < 32);
        const uint32_t total = tdi_cpuid_caches(&cpuid, 0, caches);
        CHECK(total <= TDI_CPUID_CACHES_MAX);
        for (uint32_t i = 0; i < total; i++)
            CHECK(caches[i].level >= 1 && caches[i].level <= 3 && caches[i].shift <= 12 &&
                  caches[i].kib <= 1000000000);
    }
}

static void the_real_one_answers_and_gives_the_thread_its_cpus_back(void)
{
    td_cpu_set before, after;
    tdi_cpuid_here here;
    uint32_t registers[4] = {0};
    REQUIRE(td_affinity_get(&before) == TD_OK);
#if defined(__x86_64__)
    REQUIRE(tdi_cpuid_begin(&here));
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&before, cpu)) < TD_CPUS_MAX; cpu++) {
        CHECK_EQ(tdi_cpuid_run(&here, cpu, 0, 0, registers), 1);
        CHECK(registers[0] >= 4);
        CHECK_EQ(td_affinity_get(&after), TD_OK);
        CHECK_EQ(td_cpu_set_total(&after), 1);
        CHECK(td_cpu_set_has(&after, cpu));
    }
    CHECK_EQ(tdi_cpuid_run(&here, TD_CPUS_MAX - 1, 0, 0, registers), 0);
#else
    CHECK_EQ(tdi_cpuid_begin(&here), 0);
    CHECK_EQ(tdi_cpuid_run(&here, 0, 0, 0, registers), 0);
#endif
    tdi_cpuid_end(&here);
    CHECK_EQ(td_affinity_get(&after), TD_OK);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

/* As bridge_words.py reads it. */
static void what_is_told_is_what_was_answered(void)
{
    char text[4096] = {0};
    td_cpu_set cpus = {{0}};
    td_cpu_set_add(&cpus, 1);
    td_cpu_set_add(&cpus, 3); /* cannot be asked */
    const tdi_cpuid cpuid = {answer, NULL};
    FILE *to = fmemopen(text, sizeof text - 1, "w");
    REQUIRE(to != NULL);
    tdi_cpuid_tell(&cpuid, &cpus, to);
    fclose(to);
    unsigned cpu, leaf, sub, is[4], lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        uint32_t expected[4] = {0};
        REQUIRE(sscanf(line, "%x %x %x %x %x %x %x", &cpu, &leaf, &sub, &is[0], &is[1], &is[2],
                       &is[3]) == 7);
        CHECK_EQ(cpu, 1);
        answer(NULL, cpu, leaf, sub, expected);
        CHECK(memcmp(expected, is, sizeof is) == 0);
    }
    CHECK(lines > 4);
}

int main(void)
{
    RUN(what_is_told_is_what_was_answered);
    RUN(kind_ids_and_caches_are_read);
    RUN(a_cpu_that_cannot_be_asked_or_lacks_the_leaf_says_nothing);
    RUN(nonsense_stays_within_its_bounds);
    RUN(the_real_one_answers_and_gives_the_thread_its_cpus_back);
    return TEST_RESULT;
}

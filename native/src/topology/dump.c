/* dump.c - the program td_topology: what C reads of a machine, a fact a line, for parity tests.
 *
 * td_topology [--sysfs DIR] [--proc DIR] [--cgroup DIR] [--cpuid TABLE] [--affinity LIST]
 * Without options this machine. TABLE: lines of cpu, leaf, subleaf, eax, ebx, ecx, edx, decimal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/topology.h"

static const char *const kinds[] = {"p_core", "e_core", "lp_e_core"};
static const char *const wishes[] = {"auto", "p_core", "p_core_ultra", "e_core", "lp_e_core"};
static const char *const told[] = {"nothing",      "cpu_core and cpu_atom",  "CPUID leaf 0x1A",
                                   "cpu_capacity", "acpi_cppc/highest_perf", "cpuinfo_max_freq"};

typedef struct table {
    size_t total;
    uint32_t (*rows)[7];
} table;

static int read_table(const char *path, table *out)
{
    FILE *file = fopen(path, "re");
    uint32_t row[7];
    if (file == NULL)
        return 0;
    while (fscanf(file, "%u %u %u %u %u %u %u", &row[0], &row[1], &row[2], &row[3], &row[4],
                  &row[5], &row[6]) == 7) {
        void *more = realloc(out->rows, (out->total + 1) * sizeof row);
        if (more == NULL)
            break;
        out->rows = more;
        memcpy(out->rows[out->total++], row, sizeof row);
    }
    const int whole = feof(file);
    fclose(file);
    return whole;
}

/* As a processor: leaves that are missing are zeros, a CPU without leaf 0 cannot be asked. */
static int ask_table(void *context, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
                     uint32_t registers[4])
{
    const table *from = context;
    int is_there = 0;
    memset(registers, 0, 4 * sizeof registers[0]);
    for (size_t i = 0; i < from->total; i++) {
        const uint32_t *row = from->rows[i];
        is_there |= row[0] == cpu && row[1] == 0 && row[2] == 0;
        if (row[0] == cpu && row[1] == leaf && row[2] == subleaf)
            memcpy(registers, row + 3, 4 * sizeof registers[0]);
    }
    return is_there;
}

static void print_set(const char *name, const td_cpu_set *set)
{
    static char text[TD_CPU_LIST_BYTES_MAX];
    td_cpu_set_format(set, text);
    printf("%s\t%s\n", name, text);
}

static void print(const td_topology *topology)
{
    printf("told_by\t%s\nnotes\t%u\nquota\t%u\n", told[topology->told_by], topology->notes,
           topology->quota_millicpus);
    print_set("allowed", &topology->allowed);
    print_set("offline", &topology->offline);
    for (int wish = TD_AFFINITY_AUTO; wish <= TD_AFFINITY_LP_E_CORE; wish++) {
        td_cpu_set mask;
        td_affinity taken;
        char name[64];
        if (td_topology_mask(topology, (td_affinity)wish, &mask, &taken) != TD_OK)
            exit(1);
        snprintf(name, sizeof name, "mask\t%s\t%s\t%u", wishes[wish], wishes[taken],
                 td_topology_threads(topology, &mask));
        print_set(name, &mask);
    }
    for (uint32_t n = 0; (n = td_cpu_set_next(&topology->online, n)) < TD_CPUS_MAX; n++) {
        const td_cpu *cpu = &topology->cpus[n];
        printf("cpu\t%u\t%d\t%d\t%d\t%s\t%d\t%u\t%u\t%u\t%u\t%d\t%u\t%d\n", n, cpu->core,
               cpu->package, cpu->node, kinds[cpu->kind], cpu->favoured, cpu->perf, cpu->max_khz,
               cpu->l1d_kib, cpu->l2_kib, cpu->l2, cpu->l3_kib, cpu->l3);
    }
}

int main(int argc, char **argv)
{
    static td_topology topology;
    td_cpu_set affinity;
    table cpuid = {0, NULL};
    td_topology_sources from = {.sysfs = "/sys", .cgroup = "/sys/fs/cgroup"};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *option = argv[i], *value = argv[i + 1];
        if (strcmp(option, "--sysfs") == 0) {
            from.sysfs = value;
        } else if (strcmp(option, "--proc") == 0) {
            from.proc = value;
        } else if (strcmp(option, "--cgroup") == 0) {
            from.cgroup = value;
        } else if (strcmp(option, "--cpuid") == 0 && read_table(value, &cpuid)) {
            from.cpuid = ask_table;
            from.cpuid_context = &cpuid;
        } else if (strcmp(option, "--affinity") == 0 &&
                   td_cpu_set_parse(value, &affinity, NULL) == TD_OK) {
            from.affinity = &affinity;
        } else {
            fprintf(stderr, "td_topology: cannot use %s %s\n", option, value);
            return 2;
        }
    }
    const td_status status =
        argc == 1 ? td_topology_read(NULL, &topology) : td_topology_read_from(&from, &topology);
    free(cpuid.rows);
    if (status != TD_OK)
        return 1;
    print(&topology);
    return 0;
}

#include "topology/limits.h"

#include "base/test.h"
#include "topology/tree_test.h"

static tdi_sysfs at;
static tdi_limits limits;

static void fresh(const char *groups)
{
    tree_remove();
    tree_make();
    tree_put(groups, "proc/self/cgroup");
}

static void look(void)
{
    char proc[128], cgroup[128];
    snprintf(proc, sizeof proc, "%s/proc", tree);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", tree);
    tdi_limits_read(&at, proc, cgroup, &limits);
}

static void allows(const char *expected)
{
    static char text[TD_CPU_LIST_BYTES_MAX];
    td_cpu_set_format(&limits.cpus, text);
    CHECK(strcmp(text, expected) == 0);
}

static void the_nearest_cpuset_and_the_smallest_quota_count(void)
{
    fresh("0::/a/b\n");
    tree_put("max 100000\n", "cgroup/a/b/cpu.max");
    tree_put("50000 100000\n", "cgroup/a/cpu.max");
    tree_put("150000 100000\n", "cgroup/cpu.max");
    tree_put("2-5\n", "cgroup/a/cpuset.cpus.effective");
    tree_put("0-7\n", "cgroup/cpuset.cpus.effective");
    look();
    allows("2-5");
    CHECK_EQ(limits.quota_millicpus, 500);
}

static void the_old_hierarchies_are_read_beside_an_empty_unified_one(void)
{
    fresh("5:cpu,cpuacct:/x\n4:cpuset:/y\n0::/\n");
    tree_put("", "cgroup/unified/cgroup.procs");
    tree_put("250000", "cgroup/cpu/x/cpu.cfs_quota_us");
    tree_put("100000", "cgroup/cpu/x/cpu.cfs_period_us");
    tree_put("-1", "cgroup/cpu/cpu.cfs_quota_us");
    tree_put("100000", "cgroup/cpu/cpu.cfs_period_us");
    tree_put("1", "cgroup/cpuset/y/cpuset.cpus");
    look();
    allows("1");
    CHECK_EQ(limits.quota_millicpus, 2500);
}

static void odd_groups_are_read_at_the_root(void)
{
    static const char *const groups[] = {
        "0::/../../x", "0::x", "", ":::", "0", "1:name=a:/x", "\n\n"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        fresh(groups[i]);
        tree_put("3", "cgroup/cpuset.cpus.effective");
        tree_put("9", "cgroup/x/cpuset.cpus.effective");
        tree_put("9", "x/cpuset.cpus.effective");
        look();
        allows("3");
    }
}

static void a_path_that_is_too_long_or_deep_is_the_root(void)
{
    static char groups[8192];
    for (int deep = 0; deep < 2; deep++) {
        strcpy(groups, "0::/");
        for (int i = 0; i < 1500; i++)
            strcat(groups, deep && i < 200 ? "d/" : "x");
        fresh(groups);
        tree_put("3", "cgroup/cpuset.cpus.effective");
        look();
        allows("3");
    }
}

static void quotas_that_are_none_bound_nothing(void)
{
    static const char *const quotas[] = {"",
                                         "max 100000",
                                         "100000",
                                         "100000 0",
                                         "-5 100000",
                                         "1 1 1",
                                         "99999999999999999999 1",
                                         "5,5",
                                         "9999999 1",
                                         "1000000000000000001 1000"};
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        fresh("0::/");
        tree_put(quotas[i], "cgroup/cpu.max");
        look();
        CHECK_EQ(limits.quota_millicpus, 0);
    }
    tree_put("1 1000000000", "cgroup/cpu.max");
    look();
    CHECK_EQ(limits.quota_millicpus, 1);
}

int main(void)
{
    tree_make();
    RUN(the_nearest_cpuset_and_the_smallest_quota_count);
    RUN(the_old_hierarchies_are_read_beside_an_empty_unified_one);
    RUN(odd_groups_are_read_at_the_root);
    RUN(a_path_that_is_too_long_or_deep_is_the_root);
    RUN(quotas_that_are_none_bound_nothing);
    tree_remove();
    return TEST_RESULT;
}

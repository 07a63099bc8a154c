/* cpus.c - see cpus.h. https://docs.kernel.org/admin-guide/cgroup-v2.html ("cpu.max": "QUOTA PERIOD" in microseconds, or
 * "max PERIOD"). */
#include "base/cpus.h"

#include "base/cgroup.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* CPUs of a quota in a group's folder; INFINITY: none is set. */
static double quota_of(const char *dir)
{
    char line[64];
    double quota = 0, period = 0;

    if (cgroup_read(dir, "cpu.max", line, sizeof line)) {
        if (sscanf(line, "%lf %lf", &quota, &period) != 2)
            return INFINITY; /* "max 100000" */
    } else {
        quota = cgroup_read(dir, "cpu.cfs_quota_us", line, sizeof line) ? atof(line) : -1;
        period = cgroup_read(dir, "cpu.cfs_period_us", line, sizeof line) ? atof(line) : 0;
    }
    return quota > 0 && period > 0 ? quota / period : INFINITY;
}

int cpus_allowed(void)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    double limit = ceil(cgroup_least("cpu", quota_of));

    if (limit < cpus)
        cpus = (int)limit;
    return cpus < 1 ? 1 : cpus;
}

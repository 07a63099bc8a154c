/* cpus.h - how many CPUs this process may keep busy: what its affinity allows, and under a cgroup's quota (v2 cpu.max, v1
 * cpu.cfs_quota_us) no more than that, rounded up. Threads beyond it only take turns. */
#ifndef BASE_CPUS_H
#define BASE_CPUS_H

int cpus_allowed(void); /* at least 1 */

#endif

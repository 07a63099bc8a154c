/* cgroup.h - limits that a control group sets, versions 1 and 2. A container sees its own group as the root, a process
 * outside of one finds its path in /proc/self/cgroup; a parent's limit counts as well. For this folder alone. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdbool.h>

/* The least of what limit() says of this process's group's folder and of those above it. controller: version 1's, "cpu" or
 * "memory". INFINITY: none says anything. */
double cgroup_least(const char *controller, double (*limit)(const char *dir));

/* The first line of a file in such a folder; false: there is none. */
bool cgroup_read(const char *dir, const char *name, char *line, int size);

#endif

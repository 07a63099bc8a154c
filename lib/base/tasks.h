/* tasks.h - how many threads more this process may start: what decides how many connections a server with a thread for each
 * can have. */
#ifndef BASE_TASKS_H
#define BASE_TASKS_H

#include <stdint.h>

/* The least that control groups (pids.max) and, but for root, RLIMIT_NPROC leave; INT64_MAX: no limit. */
int64_t tasks_left(void);

/* Raises the soft limit of open files up to this, as far as the hard one allows; what it is then. */
int64_t files_allow(int64_t n);

#endif

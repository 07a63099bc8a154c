/* memory.h - how much memory this process may have, and has: what a queue that must not be the one to be killed for
 * goes by. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdint.h>

/* Bytes: the least of the control groups' limits (v2 memory.max, v1 memory.limit_in_bytes) and the machine's memory. */
int64_t memory_limit(void);

/* Resident bytes of this process now. */
int64_t memory_used(void);

#endif

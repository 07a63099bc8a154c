/* shadow.h - what the candidate would have answered: by the task's shadow share, the texts of routed calls that
 * production answered are classified by the candidate, too, and the two answers compared. On a thread of low
 * priority, from copies, with an engine run of its own: the call has been answered by then and nothing that others wait
 * for is used. What does not fit the queue is dropped and counted. Thread-safe, except shadow_stop(). */
#ifndef INFERENCE_SHADOW_H
#define INFERENCE_SHADOW_H

#include "served.h"

#define SHADOW_MAX_BYTES (4u << 20) /* of waiting texts */

struct shadow;

/* compared: gets what came of the texts of each call, on the shadow's thread. */
void shadow_start(struct shadow **out,
                  void (*compared)(struct served_model *candidate, const struct served_comparison *c));
void shadow_stop(struct shadow *sh); /* drops what waits; NULL is fine */

/* Production has answered with probs (n,C). Takes over the caller's reference of the candidate, copies the rest. Never
 * waits. */
void shadow_offer(struct shadow *sh, struct served_model *production, struct served_model *candidate,
                  char *const *texts, size_t n, const float *probs);

#endif

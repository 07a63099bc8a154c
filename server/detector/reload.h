/* reload.h - follows the files of the models while they serve: what has changed is checked beside (check.h), loaded, and
 * takes its place; what is not right is said in the log and the model's description, and the old goes on. */
#ifndef DETECTOR_RELOAD_H
#define DETECTOR_RELOAD_H

#include "models.h"

struct reload;

/* Its own thread looks every poll_ms; a file counts when two looks in a row found it the same. models: borrowed until
 * reload_stop(). changed: called after each look that changed something, on that thread; NULL: none. */
struct reload *reload_start(struct models *models, int64_t poll_ms, void (*changed)(void *ctx), void *ctx);

/* Looks now, and checks every model whose files look as before, too, unless their content is what serves. Any thread. */
void reload_now(struct reload *r);

void reload_stop(struct reload *r); /* joins; a check under way is given up; NULL is fine */

#endif

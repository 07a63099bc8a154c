/* workspaces.h - workspaces for the forward pass of one model shape: as many as calls run at once, kept for the next ones.
 * Thread-safe, except workspaces_free(). */
#ifndef INFERENCE_WORKSPACES_H
#define INFERENCE_WORKSPACES_H

#include "nn/nn.h"

#define WORKSPACES_BATCH 32 /* texts in one forward pass at most */

struct workspaces;

struct workspaces *workspaces_new(const struct nn_shape *shape);
void workspaces_free(struct workspaces *p); /* every workspace has been given back; NULL is fine */

struct nn_workspace *workspaces_take(struct workspaces *p);
void workspaces_give(struct workspaces *p, struct nn_workspace *ws);

#endif
